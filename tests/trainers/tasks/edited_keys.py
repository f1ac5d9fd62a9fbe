"""Print the code fingerprints of tasks under edits of the source; a script, run by `test_task_code.py`.

Its argument is a folder with copies of the packages `trainers.tasks` and `trainers.tokens`. It reads a JSON
list of edits from stdin, each a list of [file, text, replacement], with the names of tasks to ask for, and
prints for each edit a mapping of task -> fingerprint. Each edit is imported in a process of its own; what
does not change is imported once before.
"""

import importlib
import json
import multiprocessing
import sys
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(sys.argv[1])


def keys(tasks):
    """Import the edited copy and ask it."""
    sys.path.insert(0, str(ROOT))
    catalog = importlib.import_module("space.catalog").load_catalog()
    registry = importlib.import_module("trainers.tasks.registry")
    assert Path(registry.__file__).is_relative_to(ROOT)
    whole = catalog.suite("gato")
    found = {name: registry.load_task(name, whole).cache_key() for name in tasks or catalog.tasks}
    return {name: [key["code"], key["format"]] for name, key in found.items()}


def main():
    """Apply each edit, ask, and take it back."""
    for name in ("numpy", "space.catalog", "sentencepiece", "safetensors.numpy", "gymnasium"):
        importlib.import_module(name)
    answers = []
    for edits, tasks in json.load(sys.stdin):
        before = {name: (ROOT / name).read_text() for name, *_ in edits}
        for name, old, new in edits:
            text = (ROOT / name).read_text()
            assert old in text, f"{name} has no {old!r}"
            (ROOT / name).write_text(text.replace(old, new))
        with multiprocessing.get_context("fork").Pool(1) as pool:
            answers.append(pool.apply(keys, (tasks,)))
        for name, text in before.items():
            (ROOT / name).write_text(text)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
