"""How a user's files become the arrays of a data set: images by label, sounds by label, text, downloads."""
