"""What a study holds: the ledger, Optuna's trials, checkpoints and files."""
