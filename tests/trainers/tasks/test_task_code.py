"""The fingerprint of a task's code: it changes with what decides the data, and with nothing else."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import CodeType, ModuleType

import numpy as np
import pytest

import trainers
from space.catalog import OWN_SETTINGS, load_catalog
from trainers.tasks.code import bytecode, fingerprints
from trainers.tasks.code.fingerprints import code_fingerprint, object_fingerprint
from trainers.tasks.registry import FAMILIES, family_tasks, load_task

PACKAGE = Path(str(trainers.__file__)).parent
SCRIPT = Path(__file__).with_name("edited_keys.py")
STORAGE = ("cache.py", "mapped.py", "versions.py", "code")  # keeps data, and has its own part of the key
TASKS = "trainers/tasks"
ASKED = ["cartpole", "mountain-car", "symbols-parity", "symbols-roman", "babyai-goto-obj", "python-docs"]


def test_all_code_that_runs_when_data_are_made_is_in_the_fingerprint(monkeypatch):
    """On one task of each class of each family: what a profiler sees is what the fingerprint has read."""
    suite = load_catalog().suite(OWN_SETTINGS)
    normal, read = bytecode.normal, set[CodeType]()
    monkeypatch.setattr(bytecode, "normal", lambda code: read.add(code) or normal(code))
    for family in FAMILIES:
        shortest = sorted(family_tasks(family), key=lambda name: suite.lengths.get(name, 1e9))
        classes = {type(load_task(name, suite)): name for name in reversed(shortest)}
        for name in classes.values():
            fingerprints._of_class.cache_clear()
            object_fingerprint.cache_clear()
            read.clear()
            task = load_task(name, suite, train_episodes=2)
            task.cache_key()  # pyright: ignore[reportAttributeAccessIssue]
            known = {nested for code in read for nested in _nested(code)}
            missed = {code.co_qualname for code in _executed(task.demonstrations) - known}  # pyright: ignore[reportAttributeAccessIssue]
            assert missed == set(), name


def _nested(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _executed(function):
    """Code of ours that runs in a call, without what reads and writes the cache."""
    ran = set()

    def note(frame, event, _):
        if event == "call":
            ran.add(frame.f_code)

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return {code for code in ran if _is_followed(Path(code.co_filename))}


def _is_followed(file):
    """Whether a file is ours, and does not read or write the cache."""
    inside = file.parts[len(PACKAGE.parts) :] if file.is_relative_to(PACKAGE) else ()
    return bool(inside) and not (inside[0] == "tasks" and inside[1] in STORAGE)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    for name in ("tasks", "tokens"):
        shutil.copytree(
            PACKAGE / name, folder / "trainers" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(PACKAGE / "__init__.py", folder / "trainers")
    return folder


def asked(folder, edits):
    done = subprocess.run(
        [sys.executable, SCRIPT, folder],
        input=json.dumps(edits),
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Plain(ast.NodeTransformer):
    """Takes docstrings, annotations of functions and comments out of a module."""

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.returns = None
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for argument in (*every, node.args.vararg, node.args.kwarg):
            if argument is not None:
                argument.annotation = None
        return self.undocumented(node)

    def visit_ClassDef(self, node):
        self.generic_visit(node)
        return self.undocumented(node)

    def undocumented(self, node):
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node


@pytest.mark.slow
def test_layout_docstrings_annotations_and_names_do_not_change_it(copied, tmp_path):
    """All tasks that ship, with all of their source rewritten, and modules, classes and constants renamed."""
    (before,) = asked(copied, [[[], []]])
    plain = tmp_path / "plain"
    shutil.copytree(copied, plain)
    for path in (plain / "trainers").rglob("*.py"):
        tree = Plain().visit(ast.parse(path.read_text()))
        path.write_text("# moved\n\n\n\n" + ast.unparse(ast.fix_missing_locations(tree)))
    assert asked(plain, [[[], []]]) == [before]
    assert len(before) == len(load_catalog().tasks)
    for old, new in (
        ("parts/questions.py", "parts/asking.py"),
        ("families/symbols.py", "families/letters.py"),
    ):
        (plain / TASKS / old).rename(plain / TASKS / new)
    words = {
        "parts.questions": "parts.asking",
        "families.symbols": "families.letters",
        "GymnasiumTask": "RenamedTask",
        "WIDE_START": "FARTHEST",
        "_between": "_somewhere",
        "DrawnShape": "Drawing",
    }
    for path in (plain / "trainers").rglob("*.py"):
        text = path.read_text()
        for old, new in words.items():
            text = text.replace(old, new)
        path.write_text(text)
    assert asked(plain, [[[], []]]) == [before]


SAME = {
    "a docstring": [
        f"{TASKS}/sessions.py",
        'index: int) -> int:\n        """',
        'index: int) -> int:\n        """New: ',
    ],
    "a comment": [f"{TASKS}/sessions.py", "    def rng(self", "    # why\n\n    def rng(self"],
    "an annotation": [f"{TASKS}/sessions.py", "index: int) -> int:", 'index: "list[int]") -> float:'],
    "a floor, which is no training data": [f"{TASKS}/sessions.py", "RandomPolicy(0)", "RandomPolicy(1)"],
    "how a trial is scored": [f"{TASKS}/sessions.py", "lanes: int = 64", "lanes: int = 65"],
    "another task's expert": [f"{TASKS}/families/classic_control.py", "state[4] > 0", "state[4] > 1"],
    "another task's question": [f"{TASKS}/families/symbols.py", "10, 100, 2", "10, 99, 2"],
    "how the cache is written": [f"{TASKS}/cache.py", "DIGITS = 16", "DIGITS = 15"],
    "an n-gram, which reads text": [f"{TASKS}/ngram.py", "MAX_BITS = 62", "MAX_BITS = 61"],
}
DIFFERENT = {
    "a constant of its module": [
        "cartpole",
        f"{TASKS}/families/classic_control.py",
        "0.12, 0.9)",
        "0.1, 0.9)",
    ],
    "a constant in a function": [
        "mountain-car",
        f"{TASKS}/families/classic_control.py",
        "- 0.008",
        "- 0.009",
    ],
    "its row of a table": [
        "mountain-car",
        f"{TASKS}/families/classic_control.py",
        "(0.6, 0.07)",
        "(0.6, 0.08)",
    ],
    "a table": ["symbols-roman", f"{TASKS}/families/symbols.py", '(9, "ix")', '(9, "viiii")'],
    "a helper's helper": ["symbols-parity", f"{TASKS}/families/symbols.py", "limits[1] + 1", "limits[1]"],
    "a helper in another module": [
        "cartpole",
        f"{TASKS}/parts/regulators.py",
        "DIFFERENCE = 1e-5",
        "DIFFERENCE = 1e-4",
    ],
    "a function of a module": [
        "babyai-goto-obj",
        "trainers/tokens/sequence.py",
        "LOCAL_POSITIONS - 1",
        "LOCAL_POSITIONS - 2",
    ],
    "a base class's method": ["symbols-parity", f"{TASKS}/sessions.py", '"big") >> 1', '"big") >> 2'],
    "a default argument": [
        "babyai-goto-obj",
        "trainers/tokens/sequence.py",
        "scored: bool = True",
        "scored: bool = 1",
    ],
    "the expert's slips": ["cartpole", f"{TASKS}/families/classic_control.py", "rate=0.08", "rate=0.07"],
    "the levels of patches": ["symbols-parity", f"{TASKS}/episodes.py", "LEVELS = 255", "LEVELS = 127"],
    "how text is read": ["python-docs", f"{TASKS}/families/text.py", "0.8 else", "0.7 else"],
}


