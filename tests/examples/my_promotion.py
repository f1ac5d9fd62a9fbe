"""An order of promotion that prefers the score for the compute.

A study file names it: `search: {promotion: my_promotion:score_for_compute}`.
"""

import math


def score_for_compute(trials, view, problem):
    """Return the trials by their score over the logarithm of their FLOPs per token, the best first."""
    return sorted(trials, key=lambda trial: -trial.score / math.log(trial.flops_per_token))
