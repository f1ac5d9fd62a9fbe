"""Where expert episodes come from and how a policy is scored on held-out ones; one file a family, no torch."""
