"""Everything becomes a token, as in Gato: text, values, patches, and the order in which they stand."""
