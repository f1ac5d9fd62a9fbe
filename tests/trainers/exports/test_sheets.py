"""Argument sheets: each describes a network of our parameters, and says at its top what it leaves out."""

import tomllib

import pytest
from new_knobs import Sunk

import trainers.exports.sheets as sheets
from space.candidate import Architecture
from space.catalog import load_catalog
from space.cost import ENCODER_RATIO, LOCAL_POSITIONS, price
from space.errors import StudyFileError
from trainers.exports.sheets import Constants, megatron, torchtitan

CONSTANTS = Constants(
    rope_base=10_000.0, norm_eps=1e-6, balance_coefficient=0.01, z_coefficient=0.001, bias_step=0.002
)
ARCHITECTURES = [
    Architecture(depth=2, width=64),
    Architecture(depth=3, width=64, experts=8, top_k=2, dense_layers=1, kv_groups=2, qk_norm=False),
    Architecture(depth=4, width=32, experts=4, top_k=2, shared_experts=1, expert_ratio=1, head_dim=8),
    Architecture(depth=5, width=64, experts=8, top_k=3, shared_experts=1, dense_layers=2, router="sigmoid"),
]


@pytest.fixture
def suite():
    """A suite with one patch encoder of 48 numbers."""
    return (
        load_catalog()
        .suite("quick")
        .model_copy(update={"context": 32, "encoders": {"image": 48}, "patch_share": {}})
    )


def flags(sheet: str) -> dict[str, str]:
    lines = [line for line in sheet.splitlines() if not line.startswith("#")]
    return {name.removeprefix("--"): value for name, _, value in (line.partition(" ") for line in lines)}


def left_out(arch: Architecture, suite) -> int:
    """Parameters without a counterpart: local positions and patch encoders."""
    width, hidden = arch.width, ENCODER_RATIO * arch.width
    block = 2 * width * hidden + width + hidden + width
    return LOCAL_POSITIONS * width + sum(block + width * size + width for size in suite.encoders.values())


def params(width, depth, vocab, heads, kv_heads, head_dim, qk_norm, dense, layers, experts, expert, shared):
    """Parameters of a decoder by its sizes; `layers` are 1 where they route."""
    attention = (2 * heads + 2 * kv_heads) * head_dim * width + 2 * head_dim * qk_norm
    sparse = experts * (3 * width * expert + width) + 3 * width * shared
    networks = sum(sparse if routes else 3 * width * dense for routes in layers)
    return 2 * vocab * width + width + depth * (attention + 2 * width) + networks


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_megatrons_flags_describe_a_network_with_our_parameters(arch, suite):
    said = flags(megatron(arch, suite, CONSTANTS))
    depth = int(said["num-layers"])
    pattern = said.get("moe-layer-freq", f"([0]*{depth})")
    counted = params(
        int(said["hidden-size"]),
        depth,
        int(said["vocab-size"]),
        int(said["num-attention-heads"]),
        int(said["num-query-groups"]),
        int(said["kv-channels"]),
        "qk-layernorm" in said,
        int(said["ffn-hidden-size"]),
        eval(pattern, {"__builtins__": {}}),  # a Python list, as Megatron-LM reads it
        int(said.get("num-experts", 0)),
        int(said.get("moe-ffn-hidden-size", 0)),
        int(said.get("moe-shared-expert-intermediate-size", 0)),
    )
    assert counted == price(arch, suite).total_params - left_out(arch, suite)
    assert int(said["seq-length"]) == suite.context
    assert float(said["rotary-base"]) == CONSTANTS.rope_base
    assert float(said["norm-epsilon"]) == CONSTANTS.norm_eps


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_torchtitans_tables_describe_a_network_with_our_parameters(arch, suite):
    said = tomllib.loads(torchtitan(arch, suite, CONSTANTS))
    model, attention, moe = said["model"], said["attention"], said.get("moe", {})
    dense = said.get("feed_forward", {"n_dense_layers": 0, "hidden_dim": 0})
    counted = params(
        model["dim"],
        model["n_layers"],
        model["vocab_size"],
        attention["n_heads"],
        attention["n_kv_heads"],
        attention["head_dim"],
        "qk_norm" in attention,
        dense["hidden_dim"],
        [layer >= dense["n_dense_layers"] for layer in range(model["n_layers"])],
        moe.get("num_experts", 0),
        moe.get("experts", {}).get("hidden_dim", 0),
        moe.get("shared_experts", {}).get("hidden_dim", 0),
    )
    assert counted == price(arch, suite).total_params - left_out(arch, suite)
    rope = {"dim": arch.head_dim, "max_seq_len": suite.context, "theta": 10_000.0, "backend": "cos_sin"}
    assert said["rope"] == rope


