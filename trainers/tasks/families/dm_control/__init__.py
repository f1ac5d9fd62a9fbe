"""The DeepMind Control tasks and their experts."""
