"""The commands of `pathfront`, one file each; what is slow to import is imported inside functions."""
