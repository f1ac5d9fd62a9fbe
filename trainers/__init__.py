"""How one candidate becomes scores."""
