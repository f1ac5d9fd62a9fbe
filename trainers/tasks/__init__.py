"""Tasks: expert episodes, and how a policy is scored on them. No torch. See README.md."""
