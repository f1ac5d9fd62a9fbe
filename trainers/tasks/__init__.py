"""Where expert episodes come from, and how a policy is scored; one file a family, no torch."""
