"""What every section of a configuration is made of: strict and frozen models, types of numbers, marks on fields."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class Unsigned:
    """Marks a field that the signature leaves out, with the reason."""

    reason: str


HOW = Unsigned("how the work is done, not what comes out")
WHERE = Unsigned("where things lie")


@dataclass(frozen=True)
class Option:
    """Marks a field that the signature leaves out while it has its default: it came later than runs that go on."""


OPTION = Option()

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
"""A name that files and folders get: it leads nowhere else."""


class Section(BaseModel):
    """Base of every section: frozen, strict about types and names, documented by the docstrings under the fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, use_attribute_docstrings=True,
        serialize_by_alias=True,
    )  # fmt: skip


def differences(one: Section, other: Section) -> list[str]:
    """Dotted names of the fields that two sections of one kind have different values in."""
    first, second = (flat(section.model_dump(mode="json")) for section in (one, other))
    return [name for name in {**first, **second} if first.get(name) != second.get(name)]


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a tree by dotted name."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        values.update(flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return values
