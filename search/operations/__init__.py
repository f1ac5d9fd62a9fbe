"""What the command line and `search.api` share: run a study, show its progress, export a trial."""
