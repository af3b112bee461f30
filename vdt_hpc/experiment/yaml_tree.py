"""YAML as plain values, and the line of each: what JSON can say, and nothing else of YAML."""

import json
import re
from typing import Any

import yaml

Tree = dict[str, Any]
Location = tuple[str | int, ...]

_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"
_TAGS = (_TEXT, *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "seq", "map")))
"""Kinds of values that JSON has too."""
_DEEPEST = 20
"""Most sections and lists in each other; one that holds itself has no end of them."""
_TOO_DEEP = f"more than {_DEEPEST} sections or lists in each other"
_SHOWN_CHARACTERS = 40


class NotRead(Exception):
    """A text is no YAML, or says what JSON cannot say."""

    def __init__(self, problem: str, line: int | None) -> None:
        super().__init__(problem)
        self.line = line
        """Where, counted from 1; None: not known."""


class _Loader(yaml.SafeLoader):
    """SafeLoader without dates, sets and bytes, whose names are text and given once.

    It reads `1e-4` as a number (YAML 1.1 demands a dot).
    """

    yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (*_TAGS, None)}  # noqa: RUF012
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag in (*_TAGS, _MERGE)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names: set[str] = set()
        for number, (name, value) in enumerate(node.value):
            if not isinstance(name, yaml.ScalarNode):
                raise _fault(name, "a name is text, no list and no section")
            if name.value in names:
                raise _fault(name, f"{name.value} is given twice")
            names.add(name.value)
            if name.tag != _MERGE:
                node.value[number] = (yaml.ScalarNode(_TEXT, name.value, name.start_mark, name.end_mark), value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(node, yaml.ScalarNode):
                json.dumps(value, ensure_ascii=False).encode()  # a number may be too long, a character be half of one
        except (ValueError, LookupError):
            kind = node.tag.rpartition(":")[2]
            raise _fault(node, f"{node.value[:_SHOWN_CHARACTERS]!r} cannot be read as {kind}") from None
        return value


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse(text: str) -> tuple[Any, dict[Location, int]]:
    """The values of one YAML document, and the line of each by its location, counted from 1.

    Raises:
        NotRead: it cannot be read.
    """
    lines: dict[Location, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, lines
        _note_lines(node, (), lines)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ": ".join(each for each in (error.context, error.problem) if each)
        raise NotRead(" ".join(words.split()), mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise NotRead(" ".join(str(error).split()), None) from None
    except RecursionError:
        raise NotRead(_TOO_DEEP, None) from None


def _note_lines(node: yaml.Node, location: Location, lines: dict[Location, int]) -> None:
    if len(location) > _DEEPEST:
        raise _fault(node, _TOO_DEEP)
    lines[location] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            _note_lines(value, (*location, name.value), lines)
            lines[(*location, name.value)] = name.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*location, index), lines)


def _fault(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, node.start_mark)
