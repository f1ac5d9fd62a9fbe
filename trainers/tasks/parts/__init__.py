"""What families are made of: worlds, levels, plans of experts, signals; the families stand in `families`."""
