"""The sparse decoder, one file a part: routing, experts, attention, embedding, decoder."""
