"""How candidates are chosen, run, remembered and exported."""
