"""Lower the cost of drawn parameters until they are within a study's limits.

In a large space with tight limits, random draws are hardly ever within them: of the models up to width 4096,
depth 64 and 256 experts, one in 40,000 has less than 3M parameters. A drawn point is therefore moved knob by
knob, each time to a value that lowers what exceeds the limits most.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from space.knobs import Between, Choices, Scalar

STEPS = 400  # changes that are tried for one point


def lower(
    params: Mapping[str, Any],
    ranges: Mapping[str, Between | Choices],
    change: Callable[[dict[str, Any]], dict[str, Any]],
    excess: Callable[[Mapping[str, Any]], float],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Change parameters one by one until nothing exceeds a limit.

    A change replaces one parameter by a value between its own and one end of its range, and is kept if it
    lowers the excess.

    Args:
        params: where to start; other parameters than those of `ranges` stay.
        ranges: parameter -> its values, for those that may change.
        change: makes changed parameters fit together.
        excess: the largest ratio of a cost to its limit; infinite if the parameters cannot be built.
        rng: draws the changes.

    Returns:
        Parameters whose excess is at most 1; if none are found in `STEPS` changes, those with the least.
    """
    best, least = dict(params), excess(params)
    names = list(ranges)
    for _ in range(STEPS if names else 0):
        if least <= 1:
            break
        name = names[int(rng.integers(len(names)))]
        changed = change({**best, name: towards_an_end(ranges[name], best[name], rng)})
        found = excess(changed)
        if found < least or found == least == np.inf:
            best, least = changed, found
    return best


def towards_an_end(knob: Between | Choices, value: Scalar, rng: np.random.Generator) -> Scalar:
    """A random value between a value and an end of its range; any value of a list."""
    if isinstance(knob, Choices) or isinstance(value, str):
        return knob.sample(rng)
    low, high = (knob.low, value) if rng.random() < 0.5 else (value, knob.high)
    if not knob.whole:
        return float(rng.uniform(low, high))
    return int(low) + knob.stride * int(rng.integers(int(high - low) // knob.stride + 1))
