"""Everything becomes a token, as in Gato: text, values, patches, and their order."""
