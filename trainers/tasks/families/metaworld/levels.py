"""Observation, time limit and damping of the expert of each task of Meta-World.

The limits were measured over episodes of the expert, with and without slips, and of random play. A task shows
the floats that its expert reads and that vary: it is then as easy to imitate as it can be in few tokens.
"""

from dataclasses import dataclass

import numpy as np

from trainers.tokens.values import Linear

COLUMNS = {
    "goal": (36, 37, 38),
    "grip": (3,),
    "hand": (0, 1, 2),
    "object": (4, 5, 6),
    "second": (11, 12, 13),
}
"""Columns of the environment's observation; places in metres, x to the right, y forward, z up."""


@dataclass(frozen=True)
class ArmLevel:
    """A task of Meta-World.

    Attributes:
        name: Meta-World's, without the version.
        sight: what is observed, objects with their axes, in lexicographic order: "goal.xy hand.xyz".
        low: lower limit of each float that is seen, in hundredths: centimetres, or percent of an open grip.
        high: upper limits in the same form.
        limit: actions after which an episode ends, twice what the expert needs.
        steps: environment steps that an action is held for.
        gain: factors on the scripted policy's moves, level and upright. It was written for one step an
            action, and overshoots or drops what it holds if an action is held for longer.
        slip: how far a slip of a demonstration leads astray, as part of the largest move; 0 for no slips.
        aside: metres that the hand may start to either side of where Meta-World has it, where one push from
            there solves most episodes.
    """

    name: str
    sight: str
    low: tuple[int, ...]
    high: tuple[int, ...]
    limit: int
    steps: int = 5
    gain: tuple[float, float] = (1.0, 1.0)
    slip: float = 1.0
    aside: float = 0.0

    @property
    def columns(self) -> tuple[int, ...]:
        """Indices of the observed floats in the environment's observation."""
        found: list[int] = []
        for part in self.sight.split():
            thing, _, axes = part.partition(".")
            found += [COLUMNS[thing]["xyzw".index(axis)] for axis in axes or "x"]
        return tuple(found)

    @property
    def scale(self) -> Linear:
        """Limits of the observed floats, in metres."""
        return Linear(tuple(low / 100 for low in self.low), tuple(high / 100 for high in self.high))

    @property
    def gains(self) -> np.ndarray:
        """Factors on the scripted policy's action, (4,)."""
        level, upright = self.gain
        return np.array([level, level, upright, 1.0])


