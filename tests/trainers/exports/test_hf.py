"""Folders for transformers: the same logits as ours, the same bits back, and what is refused."""

import hashlib
import itertools
import json
import random
import re

import pytest
import torch
from new_knobs import Sunk
from safetensors.torch import load_file, save_file
from toys import toy_suite

import trainers.exports.huggingface.classes as classes
from space.candidate import Architecture, CandidateConfig
from space.errors import CheckpointError, NotFoundError, StudyFileError
from space.mixture import TaskMixture
from space.recipe import WEIGHTS_FILE, Origin, Recipe
from trainers.exports.huggingface.folder import EMBEDDING_FILE, read_hf, write_hf
from trainers.exports.sealed import write_sealed
from trainers.model.decoder import Decoder
from trainers.model.embedding import Patches
from trainers.train import save_weights

TOLERANCE = 1e-5
SETS = [  # router, QK-norm, shared expert, leading dense layers, window
    ("none", False, False, False),
    ("none", True, True, False),
    *itertools.product(("softmax",), (False,), (False, True), (False, True)),
    *itertools.product(("softmax",), (True,), (False,), (False, True)),
    *itertools.product(("sigmoid",), (False, True), (False, True), (False, True)),
    ("none", False, False, False, 5),
    ("none", True, False, False, 5),
    ("softmax", False, False, False, 5),
    ("softmax", False, True, True, 5),
    ("softmax", True, False, True, 5),
]


def draw(
    router: str, qk_norm: bool, shared: bool, dense: bool, window: int = 0, seed: int = 0
) -> Architecture:
    """An architecture of a set of options; the rest is drawn."""
    rng = random.Random(f"{router} {qk_norm} {shared} {dense} {seed}")
    head_dim, kv_heads = rng.choice((8, 16)), rng.choice((1, 2, 3))
    kv_groups = rng.choice((1, 2, 4))
    experts = 1 if router == "none" else rng.choice((2, 5, 8))
    depth = rng.randint(2, 4)
    return Architecture(
        depth=depth,
        width=head_dim * kv_heads * kv_groups,
        experts=experts,
        top_k=rng.randint(1, min(experts, 4)),
        expert_ratio=rng.choice((0.5, 1, 2)),
        shared_experts=shared,
        dense_layers=rng.randint(1, depth - 1) if dense else 0,
        router="sigmoid" if router == "sigmoid" else "softmax",
        head_dim=head_dim,
        kv_groups=kv_groups,
        qk_norm=qk_norm,
        window=window,
    )


def network(arch: Architecture, suite, seed: int = 0) -> Decoder:
    """A decoder with matrices of gain one, and none of whose other tensors is trivial."""
    torch.manual_seed(seed)
    decoder = Decoder(arch, suite)
    with torch.no_grad():
        for tensor in decoder.state_dict().values():
            tensor += torch.randn_like(tensor) * (tensor.shape[-1] ** -0.5 if tensor.ndim > 1 else 0.2)
    return decoder


def exported(folder, arch: Architecture, suite) -> Decoder:
    """Write an export of a random network -> the network."""
    folder.mkdir(exist_ok=True)
    candidate = CandidateConfig(
        architecture=arch, mixture=TaskMixture.uniform(suite.tasks), learning_rate=3e-3
    )
    decoder = network(arch, suite)
    save_weights(decoder, candidate, folder / WEIGHTS_FILE)
    origin = Origin(study="toy", trial=3, rung=0, tokens=1, score=0.1, score_stderr=0.01)
    sha256 = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    Recipe(candidate=candidate, suite=suite, origin=origin, weights_sha256=sha256).write(folder)
    return decoder


def loaded(folder):
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return model


def streams(suite):
    """Text, and control with patches: tokens, local positions and patches of each."""
    torch.manual_seed(1)
    text = torch.randint(suite.text_vocab, (2, suite.context))
    yield text, torch.zeros_like(text), {}
    control = torch.randint(suite.text_vocab, suite.vocab_size - 1, (3, suite.context))
    at = torch.randperm(control.numel())[:10].sort().values
    control.view(-1)[at] = suite.vocab_size - 1
    local = torch.arange(suite.context).expand(control.shape) % 9
    yield control, local, {"image": Patches(at, torch.randn(10, suite.encoders["image"]))}


@torch.no_grad()
def distance(decoder: Decoder, model) -> float:
    """The largest difference of logits over text and control."""
    largest = 0.0
    for tokens, local, patches in streams(decoder.suite):
        ours = decoder.logits(decoder(tokens, local, patches)[0])
        theirs = model(inputs_embeds=decoder.embedding(tokens, local, patches)).logits
        largest = max(largest, (ours - theirs).abs().max().item())
    return largest


