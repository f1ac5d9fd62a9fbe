"""The documents agree with the code: links lead somewhere, and the study file's reference lists every key."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from search.read.fixed import Fix
from search.store.studies import MAY_CHANGE
from space.ranges import Limits, MixtureSpace, SearchSpace
from space.records import ImageSetting, SoundSetting
from space.reference import with_tables
from space.study import Rungs, Search, Stop, StudyConfig, read_study

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), ROOT / ".github/CONTRIBUTING.md", *ROOT.glob("*/**/README.md")]
    if not {".venv", "node_modules"} & set(path.parts)
)
REFERENCE = (ROOT / "studies/README.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[BaseModel]] = {
    "space": SearchSpace,
    "space.mixture": MixtureSpace,
    "limits": Limits,
    "rungs": Rungs,
    "search": Search,
    "stop": Stop,
    "fix": Fix,
    "image": ImageSetting,
    "sound": SoundSetting,
}
WORDS = {"required", "none", "all", "the suite's", "Pathfront's"}


def names() -> dict[str, Any]:
    """Every key of a study file with its default, sections left out."""
    found: dict[str, Any] = {}
    for prefix, model in {"": StudyConfig, **SECTIONS}.items():
        for name, field in model.model_fields.items():
            key = f"{prefix}.{name}" if prefix else name
            if key not in SECTIONS and key != "schema_version":
                found[key] = (
                    "required" if field.is_required() else field.get_default(call_default_factory=True)
                )
    return found


def rows() -> dict[str, str]:
    """Key -> default, as the reference's tables have them; a plain key of the first table is a section's."""
    table = re.findall(r"^\| `([a-z_.]+)`(?: ↻)? \| ([^|]*) \|", REFERENCE, re.MULTILINE)
    return {key: default.strip() for key, default in table if key not in SECTIONS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert missing == []
    anchors = {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in headings(text)}
    inside = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert inside <= anchors


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", text, re.MULTILINE)


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_benchmark_is_described():
    text = (ROOT / "tests/benchmarks/README.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "tests/benchmarks").glob("*.py")}
    assert {name for name in files if name not in text} == set()
    assert set(re.findall(r"`(\w+\.py)\b", text)) <= files


def test_the_reference_has_every_key_of_a_study_file_and_no_other():
    assert set(rows()) == set(names())


@pytest.mark.parametrize("key", sorted(key for key in names() if not key.startswith(("space.", "limits."))))
def test_the_reference_states_the_default(key):
    shown, default = rows()[key], names()[key]
    default = default.model_dump(mode="json") if isinstance(default, BaseModel) else default
    if default in ("required", None, {}, ()) or shown in WORDS:
        assert shown in WORDS
        assert (shown == "required") == (default == "required")
    else:
        assert yaml.safe_load(shown.strip("`")) == default


def test_the_tables_are_renewed():
    assert with_tables(REFERENCE) == REFERENCE, "renew it: python -m space.reference studies/README.md"


@pytest.mark.parametrize("name", ["my_sampler.py", "my_promotion.py", "my_engine.py"])
def test_examples_are_shown_as_they_are(name):
    source = (ROOT / "tests/examples" / name).read_text(encoding="utf-8")
    (shown,) = [
        block for block in re.findall(r"```python\n(.*?)```", REFERENCE, re.DOTALL) if block.strip() in source
    ]
    assert source.endswith(shown)


def test_keys_that_may_change_are_marked():
    marked = re.findall(r"^\| `([a-z_]+)` ↻ \|", REFERENCE, re.MULTILINE)
    assert set(marked) == set(MAY_CHANGE)


def test_the_example_is_a_study(tmp_path):
    (text,) = re.findall(r"```yaml\n(study: .*?)```", REFERENCE, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text)
    assert read_study(str(tmp_path / "mine.yaml")).study == "mine"
