"""The studies that surfaces are played in: the space of `quick`, and variations of it."""

from typing import Any

from space.study import StudyConfig, read_study

SEVEN_TO_FOURTEEN: dict[str, Any] = {  # knobs that `quick` fixes
    "shared_experts": {"choices": [0, 1]},
    "dense_layers": {"low": 0, "high": 2},
    "router": {"choices": ["softmax", "sigmoid"]},
    "head_dim": {"choices": [8, 16, 32]},
    "kv_groups": {"choices": [1, 2]},
    "qk_norm": {"choices": [True, False]},
    "window": {"choices": [0, 32, 64]},
    "optimizer": {"choices": ["adamw", "muon"]},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "quick": {},
    "wide": {
        "space": {
            "depth": {"low": 1, "high": 6},
            "width": {"choices": [32, 48, 64, 96, 128, 192, 256]},
            "learning_rate": {"low": 3e-4, "high": 3e-2, "log": True},
            "mixture": {"prior": "uniform", "floor": 0.02, "spread": 2.5},
        },
        "limits": {"flops_per_token": 1e7, "total_params": 4e7},
        "rungs": {"tokens": [100_000, 300_000, 900_000], "eta": 3},
    },
    "three-fold": {"rungs": {"tokens": [100_000, 300_000, 900_000], "eta": 3}},
    "one-rung": {"rungs": {"tokens": [900_000]}},
    "one-task": {"suite": ["taxi"]},
    "24-tasks": {"suite": "generalist"},
    "3-knobs": {
        "space": {
            "experts": 8,
            "top_k": 2,
            "expert_ratio": 1,
            "mixture": {"fixed": True},
        }
    },
    "14-knobs": {"space": SEVEN_TO_FOURTEEN},
}
"""Setting -> keys that differ from the study file `quick`; those of `space` are added to its space."""


def study(
    setting: str = "quick",
    sampler: str = "pathfront",
    arguments: dict[str, Any] | None = None,
    seed: int = 0,
    promotion: str = "gain",
    **stop: float,
) -> StudyConfig:
    """A study in a setting.

    Args:
        setting: a key of `SETTINGS`.
        sampler: as a study file names it.
        arguments: its `sampler_args`.
        seed: of the search.
        promotion: as a study file names it.
        stop: `candidates` or `training_flops`.
    """
    quick = read_study("quick").model_dump(mode="json", exclude_unset=True)
    changes = SETTINGS[setting]
    return StudyConfig.model_validate(
        {
            **quick,
            **changes,
            "space": {**quick["space"], **changes.get("space", {})},
            "search": {
                "sampler": sampler,
                "sampler_args": arguments or {},
                "seed": seed,
                "promotion": promotion,
            },
            "stop": stop or quick["stop"],
        }
    )