@pytest.mark.parametrize("options", SETS, ids=lambda options: "-".join(map(str, options)))
def test_every_set_of_options_has_the_same_logits_and_comes_back_bit_for_bit(options, suite, tmp_path):
    for seed in range(3):
        home = tmp_path / str(seed)
        decoder = exported(home, draw(*options, seed=seed), suite)
        write_hf(home, home / "hf")
        assert distance(decoder, loaded(home / "hf")) <= TOLERANCE
        ours, back = decoder.state_dict(), read_hf(home / "hf")
        assert ours.keys() == back.keys()
        assert [name for name in ours if not torch.equal(ours[name], back[name])] == []


def test_the_sets_are_all_that_have_a_class():
    known = {peer for _, peer in classes.EXACT}
    assert {classes.exact_class(draw(*options)) for options in SETS} == known


@pytest.mark.parametrize("options", [SETS[0], ("softmax", True, False, False), ("sigmoid", True, True, True)])
def test_a_wrong_rotation_shows(options, suite, tmp_path):
    decoder = exported(tmp_path, draw(*options, seed=1), suite)
    write_hf(tmp_path, tmp_path / "hf")
    path = tmp_path / "hf" / "config.json"
    config = json.loads(path.read_text())
    config["rope_parameters"]["rope_theta"] = 500_000.0
    path.write_text(json.dumps(config))
    assert distance(decoder, loaded(tmp_path / "hf")) > 1e-3


