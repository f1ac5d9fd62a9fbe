"""An export in use does what the evaluator makes it do."""

import hashlib

import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from space.candidate import Architecture, CandidateConfig
from space.catalog import load_catalog, local_catalog
from space.errors import CheckpointError, MachineError, NotFoundError, StudyFileError
from space.mixture import TaskMixture
from space.recipe import TOKENIZER_FILE, WEIGHTS_FILE, Origin, Recipe
from trainers.data import load_corpora
from trainers.evaluate import ModelPolicy, Part, prompts, score_candidate
from trainers.exports.policy import load_policy
from trainers.generate import generate
from trainers.model.decoder import Decoder
from trainers.tasks.families.classic_control import UPRIGHT_COSINE
from trainers.tasks.families.images import load_scans
from trainers.tasks.families.tabular import rows_of
from trainers.tasks.tokenizer import tokenizer_model
from trainers.tokens.text import BOS
from trainers.train import save_weights

CONTROL = ["blackjack", "cartpole", "pendulum"]  # whose scores tell even bad play apart
TASKS = [*CONTROL, "babyai-goto-redball-grey", "digits", "diabetes", "python-docs"]
EPISODES = 4


def write_export(folder, tasks=TASKS, **changes):
    """An export of a decoder with random weights, large enough that what it does depends on what it sees."""
    suite = load_catalog().of_tasks(tuple(tasks), local_catalog()).model_copy(update=changes)
    suite = suite.model_copy(update={"episodes": dict.fromkeys(tasks, EPISODES)})
    architecture = Architecture(depth=2, width=32, experts=4, top_k=2, expert_ratio=1, head_dim=8)
    candidate = CandidateConfig(
        architecture=architecture, mixture=TaskMixture.uniform(suite.tasks), learning_rate=3e-3
    )
    torch.manual_seed(2)
    decoder = Decoder(architecture, suite)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(8 if parameter.ndim > 1 else 1)
    save_weights(decoder, candidate, folder / WEIGHTS_FILE)
    sha256 = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    origin = Origin(study="toy", trial=3, rung=0, tokens=1, score=0.1, score_stderr=0.01)
    Recipe(candidate=candidate, suite=suite, origin=origin, weights_sha256=sha256).write(folder)
    (folder / TOKENIZER_FILE).write_bytes(tokenizer_model(suite.tokenizer))
    return folder


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def policy(export):
    return load_policy(export, "cpu")


@pytest.fixture(scope="module")
def scores(policy):
    """Raw values of the report episodes as `pathfront eval` measures them."""
    return score_candidate(policy.decoder, policy.recipe.suite, "report")


def observed(session):
    if hasattr(session, "deal"):
        return session.deal.total, session.deal.shown, session.deal.usable
    return session._seen_now if hasattr(session, "_seen_now") else session.state


@pytest.mark.parametrize("name", CONTROL)
def test_the_report_episodes_played_by_act_have_the_scores_of_the_evaluator(name, policy, scores):
    task = policy.task(name)
    control, played, taken = policy.control(name), [], set()
    for index in range(EPISODES):
        session, over = task.session("report", index), False
        policy.reset(name)
        while not over:
            session.observe()
            ids = control.ids(policy.act(name, observed(session)))
            taken.add(ids.tobytes())
            over = session.act(ids)
        played.append(session.value)
    np.testing.assert_array_equal(played, scores[name])
    assert len(set(played)) > 1, "episodes differ"
    assert len(taken) > 1, "what it does depends on what it sees"


def test_every_action_is_the_evaluators(policy):
    """Also where the scores are equal because every episode fails."""
    name = "babyai-goto-redball-grey"
    task, model = policy.task(name), ModelPolicy(policy.decoder)
    sessions = [task.session("report", index) for index in range(2)]
    episodes = [policy.episode(name, index) for index in range(2)]
    model.begin(2)
    for _ in range(20):
        seen = [session.observe() for session in sessions]
        together = model.act([0, 1], seen, sessions)
        for episode, session, ids in zip(episodes, sessions, together, strict=True):
            action = policy.control(name).ids(episode.act(observed(session)))
            np.testing.assert_array_equal(action, ids)
            session.act(ids)


def test_an_environment_of_gymnasium_is_played_in_its_own_units(policy, scores):
    name = "pendulum"
    control, values = policy.control(name), []
    for index in range(EPISODES):
        env, episode, upright = PendulumEnv(), policy.episode(name, index), 0
        seen, _ = env.reset(seed=policy.task(name).seed("report", index))
        for _ in range(control.limit):
            action = episode.act(seen)
            assert action.shape == (1,)
            for _ in range(control.repeat):
                seen, *_ = env.step(np.asarray(action, dtype=np.float32))
                upright += np.cos(env.state[0]) > UPRIGHT_COSINE
        values.append(upright / (control.limit * control.repeat))
    np.testing.assert_allclose(values, scores[name])


