"""`pathfront shrink` from outside, on a real export of two real tasks."""

import json

import pytest
from untrained import untrained_export

from space.candidate import Architecture
from space.catalog import load_catalog

ARCH = Architecture(depth=1, width=32, experts=4, top_k=2, expert_ratio=0.5, head_dim=16)


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    suite = load_catalog().of_tasks(("iris", "wine"), {}).model_copy(update={"batch_tokens": 512})
    return untrained_export(tmp_path_factory.mktemp("exports") / "best", suite, ARCH)


def fails(result, code, *words):
    assert result[0] == code, result
    assert result[1] == ""
    assert result[2].startswith("error: ")
    assert result[2].count("\n") == 1, result[2]
    for word in words:
        assert word in result[2]


@pytest.mark.slow
def test_half_the_channels_from_the_command_line(pathfront, best, tmp_path):
    code, out, err = pathfront("train", best, "--tokens", "20k")
    assert code == 0, err
    code, out, err = pathfront("shrink", best, "-o", "half", "--json")
    assert code == 0, err
    assert "from 16 to 8 channels an expert, retraining on 2k tokens" in err
    found = json.loads(out)
    assert found["kept_channels"] == 0.5
    assert found["child"]["network_flops_per_token"] * 2 == found["parent"]["network_flops_per_token"]
    assert found["speeds"]["forward"]["parent"] > 0
    assert found["scores"].keys() == {"parent", "pruned", "retrained"}
    code, out, err = pathfront("eval", "half", "--json")
    assert json.loads(out)["score"] == found["scores"]["retrained"]["score"]["value"]
    code, out, err = pathfront("train", "half", "--tokens", "3k")
    assert code == 0, err
    assert "pathfront eval half" in (tmp_path / "half" / "README.md").read_text()
    fails(pathfront("shrink", "half", "-o", "less"), 2, "of their 8 comes to 8", "the fewest already")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half"]


def test_a_table_for_people_and_a_folder_beside_the_export(pathfront, best):
    code, out, err = pathfront("shrink", best, "--channels", "0.4", "--tokens", "2k")
    assert code == 0, err
    for words in ("hidden channels of an expert", "forward and backward", "all domains", "iris", "± "):
        assert words in out
    assert out.splitlines()[-1].endswith(f"pathfront eval {best}-shrunk-0.4")
    assert (best.with_name("best-shrunk-0.4") / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none"], 3, ["'none'", "pathfront export"]),
        (["BEST", "--channels", "0"], 2, ["above 0 and at most 1, got 0"]),
        (["BEST", "--channels", "1.5"], 2, ["above 0 and at most 1, got 1.5"]),
        (["BEST", "--channels", "half"], 2, ["--channels", "valid number"]),
        (["BEST", "--channels", "1"], 2, ["16 comes to 16", "keep a smaller share"]),
        (["BEST", "--tokens", "-1"], 2, ["--tokens"]),
        (["BEST", "-o", "there"], 2, ["goes into a new folder, and 'there' exists"]),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_created(pathfront, best, tmp_path, arguments, code, words):
    (tmp_path / "there").mkdir()
    arguments = [best if word == "BEST" else word for word in arguments]
    fails(pathfront("shrink", *arguments), code, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