LEVELS = (
    ArmLevel(
        "assembly",
        "goal.xy hand.xyz object.xyz",
        (-11, 74, -23, 46, 4, 1, 56, 0),
        (11, 86, 24, 86, 33, 24, 86, 23),
        limit=40,
        slip=0.15,
    ),
    ArmLevel(
        "basketball",
        "goal.x hand.xyz object.xyz",
        (-11, -25, 43, 4, -17, 55, 0),
        (11, 16, 79, 39, 11, 78, 35),
        limit=60,
        steps=4,
        gain=(0.6, 0.3),
        slip=0.3,
    ),
    ArmLevel(
        "bin-picking",
        "hand.xyz object.xyz",
        (-22, 42, 5, -22, 64, 2),
        (15, 83, 44, 15, 77, 17),
        limit=70,
        gain=(0.4, 0.15),
        slip=0.6,
    ),
    ArmLevel(
        "box-close",
        "goal.xy hand.xyz object.xyz",
        (-11, 72, -27, 42, 7, -28, 43, 0),
        (11, 81, 29, 84, 29, 32, 76, 14),
        limit=60,
        steps=4,
        gain=(0.45, 0.45),
        slip=0.15,
    ),
    ArmLevel("button-press", "hand.xyz object.xy", (-14, 38, 3, -11, 65), (15, 76, 38, 11, 79), limit=35),
    ArmLevel(
        "button-press-topdown",
        "hand.xyz object.xyz",
        (-14, 38, 6, -11, 79, 23),
        (15, 91, 48, 11, 91, 32),
        limit=35,
    ),
    ArmLevel(
        "button-press-topdown-wall",
        "hand.xyz object.xyz",
        (-18, 38, 5, -11, 79, 23),
        (15, 87, 49, 11, 91, 32),
        limit=30,
    ),
    ArmLevel("button-press-wall", "hand.xyz object.xy", (-22, 39, 5, -6, 65), (18, 73, 37, 6, 78), limit=40),
    ArmLevel("coffee-button", "hand.xyz object.xy", (-12, 39, 8, -11, 57), (17, 66, 32, 11, 71), limit=20),
    ArmLevel(
        "coffee-pull",
        "goal.xy hand.xyz object.xyz",
        (-11, 54, -53, 38, 3, -67, 22, -2),
        (11, 66, 40, 85, 37, 45, 83, 10),
        limit=35,
        slip=0.3,
    ),
    ArmLevel(
        "coffee-push",
        "goal.xy hand.xyz object.xyz",
        (-6, 69, -12, 39, 4, -11, 43, -3),
        (6, 76, 15, 72, 33, 11, 72, 5),
        limit=30,
        slip=0.15,
    ),
    ArmLevel(
        "dial-turn", "hand.xyz object.xy", (-18, 42, 6, -16, 64), (22, 81, 32, 11, 80), limit=50, slip=0.6
    ),
    ArmLevel(
        "disassemble",
        "hand.xyz object.xyz",
        (-21, 39, 4, 2, 45, 0),
        (25, 82, 39, 26, 80, 19),
        limit=65,
        steps=4,
        gain=(0.8, 0.8),
        slip=0.3,
    ),
    ArmLevel(
        "door-close",
        "goal.xy hand.xyz object.xy",
        (19, 64, -52, 50, 7, -31, 35),
        (31, 76, 19, 78, 37, 28, 69),
        limit=35,
    ),
    ArmLevel(
        "door-lock",
        "hand.xyz object.xyz",
        (-17, 42, 3, -7, 63, 12),
        (21, 71, 51, 20, 70, 23),
        limit=50,
        slip=0.6,
    ),
    ArmLevel("door-open", "hand.xyz object.xy", (-22, 37, 5, -24, 35), (35, 79, 46, 31, 76), limit=40),
    ArmLevel(
        "door-unlock", "hand.xyz object.xyz", (-28, 41, 4, -16, 63, 11), (21, 69, 30, 19, 70, 19), limit=25
    ),
    ArmLevel("drawer-close", "hand.xyz object.xy", (-14, 44, 6, -11, 56), (14, 79, 41, 11, 74), limit=35),
    ArmLevel("drawer-open", "hand.xyz object.xy", (-22, 44, 4, -11, 55), (19, 79, 37, 11, 74), limit=40),
    ArmLevel("faucet-close", "hand.xyz object.xy", (-23, 39, 3, -28, 61), (20, 80, 38, 13, 80), limit=55),
    ArmLevel("faucet-open", "hand.xyz object.xy", (-15, 39, 5, -8, 61), (20, 79, 38, 23, 81), limit=35),
    ArmLevel(
        "hammer",
        "hand.xyz object.xyz",
        (-23, 39, 4, -11, 37, -1),
        (30, 69, 41, 12, 68, 16),
        limit=45,
        slip=0.6,
    ),
    ArmLevel(
        "hand-insert",
        "goal.xy hand.xyz object.xyz",
        (-5, 79, -12, 44, 4, -11, 59, 0),
        (5, 89, 13, 88, 35, 11, 88, 10),
        limit=30,
        slip=0.6,
    ),
    ArmLevel(
        "handle-press",
        "hand.xyz object.xyz",
        (-33, 52, 4, -11, 58, 8),
        (33, 74, 41, 11, 69, 18),
        limit=45,
        aside=0.3,
    ),
    ArmLevel(
        "handle-press-side",
        "hand.xyz object.xyz",
        (-18, 53, 5, -14, 64, 7),
        (11, 79, 41, -3, 76, 18),
        limit=30,
        slip=0.6,
    ),
    ArmLevel(
        "handle-pull",
        "hand.xyz object.xyz",
        (-17, 42, 3, -6, 58, 3),
        (22, 75, 32, 16, 69, 13),
        limit=50,
        gain=(0.8, 0.8),
        slip=0.6,
    ),
    ArmLevel(
        "handle-pull-side",
        "hand.xyz object.xyz",
        (-20, 47, 4, -19, 64, -2),
        (15, 77, 29, -7, 76, 12),
        limit=40,
        steps=4,
        gain=(0.45, 0.65),
        slip=0.15,
    ),
    ArmLevel(
        "lever-pull",
        "hand.xyz object.xyz",
        (-24, 38, 2, 1, 48, 4),
        (25, 91, 49, 23, 97, 46),
        limit=70,
        steps=4,
        gain=(0.5, 0.5),
        slip=0.6,
    ),
    ArmLevel(
        "peg-insert-side",
        "goal.y hand.xyz object.xyz",
        (39, -16, 38, 3, -17, 39, 0),
        (71, 30, 84, 44, 30, 83, 19),
        limit=70,
        gain=(0.5, 0.5),
        slip=0.3,
    ),
    ArmLevel(
        "peg-unplug-side",
        "hand.xyz object.xyz",
        (-29, 40, 9, -18, 59, 3),
        (21, 83, 48, 0, 82, 15),
        limit=60,
        gain=(0.45, 0.45),
        slip=0.6,
    ),
    ArmLevel(
        "pick-out-of-hole",
        "goal.xyz hand.xyz object.xyz",
        (-11, 49, 14, -31, 42, 3, -13, 54, -1),
        (11, 61, 31, 20, 85, 42, 13, 85, 31),
        limit=60,
        slip=0.6,
    ),
    ArmLevel(
        "pick-place",
        "goal.xyz grip hand.xyz object.xyz",
        (-11, 79, 4, 27, -13, 44, 3, -12, 59, 0),
        (11, 91, 31, 102, 13, 85, 35, 11, 85, 25),
        limit=30,
        slip=0.3,
    ),
    ArmLevel(
        "pick-place-wall",
        "goal.xyz hand.xyz object.xyz",
        (-6, 84, 4, -32, 42, 3, -33, 57, 0),
        (6, 91, 31, 18, 86, 51, 7, 86, 47),
        limit=45,
        slip=0.3,
    ),
    ArmLevel(
        "plate-slide",
        "goal.x hand.xyz object.xy",
        (-11, -16, 44, 6, -10, 59),
        (11, 12, 79, 36, 12, 85),
        limit=25,
    ),
    ArmLevel(
        "plate-slide-back",
        "hand.xyz object.xy",
        (-13, 51, 6, -5, 59),
        (14, 77, 34, 13, 76),
        limit=30,
        slip=0.3,
    ),
    ArmLevel(
        "plate-slide-back-side",
        "hand.xyz object.xy",
        (-16, 44, 6, -18, 58),
        (11, 73, 36, 9, 63),
        limit=25,
        slip=0.6,
    ),
    ArmLevel(
        "plate-slide-side",
        "hand.xyz object.xy",
        (-21, 44, 3, -28, 58),
        (12, 73, 36, 1, 63),
        limit=25,
        gain=(0.6, 0.6),
        slip=0.6,
    ),
    ArmLevel(
        "push",
        "goal.xy hand.xyz object.xyz",
        (-11, 79, -21, 44, 4, -21, 59, 1),
        (11, 91, 13, 87, 35, 11, 87, 6),
        limit=30,
        slip=0.3,
    ),
    ArmLevel(
        "push-back",
        "goal.xy hand.xyz object.xyz",
        (-11, 59, -25, 41, 4, -11, 64, 1),
        (11, 71, 18, 86, 35, 11, 86, 5),
        limit=45,
        gain=(0.5, 0.5),
        slip=0.3,
    ),
    ArmLevel(
        "push-wall",
        "goal.xy hand.xyz object.xyz",
        (-6, 84, -23, 46, 4, -18, 57, 1),
        (6, 91, 16, 88, 33, 6, 88, 6),
        limit=40,
        slip=0.3,
    ),
    ArmLevel("reach", "goal.xyz hand.xyz", (-20, 50, 0, -20, 50, 0), (20, 95, 40, 20, 95, 40), limit=20),
    ArmLevel("reach-wall", "goal.xyz hand.xyz", (-6, 84, 4, -16, 43, 8), (6, 91, 31, 8, 89, 36), limit=25),
    ArmLevel(
        "shelf-place",
        "goal.x hand.xyz object.xyz",
        (-11, -30, 38, 4, -29, 32, -2),
        (11, 15, 84, 41, 12, 85, 37),
        limit=55,
        gain=(0.5, 0.5),
        slip=0.3,
    ),
    ArmLevel(
        "soccer",
        "goal.x hand.xyz object.xy",
        (-11, -54, 39, 3, -69, 23),
        (11, 52, 86, 33, 68, 89),
        limit=70,
        gain=(0.6, 0.6),
        slip=0.6,
    ),
    ArmLevel(
        "stick-pull",
        "goal.xy hand.xyz object.xyz second.xy",
        (34, 44, -23, 39, 3, -22, 43, -2, 13, 44),
        (46, 56, 40, 90, 51, 41, 92, 51, 42, 73),
        limit=70,
        gain=(0.6, 0.6),
        slip=0.3,
    ),
    ArmLevel(
        "stick-push",
        "hand.xyz object.xyz second.xy",
        (-15, 42, 4, -17, 57, -1, 19, 59),
        (22, 72, 40, 20, 69, 12, 38, 63),
        limit=35,
        slip=0.6,
    ),
    ArmLevel(
        "sweep",
        "goal.y hand.xyz object.xyz",
        (59, -24, 41, 4, -14, 58, -2),
        (71, 51, 82, 38, 50, 82, 10),
        limit=55,
        slip=0.6,
    ),
    ArmLevel(
        "sweep-into",
        "hand.xyz object.xyz",
        (-13, 41, 6, -11, 40, 0),
        (14, 87, 30, 11, 87, 8),
        limit=35,
        steps=4,
        gain=(0.5, 0.5),
        slip=0.3,
    ),
    ArmLevel("window-close", "hand.xyz object.xy", (-22, 39, 5, 3, 65), (32, 80, 44, 22, 81), limit=40),
    ArmLevel("window-open", "hand.xyz object.xy", (-23, 39, 4, -15, 59), (30, 81, 45, 26, 81), limit=45),
)
