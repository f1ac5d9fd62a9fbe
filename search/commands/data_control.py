"""What the data commands say of demonstrations of control besides floor and expert."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from space.catalog import Measured
    from trainers.tasks.datasets.library import Dataset


def more_of(dataset: "Dataset") -> dict[str, object]:
    """The environment that scores and the source's own references; nothing for another kind.

    Raises:
        TaskError: the data set is damaged.
    """
    if dataset.manifest.kind != "control":
        return {}
    from trainers.tasks.datasets.demonstrations import read_about
    from trainers.tasks.datasets.environments import parse_spec

    about = read_about(dataset)
    return {
        "environment": parse_spec(about.environment).id,
        "ref_min_score": about.ref_min_score,
        "ref_max_score": about.ref_max_score,
    }


def say_more(dataset: "Dataset", measured: "Measured") -> None:
    """Print the return of the demonstrations, of the other policies and the source's own references."""
    if dataset.manifest.kind != "control":
        return
    from search.commands import output
    from trainers.tasks.datasets.demonstrations import demonstrations_of
    from trainers.tasks.measure import DEMONSTRATIONS

    about, returns = demonstrations_of(dataset).about, demonstrations_of(dataset).arrays["returns"]
    stderr = returns.std(ddof=1) / len(returns) ** 0.5
    others = measured.record.references["report"].baselines
    played = ", ".join(f"{name} {one.mean:.4g} ± {one.stderr:.2g}" for name, one in others.items())
    print(f"{DEMONSTRATIONS}: {returns.mean():.4g} ± {stderr:.2g} of {len(returns):,} episodes; {played}")
    if about.ref_min_score is not None or about.ref_max_score is not None:
        low, high = _shown(about.ref_min_score), _shown(about.ref_max_score)
        print(f"references of {about.source}: min {low}, max {high}")
    if not about.same_environment:
        output.say(
            "warning: the demonstrations were made in another environment than the one that scores, so their"
            " return may not be comparable"
        )


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.4g}"