def test_answers_have_the_scores_of_the_evaluator(policy, scores):
    images, labels = load_scans("report")
    said = [policy.answer("digits", image=images[index]) for index in range(EPISODES)]
    right = [answer.strip() == str(label) for answer, label in zip(said, labels, strict=False)]
    np.testing.assert_array_equal(right, scores["digits"])
    task = policy.task("diabetes")
    features, targets = rows_of(task.table, "report")
    numbers = [policy.answer("diabetes", features=features[index]) for index in range(EPISODES)]
    errors = (np.array(numbers) - targets[:EPISODES]) ** 2
    np.testing.assert_allclose(1 - errors / targets.var(), scores["diabetes"])


def test_a_session_of_the_task_itself_can_be_played(policy, scores):
    name = "blackjack"
    session, episode, over = policy.task(name).session("report", 1), policy.episode(name, 1), False
    while not over:
        over = session.act(episode.act(session))
    assert session.value == scores[name][1]


def test_episodes_begin_with_the_demonstrations_of_the_evaluator(tmp_path):
    policy = load_policy(write_export(tmp_path, ["taxi"], prompted=True), "cpu")
    suite, name = policy.recipe.suite, "taxi"
    part = Part(name, policy.task(name), EPISODES)
    prompt = prompts([part], "report", load_corpora(suite), suite.context // 2)
    model, session = ModelPolicy(policy.decoder, prompt), policy.task(name).session("report", 2)
    model.begin(EPISODES)
    seen = session.observe()
    ids = model.act([2], [seen], [session])[0]
    episode = policy.episode(name, 2)
    assert policy.control(name).ids(episode.act(session.state)).tolist() == ids.tolist()
    assert episode._model._windows[2].length == model._windows[2].length > len(seen) + 1


def test_generation_takes_the_likeliest_pieces_and_goes_on_where_the_context_is_full(policy):
    decoder, context = policy.decoder, policy.recipe.suite.context
    start = np.array([300, 301, 302])
    made = generate(decoder, start, 6)
    text = [BOS, *start]
    for piece in made:
        tokens = torch.tensor([text])
        hidden, _ = decoder(tokens, torch.zeros_like(tokens), {})
        logits = decoder.logits(hidden[0, -1])[1 : policy.recipe.suite.text_vocab]
        assert piece == 1 + int(logits.argmax())
        text.append(int(piece))
    long = generate(decoder, np.full(2 * context, 300), context + 3, 1.0, np.random.default_rng(0))
    assert len(long) <= context + 3


def test_draws_repeat_for_a_seed_and_follow_the_temperature(policy):
    drawn = policy.generate("def f", 24, temperature=1.0, seed=3)
    assert drawn == policy.generate("def f", 24, temperature=1.0, seed=3)
    assert drawn != policy.generate("def f", 24, temperature=1.0, seed=4)
    assert policy.generate("def f", 12, temperature=1e-4) == policy.generate("def f", 12)
    assert policy.generate("def f", 0) == ""


@pytest.mark.parametrize(
    ("use", "kind", "message"),
    [
        (lambda p: p.act("blackjak", 3), NotFoundError, "has no task 'blackjak'; did you mean 'blackjack'"),
        (lambda p: p.answer("taxi"), NotFoundError, "has no task 'taxi'"),
        (lambda p: p.act("pendulum", [1.0]), StudyFileError, r"shape \(3,\), got float64 of"),
        (lambda p: p.act("digits", 3), StudyFileError, "is not one of control"),
        (lambda p: p.answer("cartpole"), StudyFileError, "is not one of questions"),
        (lambda p: p.generate("x", -1), StudyFileError, "max_new_tokens"),
        (lambda p: p.generate("x", temperature=-1.0), StudyFileError, "temperature"),
        (lambda p: p.generate("x", temperature=float("nan")), StudyFileError, "temperature"),
    ],
)
def test_what_an_export_cannot_do_is_one_line(use, kind, message, policy):
    with pytest.raises(kind, match=message) as caught:
        use(policy)
    assert "\n" not in str(caught.value)


def test_exports_that_cannot_be_loaded_are_refused(tmp_path):
    with pytest.raises(NotFoundError, match=r"an export holds config\.yaml"):
        load_policy(tmp_path)
    folder = write_export(tmp_path)
    with pytest.raises(StudyFileError, match="device is auto, cpu or cuda"):
        load_policy(folder, "tpu")
    if not torch.cuda.is_available():
        with pytest.raises(MachineError, match="device: cuda"):
            load_policy(folder, "cuda")
    recipe = Recipe.read(folder)
    recipe.model_copy(update={"weights_sha256": None}).write(folder)
    with pytest.raises(NotFoundError, match="has no weights until it is trained"):
        load_policy(folder)
    recipe.write(folder)
    (folder / WEIGHTS_FILE).write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_policy(folder)


def test_an_export_without_text_generates_none(tmp_path):
    folder = write_export(tmp_path)
    recipe = Recipe.read(folder)
    records = {
        name: record.model_copy(update={"modality": "discrete"})
        for name, record in recipe.suite.records.items()
    }
    recipe.model_copy(update={"suite": recipe.suite.model_copy(update={"records": records})}).write(folder)
    with pytest.raises(StudyFileError, match="none of the tasks"):
        load_policy(folder).generate("x")
