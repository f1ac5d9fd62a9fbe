"""The MiniGrid tasks, plans and search."""
