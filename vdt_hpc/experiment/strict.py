"""YAML into typed sections: strict about names and types, with the file and the line in every complaint."""

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from vdt_hpc.errors import UserError

Tree = dict[str, Any]
Location = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-4` as a number (YAML 1.1 demands a dot) and refuses a key given twice."""


_Loader.yaml_implicit_resolvers = {  # a copy: the resolvers of SafeLoader itself are shared by every user of yaml
    first: list(resolvers) for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def load(model: type[Model], path: Path, overrides: Sequence[str] = ()) -> Model:
    """Read one YAML file, apply `section.field=value` overrides, and validate.

    Raises:
        UserError: the file is missing or no YAML, a key is unknown (the nearest name is given), or a value has the
            wrong type; with file and line where the value came from the file.
    """
    tree, lines = _read(path)
    where = {location: f"{path}:{line}" for location, line in lines.items()}
    for override in overrides:
        location = _apply(tree, override)
        where[location] = f"override {override!r}"
    return validate(model, tree, where, str(path))


def validate(model: type[Model], tree: Tree, where: dict[Location, str] | None = None, origin: str = "config") -> Model:
    """Validate a tree of plain values; complaints name the place where the value came from.

    Raises:
        UserError: as `load`.
    """
    try:
        return model.model_validate_json(json.dumps(tree))  # JSON mode: strict types, but lists may become tuples
    except ValidationError as error:
        complaints = [_complaint(model, fault, where or {}, origin) for fault in error.errors()]
        raise UserError("; ".join(complaints)) from None


def _read(path: Path) -> tuple[Tree, dict[Location, int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: dict[Location, int] = {}
        if node is None:
            return {}, lines
        _note_lines(node, (), lines, path)
        tree = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected sections and fields, found {_kind(tree)}")
    return tree, lines


def _note_lines(node: yaml.Node, location: Location, lines: dict[Location, int], path: Path) -> None:
    lines[location] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise UserError(f"{path}:{key.start_mark.line + 1}: {key.value} is given twice")
            seen.add(key.value)
            _note_lines(value, (*location, key.value), lines, path)
            lines[(*location, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*location, index), lines, path)


def _apply(tree: Tree, override: str) -> Location:
    dotted, equals, text = override.partition("=")
    if not equals or not all(re.fullmatch(r"\w+", part) for part in dotted.split(".")):
        raise UserError(f"cannot read the override {override!r}: write section.field=value")
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise UserError(f"cannot read the value in the override {override!r}: quote it as YAML") from None
    *sections, field = dotted.split(".")
    inner = tree
    for section in sections:
        child = inner.get(section)
        if child is None:
            child = inner[section] = {}
        if not isinstance(child, dict):
            raise UserError(f"override {override!r}: {section} is a field, not a section")
        inner = child
    inner[field] = value
    return tuple(dotted.split("."))


def _complaint(model: type[BaseModel], fault: Any, where: dict[Location, str], origin: str) -> str:
    location: Location = fault["loc"]
    place = next((where[location[:end]] for end in range(len(location), 0, -1) if location[:end] in where), origin)
    name = ".".join(str(part) for part in location)
    if fault["type"] == "extra_forbidden":
        known = _field_names(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        return f"{place}: unknown field {name}; {advice}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{place}: {name + ': ' if name else ''}{message}"
    message = message.replace("Input should be", "expected").replace("a valid ", "")
    return f"{place}: {name} is {fault['input']!r} ({_kind(fault['input'])}); {message}"


def _field_names(model: type[BaseModel], location: Location) -> list[str]:
    """Fields of the section at a location, seeing through `Section | None` and sequences of sections."""
    for part in location:
        if isinstance(part, int):  # a place in a sequence, whose sections are all of one kind
            continue
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return [field.alias or name for name, field in model.model_fields.items()]


def _kind(value: object) -> str:
    names = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true/false",
        list: "list",
        dict: "section",
    }
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
