"""AutoTokenizer gives our ids: on an export and on its folder for transformers, in a process without us."""

import json
import random
import subprocess
import sys

import pytest
from test_hf import draw, exported
from toys import toy_suite

from space.catalog import load_catalog
from space.errors import CheckpointError
from trainers.exports.huggingface.folder import write_hf
from trainers.exports.huggingface.tokenizer import TOKENIZER_JSON, write_tokenizer
from trainers.tasks.families import text
from trainers.tasks.tokenizer import suite_tokenizer, tokenizer_model
from trainers.tokens.pieces import Pieces
from trainers.tokens.text import Tokenizer as OwnTokenizer

ODD = [
    "",
    " ",
    "   ",
    "\n",
    "\n\n  \n",
    "\ttabs\r\nand returns\0",
    " leading and trailing  ",
    "red red9 reddish ▁red 10 007",
    "<s> </s> <unk> <0x0A>\n<0x0A>\n<s>\n<bin 3>\n<value 2>",
    "naïve café — “quotes” 漢字 🙂🏽‍🚀 \u200b\ufeff a\u0301",
    "==== ---- >>>>> ..... _____ 'rororor",
    "\U0010ffff\ud7ff",
]

ENCODE = """\
import importlib.util, json, sys
assert not [name for name in ("space", "trainers", "search") if importlib.util.find_spec(name)]
from transformers import AutoTokenizer
folder, texts = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = [tokenizer(text)["input_ids"] for text in texts]
json.dump([ids, [tokenizer.decode(some) for some in ids], len(tokenizer)], sys.stdout)
"""


def strangers(folder, texts):
    """Ids, decoded texts and number of tokens in a fresh process that cannot import this checkout."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path = {clean_path()!r}\n{ENCODE}"],
        input=json.dumps([str(folder), texts]),
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def clean_path():
    """Where packages are found, but not this checkout, which is installed by a file that `site` reads."""
    return [
        path
        for path in sys.path
        if path.endswith((".zip", "lib-dynload", "site-packages")) or "lib/python" in path
    ]


def documents():
    return [document[:3000] for document in text.texts("select")[:20]]


@pytest.mark.parametrize("name", ["quick", pytest.param("generalist", marks=pytest.mark.slow)])
def test_an_export_and_its_folder_have_our_ids_for_strangers(name, tmp_path):
    suite = load_catalog().suite(name)
    exported(tmp_path / "best", draw("softmax", False, False, False), suite)
    write_tokenizer(tmp_path / "best", tokenizer_model(suite.tokenizer), suite)
    (tmp_path / "best" / "tokenizer.model").write_bytes(tokenizer_model(suite.tokenizer))
    write_hf(tmp_path / "best", tmp_path / "best" / "hf")
    ours, texts = suite_tokenizer(suite), [*ODD, *documents()]
    for folder in (tmp_path / "best", tmp_path / "best" / "hf"):
        ids, decoded, size = strangers(folder, texts)
        assert ids == [ours.encode(text).tolist() for text in texts]
        assert decoded == [ours.decode(some) for some in ids]
        assert decoded[1:] == [text.replace("▁", " ") for text in texts[1:]]
        assert size == suite.vocab_size


@pytest.mark.parametrize("name", ["quick", "generalist"])
def test_no_text_tells_the_two_apart(name, tmp_path):
    from tokenizers import Tokenizer

    suite = load_catalog().suite(name)
    model = tokenizer_model(suite.tokenizer)
    write_tokenizer(tmp_path, model, suite)
    theirs, ours = Tokenizer.from_file(str(tmp_path / TOKENIZER_JSON)), suite_tokenizer(suite)
    pieces, rng = Pieces.of(model), random.Random(0)
    parts = [*pieces.normal, *pieces.words, *ODD, *"=->. \n\u2581ror"]
    alphabet = sorted(set("".join(pieces.normal) + "\n é漢"))
    for _ in range(4000):
        some = rng.sample(alphabet, 3)
        for drawn in (
            "".join(rng.choice(parts) for _ in range(rng.randrange(1, 12))),
            "".join(rng.choice(some) * rng.choice((1, 1, 2, 3, 7)) for _ in range(rng.randrange(1, 20))),
            "".join(chr(rng.randrange(1, 0xD800)) for _ in range(8)),
        ):
            found = ours.encode(drawn).tolist()
            assert theirs.encode(drawn).ids == found, drawn
            assert theirs.decode(found) == ours.decode(found), drawn


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"add_dummy_prefix": False},
        {"add_dummy_prefix": False, "user_defined_symbols": ["\n", "foo", "▁7"]},
        {"user_defined_symbols": ["\n", "foo", "▁7"], "split_by_number": True},
        {"user_defined_symbols": ["\n", "<"]},
    ],
    ids=str,
)
def test_nor_does_any_tell_a_model_of_ones_own_apart(settings, tmp_path):
    import io

    import sentencepiece
    from tokenizers import Tokenizer

    lines = [line for text in documents() for line in text.split("\n") if line] + ["<p>a</p><div>b</div>"] * 9
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=buffer,
        vocab_size=600,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        **settings,
    )
    ours, pieces = OwnTokenizer(buffer.getvalue()), Pieces.of(buffer.getvalue())
    assert pieces.splits_names_of_bytes == ("<" in pieces.words)
    write_tokenizer(
        tmp_path, ours.model, load_catalog().suite("quick").model_copy(update={"text_vocab": 600})
    )
    theirs, rng = Tokenizer.from_file(str(tmp_path / TOKENIZER_JSON)), random.Random(0)
    parts = [*pieces.normal, *pieces.words, *ODD, "\n", "<", "<0x0A>", "foo<0x0A>foo", "\n<0x41>\n"]
    for _ in range(4000):
        drawn = "".join(rng.choice(parts) for _ in range(rng.randrange(1, 12)))
        found = ours.encode(drawn).tolist()
        assert theirs.encode(drawn).ids == found, drawn
        assert theirs.decode(found) == ours.decode(found) == drawn.replace("▁", " "), drawn


def test_other_ids_decode_to_nothing(tmp_path):
    from tokenizers import Tokenizer

    suite = load_catalog().suite("quick")
    write_tokenizer(tmp_path, tokenizer_model(suite.tokenizer), suite)
    theirs, ours = Tokenizer.from_file(str(tmp_path / TOKENIZER_JSON)), suite_tokenizer(suite)
    hello = ours.encode("hello world").tolist()
    mixed = [1, *hello, *range(suite.text_vocab, suite.vocab_size), 2, 0]
    assert theirs.decode(mixed) == ours.decode(mixed)


def test_text_ids_that_are_no_tokenizers_fail_to_load(tmp_path):
    from transformers import AutoTokenizer

    suite = toy_suite()
    write_tokenizer(tmp_path, tokenizer_model(suite.tokenizer), suite)
    (tmp_path / "tokenizer.model").write_bytes(tokenizer_model(suite.tokenizer))
    with pytest.raises(Exception, match="Expecting value"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_a_model_with_other_settings_is_refused(tmp_path):
    import io

    import sentencepiece

    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words and some more words to train on"] * 20),
        model_writer=buffer,
        vocab_size=18,
        model_type="unigram",
        minloglevel=2,
    )
    with pytest.raises(CheckpointError, match="another algorithm than byte-pair merges"):
        write_tokenizer(tmp_path, buffer.getvalue(), load_catalog().suite("quick"))