def test_how_experts_are_chosen_and_balanced(suite):
    _, softmax, _, sigmoid = ARCHITECTURES
    said = flags(megatron(softmax, suite, CONSTANTS))
    assert said["moe-router-topk"] == "2"
    assert said["moe-router-score-function"] == "softmax"
    assert float(said["moe-aux-loss-coeff"]) == CONSTANTS.balance_coefficient / 2  # two sparse layers
    assert float(said["moe-z-loss-coeff"]) == CONSTANTS.z_coefficient / 2
    moe = tomllib.loads(torchtitan(softmax, suite, CONSTANTS))["moe"]
    assert moe["router"]["top_k"] == moe["aux_loss"]["top_k"] == 2
    assert moe["router"]["route_norm"] is True
    assert moe["aux_loss"]["coeff"] == CONSTANTS.balance_coefficient / 2
    said = flags(megatron(sigmoid, suite, CONSTANTS))
    assert said["moe-router-score-function"] == "sigmoid"
    assert "moe-router-enable-expert-bias" in said
    assert float(said["moe-router-bias-update-rate"]) == CONSTANTS.bias_step
    assert said["moe-router-load-balancing-type"] == "none"
    moe = tomllib.loads(torchtitan(sigmoid, suite, CONSTANTS))["moe"]
    assert moe["router"]["score_func"] == "sigmoid"
    assert moe["load_balance_coeff"] == CONSTANTS.bias_step
    assert "aux_loss" not in moe


@pytest.mark.parametrize(
    ("sheet", "trainer"),
    [(megatron, "Megatron-LM"), (torchtitan, "torchtitan")],
    ids=["megatron", "torchtitan"],
)
def test_a_knob_without_a_row_is_refused_by_its_name(sheet, trainer, suite, monkeypatch):
    with pytest.raises(StudyFileError, match=r"got sinks 3, tilt 1\.0 without"):
        sheet(Sunk(depth=1, width=32, sinks=3), suite, CONSTANTS)
    rows = {"megatron": sheets.MEGATRON, "torchtitan": sheets.TORCHTITAN}[sheet.__name__]
    monkeypatch.delitem(rows, "kv_groups")
    with pytest.raises(StudyFileError, match=f"sheet of {trainer} has a row for each knob, got kv_groups 2"):
        sheet(ARCHITECTURES[1], suite, CONSTANTS)


def test_a_window_is_that_of_the_trainers(suite):
    arch = ARCHITECTURES[1].model_copy(update={"window": 8})
    assert flags(megatron(arch, suite, CONSTANTS))["window-size"] == "7,0"  # positions before and after
    assert "window-size" not in flags(megatron(ARCHITECTURES[1], suite, CONSTANTS))
    inner = tomllib.loads(torchtitan(arch, suite, CONSTANTS))["attention"]["inner_attention"]
    assert inner["window_size"] == 8  # itself and the 7 before it


def test_what_has_no_counterpart_stands_at_the_top(suite):
    for sheet in (megatron, torchtitan):
        top = sheet(ARCHITECTURES[1], suite, CONSTANTS).partition("\n\n")[0].partition("--")[0]
        assert "local positions" in top
        assert f"image ({suite.encoders['image']} numbers a patch)" in top
        bare = sheet(ARCHITECTURES[1], suite.model_copy(update={"encoders": {}}), CONSTANTS)
        assert "patch encoders" not in bare
    single = ARCHITECTURES[3].model_copy(update={"top_k": 1})
    assert "Not the same" in megatron(single, suite, CONSTANTS)
    assert "Not the same" not in megatron(ARCHITECTURES[3], suite, CONSTANTS)
