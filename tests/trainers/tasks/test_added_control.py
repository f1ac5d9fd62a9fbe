"""Data sets of Minari as tasks: every space, splits, references, tokens, and what is refused."""

import json
import shutil
from functools import partial

import gymnasium
import minari_made as made
import numpy as np
import pytest

from space.errors import MachineError, NotFoundError, StudyFileError, TaskError
from trainers.tasks import measure as measuring
from trainers.tasks.contract import verdicts
from trainers.tasks.datasets import control_task, environments, library, minari_folders, minari_sets, spaces
from trainers.tasks.datasets.content import LeftOut
from trainers.tasks.datasets.demonstrations import demonstrations_of
from trainers.tasks.datasets.library import add_dataset, open_dataset, remove_dataset
from trainers.tasks.datasets.tasks import open_added
from trainers.tasks.episodes import Episodes
from trainers.tasks.interface import ControlInterface
from trainers.tasks.measure import own_suite
from trainers.tasks.tokenizer import suite_tokenizer
from trainers.tokens.vocabulary import Vocabulary


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Data sets of a test's own, and few episodes to measure with."""
    monkeypatch.setenv(library.ENVIRONMENT, str(tmp_path / "data"))
    monkeypatch.setattr(control_task, "PLAYED", 1500)
    monkeypatch.setattr(control_task, "REFERENCE", (24, 24))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def suite(cache):
    return own_suite()


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a data set of Minari below a folder of its own."""
    return lambda how, **facts: how(tmp_path / "minari", monkeypatch, **facts)


@pytest.fixture(autouse=True)
def root(tmp_path):
    (tmp_path / "minari").mkdir()
    return tmp_path / "minari"


def add(name, source, **options):
    return add_dataset(name, source, lambda *_: None, **options)


def open_task(name, suite, count=None):
    factory = open_added(name)
    assert factory is not None
    return factory(suite, suite_tokenizer(suite), count)


def failed(name, suite) -> dict[str, str]:
    """Broken rules and why."""
    found = verdicts(partial(open_task, name, suite), Vocabulary.of(suite), suite.context)
    return {one.rule: one.reason for one in found if one.result == "failed"}


def edit(source, **changes):
    """Change the metadata of a data set; None removes a key."""
    path = source / "data" / "metadata.json"
    found = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))
    return source


def test_demonstrations_of_a_cart_keep_the_contract_and_are_measured(write, suite):
    source = write(made.write_cartpole, ref_min_score=9.5, ref_max_score=60.0)
    dataset = add("my-pole", source)
    assert dataset.manifest.kind == "control"
    assert dataset.manifest.splits == {"train": 30, "select": 0, "report": 0}
    shutil.rmtree(source)  # nothing of it is needed any more
    assert failed("my-pole", suite) == {}
    task = open_task("my-pole", suite)
    record = measuring.measure(task)
    floor, expert = record.checked("report")
    assert record.metric == "return"
    assert floor.policy == "random"
    assert 10 < floor.mean < 40 < expert.mean <= 60
    assert expert.mean == max(task.returns().mean(), *(b.mean for b in _shown(record).values()))
    assert record.references["select"].floor.mean != floor.mean  # other seeds
    assert (task.about.ref_min_score, task.about.ref_max_score) == (9.5, 60.0)
    assert task.about.limit == 60


def _shown(record):
    baselines = record.references["report"].baselines
    return {name: baselines[name] for name in ("clone", "retrieval")}


def test_the_expert_is_the_demonstrations_where_no_clone_plays_as_well(write, suite, monkeypatch):
    add("my-pole", write(made.write_cartpole))
    task = open_task("my-pole", suite)
    monkeypatch.setattr(type(task), "returns", lambda self: np.array([70.0, 80.0]))
    expert = measuring.measure(task).references["select"].expert
    assert (expert.policy, expert.mean, expert.stderr, expert.n) == ("demonstrations", 75.0, 5.0, 2)


def test_demonstrations_no_better_than_their_floor_are_refused(write, suite):
    add("poor", write(made.write_cartpole, policy=lambda seen, rng: int(rng.integers(2))))
    with pytest.raises(TaskError, match="'poor': an expert must exceed its floor by two standard errors"):
        measuring.measure(open_task("poor", suite))


def test_both_formats_hold_the_same(write, suite):
    arrow = add("arrow", write(made.write_cartpole)).manifest
    shutil.rmtree(minari_folders.minari_root() / "cartpole")
    hdf5 = add("hdf5", write(made.write_cartpole, data_format="hdf5")).manifest
    assert arrow.sha256 == hdf5.sha256


@pytest.mark.parametrize(
    ("how", "sense", "length", "encoders"),
    [
        (made.write_pendulum, "continuous", 4, set()),
        (made.write_grid, "discrete", 3, {"grid"}),
        (made.write_pictures, "image", 5, {"image"}),
        (made.write_cards, "discrete", 4, set()),
        (made.write_levels, "continuous", 4, set()),
    ],
)
def test_every_space_is_played_and_shown_as_it_was_recorded(write, suite, how, sense, length, encoders):
    add("mine", write(how))
    task = open_task("mine", suite)
    assert (task.modality, set(task.episodes().patches)) == (sense, encoders)
    session = task.session("select", 0)
    seen = session.observe()
    assert len(seen) - len(session.instruction) == length
    assert len(task.score(task.expert_policy()[1], "select", 3)) == 3
    episodes, stored = Episodes.of(task.demonstrations()[:]), task.episodes()
    for one, kept in zip(episodes, stored, strict=True):
        assert np.array_equal(one.tokens, kept.tokens)
        assert np.array_equal(one.scored, kept.scored)
        for name, patches in one.patches.items():
            assert np.allclose(patches, kept.patches[name], atol=1e-6)


def test_what_is_shown_of_a_demonstration_is_what_its_environment_shows(write, suite):
    """Replayed from its seed, an episode gives the tokens that are trained on."""
    add("mine", write(made.write_pendulum))
    task = open_task("mine", suite)
    env = environments.make_environment(task.environment)
    observation, _ = env.reset(seed=1003)
    replayed, episode = [task.tokens_of(observation)], task.shown.span(3)
    for action in task.shown.actions[episode][:-1]:
        observation, *_ = env.step(action)
        replayed.append(task.tokens_of(observation))
    seen = task.layout.chunks(task.shown.seen(3))
    assert [one.tokens.tolist() for one in seen] == [one.tokens.tolist() for one in replayed]


def test_missions_are_instructions_and_equal_starts_are_said(write, suite):
    add("grid", write(made.write_grid))
    task = open_task("grid", suite)
    mission = suite_tokenizer(suite).encode("get to the green goal square")
    assert task.episodes()[0].tokens[: len(mission)].tolist() == mission.tolist()
    assert task.session("report", 0).instruction.tolist() == mission.tolist()
    assert task.memorisable
    assert "start alike" in task.inapplicable["disjoint"]
    assert (task.returns() > 0.9).all()


def test_an_exported_policy_sees_and_acts_as_the_task_does(write, suite):
    add("levels", write(made.write_levels))
    task = open_task("levels", suite)
    control, session = ControlInterface(task), task.session("report", 1)
    observation, _ = environments.make_environment(task.environment).reset(seed=task.seed("report", 1))
    assert control.observed(observation, first=True).tokens.tolist() == session.observe().tokens.tolist()
    for ids in task.constants():
        assert control.ids(control.action(ids)).tolist() == ids.tolist()
    with pytest.raises(StudyFileError, match=r"'levels' observes what its data do: .* has shape"):
        control.observed(observation[:2], first=True)


def test_numbers_are_bins_and_whole_numbers_digits(suite):
    vocabulary = Vocabulary.of(suite)
    space = gymnasium.spaces.Dict(
        b=gymnasium.spaces.Box(np.array([0, -np.inf]), np.array([10, np.inf]), dtype=np.float64),
        a=gymnasium.spaces.Discrete(500, start=-2),
    )
    layout = control_task.Layout(spaces.observed(space, False), vocabulary)
    rows = spaces.read_row(layout.leaves, {"a": 131, "b": np.array([10.0, np.inf])})
    high, low, linear, mu_law = layout.ids(rows.numbers)[0]
    assert vocabulary.discrete_values(np.array([high, low])).tolist() == [133 // 64, 133 % 64]
    assert vocabulary.continuous_bins(np.array([linear, mu_law])).tolist() == [255, 255]


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(2)), r"Sequence\(Discrete\(2\)"),
        (gymnasium.spaces.Dict(a=gymnasium.spaces.Graph(gymnasium.spaces.Discrete(2), None)), "Graph.* at a"),
    ],
)
def test_spaces_that_are_not_supported_are_named(space, words):
    with pytest.raises(TaskError, match=words):
        spaces.observed(space, False)


def test_actions_that_are_not_supported_are_named():
    with pytest.raises(TaskError, match=r"actions are of the spaces .* the data's are Text\("):
        spaces.acted(gymnasium.spaces.Text(5), 64)
    with pytest.raises(TaskError, match=r"64 choices at most, the data's are Discrete\(65\)"):
        spaces.acted(gymnasium.spaces.Discrete(65), 64)


def test_actions_without_limits_take_those_of_the_data():
    free = spaces.acted(gymnasium.spaces.Box(-np.inf, np.inf, (2,)), 64)
    found = spaces.bounded(free, np.array([-3.0, 1.0]), np.array([4.0, 1.0]))
    assert (found.low, found.high) == ((-3.0, 1.0), (4.0, 2.0))


def test_observations_longer_than_the_context_are_refused_with_their_tokens(write, suite, monkeypatch):
    source = write(made.write_cartpole)
    wide = json.dumps(
        {"type": "Box", "dtype": "float32", "shape": [300], "low": [0] * 300, "high": [1] * 300}
    )
    with pytest.raises(
        TaskError, match=r"context of 256 tokens, they need 302: 0 of the instruction, 300 of"
    ):
        add("wide", edit(source, observation_space=wide))


def test_a_set_without_an_environment_is_refused(write):
    source = edit(write(made.write_cartpole), env_spec=None, eval_env_spec=None)
    with pytest.raises(TaskError, match="neither 'eval_env_spec' nor 'env_spec'"):
        add("mine", source)


def spec_with(source, **changes):
    found = json.loads(json.loads((source / "data" / "metadata.json").read_text())["env_spec"])
    text = json.dumps(found | changes)
    return edit(source, env_spec=text, eval_env_spec=text)


def test_a_missing_package_is_named_with_how_to_install_it(write):
    source = spec_with(write(made.write_cartpole), entry_point="gymnasium_robotics.envs.maze:PointMaze")
    with pytest.raises(MachineError, match=r"module 'gymnasium_robotics'.* pip install gymnasium-robotics$"):
        add("mine", source)
    edit(source, requirements=["gymnasium-robotics>=1.2.3"])
    with pytest.raises(MachineError, match=r"pip install 'gymnasium-robotics>=1.2.3'$"):
        add("mine", source)


@pytest.mark.parametrize(
    ("entry_point", "error", "words"),
    [
        ("os:system", MachineError, "module 'os', and no installed package has it"),
        ("numpy:load", TaskError, "an environment is a class of Env, 'CartPole-v1' is 'numpy:load'"),
        ("gymnasium.envs.none:Env", MachineError, "cannot be imported here"),
        ("nothing", TaskError, "it names no class"),
    ],
)
def test_only_environments_of_installed_packages_are_made(write, entry_point, error, words):
    with pytest.raises(error, match=words):
        add("mine", spec_with(write(made.write_cartpole), entry_point=entry_point))


def test_wrappers_that_were_not_recorded_are_said(write):
    wrapper = {"name": "W", "entry_point": "minigrid.wrappers:ImgObsWrapper", "kwargs": None}
    with pytest.raises(
        TaskError, match=r"'CartPole-v1' cannot be made: ValueError: W wrapper does not inherit"
    ):
        add("mine", spec_with(write(made.write_cartpole), additional_wrappers=[wrapper]))


@pytest.mark.parametrize(
    ("module", "data_format"), [("minari", "arrow"), ("pyarrow", "arrow"), ("h5py", "hdf5")]
)
def test_without_the_extra_it_says_what_to_install(write, monkeypatch, module, data_format):
    source = write(made.write_cartpole, data_format=data_format)
    found = minari_sets.find_spec
    monkeypatch.setattr(minari_sets, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(MachineError, match=rf"need '{module}', .*: pip install 'pathfront\[minari\]'$"):
        add("mine", source)


def test_ids_are_looked_up_below_the_folder_of_minari(write, root, monkeypatch):
    source = write(made.write_cartpole)
    assert minari_folders.locate("cartpole/good-v0", True) == source
    assert minari_folders.locate("cartpole/good-v0", False) == source
    assert minari_folders.locate("photos", False).name == "photos"
    with pytest.raises(
        NotFoundError, match=r"no 'cartpole/god-v0' .*did you mean 'cartpole/good-v0'.*minari down"
    ):
        minari_folders.locate("cartpole/god-v0", True)


def test_damaged_episodes_are_named_and_damaged_metadata_refused(write):
    source = write(made.write_cartpole)
    next((source / "data" / "4").glob("*.arrow")).write_bytes(b"no")
    left_out = LeftOut(0.1)
    assert add("mine", source, left_out=left_out).manifest.items == 29
    assert left_out.bad == 1
    assert "episode 4 in" in left_out.first_bad[0]
    with pytest.raises(TaskError, match=r"a share of 0 of the items may be unreadable .* 1 of 30"):
        add("mine", source, replace=True)
    (source / "data" / "metadata.json").write_text("{")
    with pytest.raises(TaskError, match="none that can be read"):
        add("mine", source, kind="control", replace=True)
    assert open_dataset("mine").manifest.items == 29


def test_a_stored_set_that_was_damaged_says_so_and_is_removed(write, suite, folder):
    add("mine", write(made.write_cartpole))
    path = folder / "mine" / "actions.bin"
    path.write_bytes(path.read_bytes()[::-1])
    library._opened.cache_clear()
    with pytest.raises(TaskError, match="data set 'mine' is damaged"):
        demonstrations_of(open_dataset("mine"))
    remove_dataset("mine")
    assert library.dataset_names() == []


def test_an_environment_that_shows_something_else_is_refused(write):
    source = spec_with(
        write(made.write_cartpole), entry_point="gymnasium.envs.classic_control.pendulum:PendulumEnv"
    )
    with pytest.raises(TaskError, match=r"shows what its data do not: the observation has shape \(4,\), got"):
        add("mine", source)
