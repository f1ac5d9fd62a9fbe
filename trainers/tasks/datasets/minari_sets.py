"""Minari's data sets (https://minari.farama.org): demonstrations of a policy in an environment of Gymnasium.

An episode at a time is read and converted; afterwards neither Minari nor its folder is needed.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec

from space.catalog import OWN_SETTINGS, load_catalog
from space.errors import MachineError, PathfrontError, TaskError
from space.plugins import describe_error
from trainers.tasks.datasets.content import Content, LeftOut, Progress
from trainers.tasks.datasets.environments import check_spec, is_minigrid, make_environment, parse_spec, quiet
from trainers.tasks.datasets.layout import Layout, check_length
from trainers.tasks.datasets.minari_folders import DATA, METADATA, data_of
from trainers.tasks.datasets.recorded import About, Writer, start_of, starts_alike
from trainers.tasks.datasets.spaces import Actions, Leaf, Rows, acted, bounded, observed, read_row, read_rows
from trainers.tokens.vocabulary import Vocabulary

FORMATS = {"hdf5": "h5py", "arrow": "pyarrow", "parquet": "pyarrow"}
FEWEST = 2  # episodes; fewer have no standard error
STARTS = 100  # episodes of the environment, and as many of the data, whose starts are compared
TRIED = 20  # steps
INSTALL = "pip install 'pathfront[minari]'"
WHAT = "Minari's data sets"


def read_minari(source: Path, progress: Progress, left_out: LeftOut, scratch: Path) -> Content:
    """Read and convert a data set of Minari.

    Args:
        source: its folder.
        progress: called with the number of episodes read and their total.
        left_out: episodes that cannot be read are noted there.
        scratch: an empty folder for the files.

    Raises:
        TaskError: it is damaged, has no environment, or one whose spaces are not supported.
        MachineError: a package is missing; the message says how to install it.
    """
    folder = data_of(source)
    if folder is None:
        raise TaskError(f"{WHAT} have '{DATA}/{METADATA}', '{source}' has none that can be read")
    metadata = json.loads((folder / METADATA).read_bytes())
    _check_packages(str(metadata["data_format"]))
    spec, same = _specification(source, metadata)
    dataset = _opened(source, folder)
    with quiet():
        leaves = observed(dataset.observation_space, is_minigrid(spec))
        vocabulary = Vocabulary.of(suite := load_catalog().suite(OWN_SETTINGS))
        actions = acted(dataset.action_space, vocabulary.discrete)
    layout = Layout(leaves, vocabulary)
    check_length(f"'{source}'", layout.length, len(actions.low), 0, suite.context)
    starts: list[bytes] = []
    with Writer(scratch) as writer:
        for index in range(total := dataset.total_episodes):
            try:
                seen, done, gained = _episode(dataset, index, leaves, actions)
            except Exception as error:  # files of the user, read by another library
                left_out.note_bad(_bad(folder, index, error))
            else:
                writer.add(seen, done, gained)
                starts += [start_of(seen)] * (len(starts) < STARTS)
            progress(index + 1, total)
        left_out.check(source, total)
        if writer.episodes < FEWEST:
            raise TaskError(f"{FEWEST} demonstrations at least are needed, '{source}' has {writer.episodes}")
        actions = bounded(actions, writer.least, writer.most)
        writer.finish(
            About(
                source=str(metadata["dataset_id"]),
                environment=spec.to_json(),
                same_environment=same,
                observations=leaves,
                actions=actions,
                limit=spec.max_episode_steps or writer.longest,
                alike=_tried(spec, leaves, actions, starts),
                ref_min_score=_score(metadata, "ref_min_score"),
                ref_max_score=_score(metadata, "ref_max_score"),
            )
        )
    return writer.content()


def _check_packages(data_format: str) -> None:
    if data_format not in FORMATS:
        raise TaskError(f"{WHAT} are {', '.join(FORMATS)}, got '{data_format}'")
    for module in ("minari", FORMATS[data_format]):
        if find_spec(module) is None:
            raise MachineError(
                f"{WHAT} ({data_format}) need '{module}', and this Python has no such module: {INSTALL}"
            )


def _specification(source: Path, metadata: Mapping[str, Any]) -> tuple[EnvSpec, bool]:
    """The environment that scores, and whether the demonstrations were made in it."""
    own, scoring = metadata.get("env_spec"), metadata.get("eval_env_spec")
    found = scoring or own
    if found is None:
        raise TaskError(
            f"control is scored in its environment, '{source}' has neither 'eval_env_spec' nor 'env_spec' in"
            f" '{METADATA}'; create it with env or eval_env"
        )
    requirements = [str(line) for line in metadata.get("requirements") or ()]
    specs = [parse_spec(text) for text in (found, own) if text]  # Minari may open the other one too
    for spec in specs:
        check_spec(spec, requirements)
    return specs[0], specs[0] == specs[-1]


def _opened(source: Path, folder: Path) -> Any:
    from minari import MinariDataset

    try:
        with quiet():
            return MinariDataset(folder)
    except Exception as error:  # files of the user, read by another library
        raise TaskError(
            f"{WHAT} can be read, '{source}' cannot: {describe_error(error)}; repair or remove it"
        ) from error


def _episode(
    dataset: Any, index: int, leaves: tuple[Leaf, ...], actions: Actions
) -> tuple[Rows, np.ndarray, float]:
    """What was seen before each step, what was done, (steps, size), and the sum of rewards."""
    with quiet():
        episode = dataset[index]
    rewards = np.asarray(episode.rewards, dtype=np.float64)
    count = len(rewards)
    if not count or not np.isfinite(rewards).all():
        raise TaskError(f"an episode has rewards that are finite, got {rewards[:3]}")
    seen = read_rows(leaves, episode.observations, count + 1)
    before = Rows(seen.numbers[:-1], seen.pixels[:-1], seen.text)
    return before, actions.read(episode.actions, count), float(rewards.sum())


def _bad(folder: Path, index: int, error: Exception) -> TaskError:
    why = error if isinstance(error, PathfrontError) else describe_error(error)
    return TaskError(f"episode {index} in '{folder}': {why}")


def _tried(spec: EnvSpec, leaves: tuple[Leaf, ...], actions: Actions, starts: list[bytes]) -> bool:
    """Play a little; whether some episodes start as others do.

    Raises:
        TaskError: the environment shows something else than the data, or does not repeat itself.
    """
    once, again = (_played(spec, leaves, actions) for _ in range(2))
    if once != again:
        raise TaskError(f"an environment repeats itself for a seed, '{spec.id}' does not")
    env = make_environment(spec)
    with quiet():
        found = [start_of(read_row(leaves, env.reset(seed=seed)[0])) for seed in range(STARTS)]
    env.close()
    return starts_alike(found) or bool(set(found) & set(starts))


def _played(spec: EnvSpec, leaves: tuple[Leaf, ...], actions: Actions) -> list[object]:
    """What random play shows and gains in a few steps."""
    env, rng = make_environment(spec), np.random.default_rng(0)
    actor = actions.actor(Vocabulary.of(load_catalog().suite(OWN_SETTINGS)))
    try:
        with quiet():
            found: list[object] = [start_of(read_row(leaves, env.reset(seed=0)[0]))]
            for _ in range(TRIED):
                observation, gained, *over, _ = env.step(actions.native(actor.decode(actor.random(rng))))
                found += [start_of(read_row(leaves, observation)), float(gained)]
                if any(over):
                    break
    except TaskError as error:
        raise TaskError(f"the environment '{spec.id}' shows what its data do not: {error}") from None
    except Exception as error:  # code of the packages that are installed
        raise TaskError(f"the environment '{spec.id}' raises {describe_error(error)}") from error
    finally:
        env.close()
    return found


def _score(metadata: Mapping[str, Any], name: str) -> float | None:
    value = metadata.get(name)
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None
