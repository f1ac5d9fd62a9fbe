"""Everything that a study stores: the ledger, Optuna's trials, checkpoints and files.

One trial passes through these modules in this order:

- `ledger.claim` (a new trial) or `ledger.take_over` (one that was left): the worker owns an attempt.
- `ledger.start`: Optuna's trial is created (`optuna_trials`).
- `checkpoints.latest_trunk`, `ledger.rewind`: the attempt continues from a checkpoint (`study_files`,
  `artifacts`).
- `ledger.heartbeat`, `checkpoints.save`: progress and checkpoints while it trains.
- `ledger.finish`, `fail` or `pause`: the result is stored, then it is reported to Optuna.
- `checkpoints.settle`: files that no one needs any more are deleted (`retention`).
"""