def test_it_changes_with_what_decides_the_data_and_with_nothing_else(copied):
    edits = [[[], ASKED], *([[edit], ASKED] for edit in SAME.values())]
    edits += [[[edit], ASKED] for _, *edit in DIFFERENT.values()]
    before, *after = asked(copied, edits)
    same, different = after[: len(SAME)], after[len(SAME) :]
    assert {what for what, found in zip(SAME, same, strict=True) if found != before} == set()
    for (what, (task, *_)), found in zip(DIFFERENT.items(), different, strict=True):
        assert found[task] != before[task], what
    own = different[list(DIFFERENT).index("a table")]
    assert [task for task in ASKED if own[task] != before[task]] == ["symbols-roman"]


SCALE = 2
TABLE = {"a": 1}
MEMO = {}
SEEN = []


def scaled(number, by=3):
    return number * by * SCALE


def remembered(number):
    if number not in MEMO:
        MEMO[number] = scaled(number)
    SEEN.append(number)
    return MEMO[number]


class Source:
    """Makes numbers."""

    def numbers(self):
        def one(n: int) -> int:
            return scaled(n) + TABLE["a"]

        return [one(1), remembered(2), self.last]

    @property
    def last(self):
        return 5

    def other(self):
        return 1


class Copied(Source):
    def other(self):
        return 2


