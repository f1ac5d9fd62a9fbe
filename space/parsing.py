"""How YAML and JSON become checked models, and what is said of mistakes: one line that names the key."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from space.errors import PathfrontError, nearest, one_line
from space.knobs import STORED

Model = TypeVar("Model", bound=BaseModel)
PYDANTICS = (  # pydantic's words, and a study file's
    (r"(?i)input should be a valid (tuple|list)", "a list"),
    (r"(?i)input should be a valid dictionary( or instance of \w+)?", "a mapping of keys to values"),
    (r"(?i)(tuple|list) should have at least 1 item after validation, not 0", "a list of at least one value"),
)


def read_yaml(path: Path, refused: Callable[[str], PathfrontError]) -> Any:
    """Read a YAML file.

    Args:
        path: the file.
        refused: makes the error to raise from one line that says what is wrong.

    Raises:
        PathfrontError: made by `refused`: it is not YAML, or a mapping has a key twice.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StudyLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refused(f"not YAML: {one_line(error)}") from None


def parse(
    model: type[Model], data: object, refused: Callable[[str], PathfrontError], stored: bool = False
) -> Model:
    """Validate plain data against a model.

    Args:
        model: what the data should be.
        data: as read from YAML or JSON.
        refused: makes the error to raise from one line that says what is wrong.
        stored: whether the data come from a database, where older studies may hold values that new study
            files may not.

    Raises:
        PathfrontError: made by `refused`: the data break a rule of the model.
    """
    try:
        return model.model_validate(data, context=STORED if stored else None)
    except ValidationError as error:
        raise refused(explain(error, model)) from None


class _StudyLoader(yaml.SafeLoader):
    """YAML loader that rejects duplicate keys and reads 1e6 as a number, which YAML 1.1 takes for text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            problem = f"the key '{twice.pop()}' appears twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


_StudyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first validation error on one line: the path of the key, the rule, the value, the nearest name."""
    first = min(error.errors(), key=lambda e: (e["type"] != "extra_forbidden", -len(e["loc"])))
    path = [str(part) for place, part in enumerate(first["loc"]) if not _is_kind(part, place)]
    where = ".".join(path) or "study file"
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(path[-1], _keys(model, path[:-1]))}"
    if first["type"] == "missing":
        return f"{where}: this key is needed"
    rule = first["msg"].removeprefix("Value error, ")
    for theirs, ours in PYDANTICS:
        rule = re.sub(theirs, ours, rule)
    value = first["input"]
    if first["type"] == "value_error" and "got" in rule:
        return f"{where}: {rule}"
    return f"{where}: {rule[:1].lower()}{rule[1:]}, got {value!r}"


def _is_kind(part: int | str, place: int) -> bool:
    """Whether a part of an error's path names a form of value and not a key: `Choices`, `tuple[str, ...]`."""
    text = str(part)
    return (
        text in ("Between", "Choices")
        or "[" in text
        or (place > 0 and text in ("str", "float", "int", "bool"))
    )


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Keys that are allowed at a path of nested models."""
    mapped = False  # whether the next part names an entry of a mapping, such as the prior of a knob
    for part in path:
        if mapped:
            mapped = False
            continue
        field = model.model_fields.get(part)
        mapped = field is not None and get_origin(field.annotation) is dict
        kinds = [] if field is None else _models(field.annotation)
        if not kinds:
            return []
        if len(kinds) > 1:
            return sorted({key for kind in kinds for key in kind.model_fields})
        model = kinds[0]
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for part in getattr(annotation, "__args__", ()) for kind in _models(part)]
