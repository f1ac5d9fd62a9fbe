"""What may be searched, what it costs and how it is scored."""
