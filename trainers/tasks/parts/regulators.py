"""Linear-quadratic regulators of simulated systems, each given as a function that makes one step."""

from collections.abc import Callable

import numpy as np

DIFFERENCE = 1e-5

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""State (n,), controls (m,) -> next state (n,)."""


def linearise(step: Step, state: np.ndarray, controls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of a system about a state and controls: (n, n) and (n, m).

    MuJoCo's own `mjd_transitionFD` does the same for Euler's integrator and refuses Runge-Kutta's.
    """

    def slopes(nudge: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], size: int) -> np.ndarray:
        pairs = [(step(*nudge(d)), step(*nudge(-d))) for d in DIFFERENCE * np.eye(size)]
        return np.stack([(above - below) / (2 * DIFFERENCE) for above, below in pairs], axis=1)

    drift = slopes(lambda d: (state + d, controls), len(state))
    push = slopes(lambda d: (state, controls + d), len(controls))
    return drift, push


def lqr_gain(
    drift: np.ndarray, push: np.ndarray, state_cost: np.ndarray, control_cost: np.ndarray
) -> np.ndarray:
    """Gain (m, n) of the discrete regulator: the controls are -gain @ state.

    Args:
        drift: next state by state, (n, n).
        push: next state by controls, (n, m).
        state_cost: weights (n, n).
        control_cost: weights (m, m).
    """
    from scipy.linalg import solve_discrete_are  # slow to import

    ahead = solve_discrete_are(drift, push, state_cost, control_cost)
    return np.linalg.solve(control_cost + push.T @ ahead @ push, push.T @ ahead @ drift)