class Changed(Source):
    last = 6


def of_source(cls=Source):
    fingerprints._of_class.cache_clear()
    return code_fingerprint(cls, "numbers")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SCALE", 3),
        ("SCALE", 2.0),
        ("TABLE", {"a": 2}),
        ("TABLE", {"a": np.arange(3)}),
        ("scaled", lambda number, by=3: number * by * SCALE + 0),
        ("scaled", lambda number, by=4: number * by * SCALE),
    ],
)
def test_values_and_functions_that_are_reached_count(monkeypatch, name, value):
    before = of_source()
    monkeypatch.setitem(globals(), name, value)
    assert of_source() != before


def test_a_list_may_hold_itself(monkeypatch):
    circle = [1]
    circle.append(circle)
    monkeypatch.setitem(globals(), "TABLE", {"a": circle})
    before = of_source()
    circle[0] = 2
    assert of_source() != before


@pytest.mark.parametrize("error", [TypeError, AttributeError, RuntimeError])
def test_only_the_class_counts_of_an_installed_object_that_cannot_be_pickled(monkeypatch, error):
    def refuse(self, protocol):
        raise error("holds a handle of this process")

    def put(name):
        made = type(name, (), {"__module__": "numpy.simulated", "__reduce_ex__": refuse})()
        monkeypatch.setitem(globals(), "TABLE", {"a": made})
        return of_source()

    assert put("Simulator") == put("Simulator") != put("Renderer")


class Lazy(ModuleType):
    def __getattr__(self, name):
        raise RuntimeError(f"'{name}' is not registered")  # as `torch.classes` does


@pytest.mark.parametrize("name", ["numpy.lazy", "trainers.lazy"])
def test_a_module_whose_attributes_raise_counts_all_the_same(monkeypatch, name):
    monkeypatch.setitem(globals(), "TABLE", {"a": Lazy(name)})
    before = of_source()
    monkeypatch.setitem(globals(), "scaled", lambda number: TABLE.missing)
    monkeypatch.setitem(globals(), "TABLE", Lazy(name))
    assert of_source() != before


def test_what_a_function_remembers_does_not_count():
    before = of_source()
    remembered(7)
    assert MEMO
    assert SEEN
    assert of_source() == before


OWN = """
class Source:
    def numbers(self):
        {line}
        return {expression}
"""
HELPER = "START = {start}\nMEMO = {{}}\ndef heat():\n    MEMO[1] = START\n    return MEMO[1] + {number}\n"


def own_key(folder, begin="pass"):
    """The fingerprint of `mine:Source` in a new process."""
    code = (
        f"from space.plugins import load_object; cls = load_object('mine:Source', 'a class'); {begin}"
        "; from trainers.tasks.code.fingerprints import code_fingerprint"
        "; print(code_fingerprint(cls, 'numbers'))"
    )
    command = [sys.executable, "-P", "-c", code]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # it goes by size and second: a test writes faster than that
    return subprocess.check_output(command, cwd=folder, env=environment, text=True)


