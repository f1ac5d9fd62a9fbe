"""The tasks that ship, one file a family; `registry` says which."""
