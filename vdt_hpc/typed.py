"""JSON objects of files into dataclasses, whose types say what must be there; what is not is one line."""

import functools
from collections.abc import Hashable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, TypeAdapter, ValidationError

from vdt_hpc.errors import UserError

Kind = TypeVar("Kind")


def _is_moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time needs its zone")
    return text


Moment = Annotated[str, AfterValidator(_is_moment)]
"""Time and zone, ISO 8601."""


def read(
    kind: type[Kind], content: Mapping[str, Any], path: Path, what: str = "a line", remedy: str = "mend it by hand"
) -> Kind:
    """An object as a dataclass; fields that this does not have are passed over.

    Args:
        kind: the dataclass; fields without a default must be there.
        content: the object.
        path: where it was read.
        what: which part of the file it is, for the complaint.
        remedy: what to do then.

    Raises:
        UserError: fields are missing, or one is of another type.
    """
    try:
        found: Kind = _adapter(cast(Hashable, kind)).validate_python(content)
    except ValidationError as error:
        raise UserError(f"{path} is damaged: {what} has {_fault(error)}; {remedy}") from None
    return found


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _fault(error: ValidationError) -> str:
    """What is missing or, of what is there, the first that is of another type."""
    faults = error.errors(include_url=False)
    missing = sorted(".".join(map(str, fault["loc"])) for fault in faults if fault["type"] == "missing")
    if missing:
        return f"no {', '.join(missing)}"
    field, found = ".".join(map(str, faults[0]["loc"])), faults[0]["input"]
    return f"{field} {found!r}: {faults[0]['msg'].removeprefix('Value error, ')}"