@pytest.mark.parametrize(
    ("line", "expression"),
    [
        pytest.param("from helper_mod import heat", "heat()", marks=pytest.mark.slow),
        pytest.param("import helper_mod", "helper_mod.heat()", marks=pytest.mark.slow),
        ("from helper_mod import START", "START"),
        pytest.param("import helper_mod as h", "h.START", marks=pytest.mark.slow),
        ("from parts.helper_mod import heat", "heat()"),
        pytest.param("from parts import helper_mod", "helper_mod.heat()", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_users_module_that_a_method_imports_counts_imported_before_or_not(tmp_path, line, expression):
    (tmp_path / "mine.py").write_text(OWN.format(line=line, expression=expression))
    (tmp_path / "parts").mkdir()  # without __init__.py
    module = "parts.helper_mod" if "parts" in line else "helper_mod"
    file = tmp_path / f"{module.replace('.', '/')}.py"
    file.write_text(HELPER.format(start=1, number=4))
    before = own_key(tmp_path)
    assert own_key(tmp_path, f"import {module}") == before
    assert own_key(tmp_path, "cls().numbers()") == before
    file.write_text(HELPER.format(start=1, number=4) + "# a comment\n")
    assert own_key(tmp_path) == before
    file.write_text(HELPER.format(start=11, number=4))
    assert own_key(tmp_path) != before
    file.write_text(HELPER.format(start=1, number=51))
    assert (own_key(tmp_path) == before) == ("START" in line)


def test_modules_that_a_method_cannot_import_count_by_name(tmp_path):
    keys = []
    for name in ("helper_mod", "helper_two", "broken"):
        (tmp_path / "broken.py").write_text("raise SystemExit(1)\n")
        (tmp_path / "mine.py").write_text(OWN.format(line=f"import {name}", expression="1"))
        keys.append(own_key(tmp_path))
        assert own_key(tmp_path) == keys[-1]
    assert len(set(keys)) == 3


def called_by_name(task):
    return getattr(task, "oth" + "er")()


@pytest.mark.parametrize("kind", [list, frozenset])
def test_every_member_counts_where_a_function_in_a_container_looks_names_up(monkeypatch, kind):
    before = of_source(), of_source(Copied)
    monkeypatch.setitem(globals(), "TABLE", {"a": kind([called_by_name])})
    monkeypatch.setattr(Source, "other", lambda self: 3)
    changed = of_source()
    monkeypatch.setattr(Source, "other", lambda self: 4)
    assert before[0] != changed != of_source()


def test_members_that_are_not_used_do_not_count():
    assert of_source(Copied) != of_source(Changed)
    assert len(_lines(Copied) ^ _lines(Source)) == 0


def _lines(cls):
    """Names of the members that count."""
    walk = fingerprints.Reach(fingerprints.OURS | {__name__.partition(".")[0]}, cls.__mro__)
    walk.root(cls.numbers)
    return walk.names & set(dir(cls))


def test_the_order_of_a_set_and_the_place_of_a_file_do_not_count(tmp_path):
    texts = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        (folder / "numbers.txt").write_text("1 2 3")
        (folder / "mine.py").write_text(
            "from pathlib import Path\n"
            "NAMES = {'a', 'b', 'c', 'd'}\n"
            "FILE = Path(__file__).parent / 'numbers.txt'\n"
            "def read(): return [FILE.read_text() for _ in NAMES]\n"
        )
        code = "import mine; from trainers.tasks.code.fingerprints import object_fingerprint"
        code += "; print(object_fingerprint(mine.read))"
        environment = os.environ | {"PYTHONPATH": f"{folder}:{PACKAGE.parent}", "PYTHONHASHSEED": seed}
        texts.append(subprocess.check_output([sys.executable, "-c", code], env=environment, text=True))
    assert texts[0] == texts[1]
    (tmp_path / "2" / "numbers.txt").write_text("1 2 4")
    changed = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert changed != texts[0]
