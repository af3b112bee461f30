"""YAML into typed sections: strict about names and types, with the place in every complaint."""

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vdt_hpc.errors import UserError
from vdt_hpc.experiment import yaml_tree
from vdt_hpc.experiment.yaml_tree import Location, Tree

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class _Places:
    """Where the values of a tree came from."""

    origin: str
    """Of all that has no place of its own."""
    lines: dict[Location, str]
    """File and line, by location."""
    overrides: dict[Location, str]
    """The override that has set a value and all that is in it, by location."""

    def of(self, location: Location) -> str:
        """Where a value came from; of a section that is wrong as a whole also the overrides of what is in it."""
        known = {**self.lines, **self.overrides, (): self.origin}
        own = next(known[location[:end]] for end in range(len(location), -1, -1) if location[:end] in known)
        inner = ", ".join(place for other, place in self.overrides.items() if location in _around(other))
        return f"{own} with {inner}" if inner and location in known else inner or own

    def replace(self, location: Location, override: str) -> None:
        """Note that an override has replaced what was at a location."""
        for places in (self.lines, self.overrides):
            for other in [each for each in places if each == location or location in _around(each)]:
                del places[other]
        self.overrides[location] = f"override {override!r}"


def load(model: type[Model], path: Path, overrides: Sequence[str] = ()) -> Model:
    """Read one YAML file, apply `section.field=value` overrides, and validate.

    Raises:
        UserError: the file is missing or no YAML, a key is unknown (the nearest name is given), or a value has the
            wrong type; with the file and line, or the override, that the value came from.
    """
    tree, places = _read(path)
    for override in overrides:
        places.replace(_apply(tree, override), override)
    return _validate(model, tree, places)


def validate(model: type[Model], tree: Tree, origin: str = "config") -> Model:
    """Validate a tree of plain values; complaints name where it came from.

    Raises:
        UserError: as `load`.
    """
    return _validate(model, tree, _Places(origin, {}, {}))


def _validate(model: type[Model], tree: Tree, places: _Places) -> Model:
    try:
        return model.model_validate_json(json.dumps(tree))  # JSON mode: strict types, but lists may become tuples
    except ValidationError as error:
        raise UserError("; ".join(_complaint(model, fault, places) for fault in error.errors())) from None


def _read(path: Path) -> tuple[Tree, _Places]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    try:
        tree, lines = yaml_tree.parse(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: this is no text in UTF-8; save the file as that") from None
    except yaml_tree.NotRead as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise UserError(f"{place}: cannot read this as YAML: {error}") from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected sections and fields, found {_kind(tree)}")
    return tree, _Places(str(path), {location: f"{path}:{line}" for location, line in lines.items()}, {})


def _around(location: Location) -> set[Location]:
    """Locations of the sections that a value is in, and of the whole."""
    return {location[:end] for end in range(len(location))}


def _apply(tree: Tree, override: str) -> Location:
    dotted, equals, text = override.partition("=")
    if not equals or not all(re.fullmatch(r"\w+", part) for part in dotted.split(".")):
        raise UserError(f"cannot read the override {override!r}: write section.field=value")
    try:
        value, _ = yaml_tree.parse(text)
    except yaml_tree.NotRead as error:
        raise UserError(f"cannot read the value in the override {override!r}: {error}; quote it as YAML") from None
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


def _complaint(model: type[BaseModel], fault: Any, places: _Places) -> str:
    location: Location = fault["loc"]
    place = places.of(location)
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
