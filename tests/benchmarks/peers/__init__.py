"""Methods that Pathfront's samplers are compared with, beyond those that ship and Optuna's."""