@pytest.mark.parametrize("qk_norm", [False, True])
def test_a_sigmoid_router_with_a_window_is_refused_before_anything_is_written(qk_norm, suite, tmp_path):
    exported(tmp_path, draw("sigmoid", qk_norm, False, False, window=8), suite)
    with pytest.raises(StudyFileError, match="only with full attention, got window 8"):
        write_hf(tmp_path, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


@torch.no_grad()
@pytest.mark.parametrize("options", [options for options in SETS if options[4:]])
def test_a_window_of_the_class_has_our_off_by_one_and_generates(options, suite, tmp_path):
    decoder = exported(tmp_path, draw(*options), suite)
    write_hf(tmp_path, tmp_path / "hf")
    path = tmp_path / "hf" / "config.json"
    config = json.loads(path.read_text())
    for wrong in (4, 6):
        path.write_text(json.dumps(config | {"sliding_window": wrong}))
        assert distance(decoder, loaded(tmp_path / "hf")) > 1e-3
    path.write_text(json.dumps(config))
    decoder.embedding.local.weight.zero_()
    tokens = torch.tensor([[3, 4, 5]])
    written = loaded(tmp_path / "hf").generate(tokens, max_new_tokens=12, do_sample=False)
    for _ in range(12):
        hidden, _ = decoder(tokens, torch.zeros_like(tokens), {})
        tokens = torch.cat([tokens, decoder.logits(hidden[:, -1:]).argmax(-1)], dim=1)
    assert written.tolist() == tokens.tolist()


@pytest.mark.parametrize("dense", [False, True])
def test_a_set_without_a_class_is_refused_before_anything_is_written(dense, suite, tmp_path):
    exported(tmp_path, draw("softmax", True, True, dense), suite)
    with pytest.raises(StudyFileError, match="only without QK-norm, got shared_experts 1 and qk_norm true"):
        write_hf(tmp_path, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(("change", "named"), [({}, "tilt 1.0"), ({"sinks": 2}, "sinks 2, tilt 1.0")])
def test_a_knob_that_the_export_does_not_know_is_refused_by_its_name(change, named):
    known = draw("softmax", True, False, False)
    with pytest.raises(
        StudyFileError, match=f"knows every knob that the model uses, got {re.escape(named)}$"
    ):
        classes.exact_class(Sunk(**known.model_dump(), **change))


def test_a_knob_that_has_no_effect_at_its_default_may_be_unknown():
    class OnlySinks(Architecture):
        sinks: Sunk.__annotations__["sinks"] = 0

    known = draw("softmax", True, False, False)
    assert classes.exact_class(OnlySinks(**known.model_dump())) is classes.QWEN3_MOE


def test_without_transformers_it_says_what_to_install(suite, tmp_path, monkeypatch):
    exported(tmp_path, draw(*SETS[0]), suite)
    monkeypatch.setattr(classes, "find_spec", lambda name: None)
    with pytest.raises(NotFoundError, match=r"pip install 'pathfront\[hf\]'"):
        write_hf(tmp_path, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def examples(folder) -> list[dict]:
    """Run the README's examples in the folder, each by itself -> what each leaves."""
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    left = []
    for block in blocks:
        left.append({})
        exec(block, left[-1])
    return left


@pytest.fixture
def here(suite, tmp_path, monkeypatch):
    """An export's folder for transformers, as the working folder -> the decoder."""
    decoder = exported(tmp_path, draw("softmax", True, False, False, seed=2), suite)
    write_hf(tmp_path, tmp_path / "hf")
    monkeypatch.chdir(tmp_path / "hf")
    return decoder


@torch.no_grad()
def test_the_examples_of_the_readme_give_our_logits(here, tmp_path):
    control, text = examples(tmp_path / "hf")
    patches = {"image": Patches(torch.tensor([0]), control["pixels"])}
    ours = here.logits(here(control["tokens"], control["local"], patches)[0])
    torch.testing.assert_close(control["logits"], ours, atol=TOLERANCE, rtol=0)
    tokens = torch.tensor([[3, 4, 5]])
    ours = here.logits(here(tokens, torch.zeros_like(tokens), {})[0])
    torch.testing.assert_close(text["logits"], ours, atol=TOLERANCE, rtol=0)
    written = text["model"].generate(tokens, max_new_tokens=6, do_sample=False)
    for _ in range(6):
        hidden, _ = here(tokens, torch.zeros_like(tokens), {})
        tokens = torch.cat([tokens, here.logits(hidden[:, -1:]).argmax(-1)], dim=1)
    assert written.tolist() == tokens.tolist()


@torch.no_grad()
def test_a_suite_without_patches_has_an_example_too(tmp_path, monkeypatch):
    suite = toy_suite(encoders={}, patch_share={})
    decoder = exported(tmp_path, draw("sigmoid", True, True, False), suite)
    write_hf(tmp_path, tmp_path / "hf")
    monkeypatch.chdir(tmp_path / "hf")
    control = examples(tmp_path / "hf")[0]
    ours = decoder.logits(decoder(control["tokens"], control["local"], {})[0])
    torch.testing.assert_close(control["logits"], ours, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_plain_ids_are_tokens_without_their_local_position(here):
    tokens, local, _ = next(streams(here.suite))
    plain = loaded(".")(input_ids=tokens).logits
    text = here.logits(here(tokens, local, {})[0])
    assert (plain - text).abs().max() > 1e-2
    here.embedding.local.weight.zero_()
    bare = here.logits(here(tokens, local, {})[0])
    torch.testing.assert_close(plain, bare, atol=TOLERANCE, rtol=0)


def test_the_weights_of_a_full_training_are_taken_where_there_are_any(here, tmp_path):
    newest = network(here.arch, here.suite, seed=5)
    (tmp_path / "full").mkdir()
    weights = newest.state_dict()
    write_sealed(tmp_path / "full" / WEIGHTS_FILE, lambda path: save_file(weights, path))
    write_hf(tmp_path, tmp_path / "newer")
    assert torch.equal(read_hf(tmp_path / "newer")["head.weight"], weights["head.weight"])
    assert torch.equal(read_hf(tmp_path / "hf")["head.weight"], here.head.weight)
    assert "trial 3 of study `toy`, trained in full" in (tmp_path / "newer" / "README.md").read_text()
    assert "as the search left them" in (tmp_path / "hf" / "README.md").read_text()


def test_what_our_decoder_cannot_be_is_refused(suite, tmp_path):
    exported(tmp_path, draw("softmax", False, True, False), suite)
    write_hf(tmp_path, tmp_path / "hf")
    path = tmp_path / "hf" / WEIGHTS_FILE
    weights = load_file(path)
    weights["model.layers.0.mlp.shared_expert_gate.weight"][0, 0] = 1
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="unless it is zero") as error:
        read_hf(tmp_path / "hf")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["less", "more", "cut", "gone"])
def test_a_model_that_is_not_whole_is_refused(damage, here, tmp_path):
    path = tmp_path / "hf" / WEIGHTS_FILE
    weights = load_file(path)
    if damage == "less":
        del weights["model.norm.weight"]
    weights |= {"model.extra": torch.ones(1)} if damage == "more" else {}
    save_file(weights, path, {"format": "pt"})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    if damage == "gone":
        path.unlink()
    with pytest.raises(CheckpointError, match="hf' holds") as error:
        read_hf(tmp_path / "hf")
    assert "\n" not in str(error.value)


def test_a_folder_that_is_not_ours_or_torn_is_one_line(here, tmp_path):
    with pytest.raises(NotFoundError, match="pathfront export"):
        read_hf(tmp_path)
    path = tmp_path / "hf" / EMBEDDING_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="is damaged") as error:
        read_hf(tmp_path / "hf")
    assert "\n" not in str(error.value)
