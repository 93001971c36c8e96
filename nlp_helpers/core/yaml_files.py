"""The YAML files of this package that list things: one entry a name."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from nlp_helpers.core.errors import UserError
from nlp_helpers.parameters import read_yaml

Entry = TypeVar("Entry", bound=BaseModel)


def read(path: Path, entry_class: type[Entry]) -> dict[str, Entry]:
    """Read a file of the form `name: {field: value, ...}`, in its order.

    Raises:
        UserError: it is not YAML, or an entry does not fit.
    """
    entries = read_yaml(path)
    if not isinstance(entries, dict) or not all(
        isinstance(name, str) for name in entries
    ):
        raise UserError(f"{path} must hold names, each with its fields")
    return {
        name: _read_entry(path, name, entry, entry_class)
        for name, entry in entries.items()
    }


def _read_entry(
    path: Path, name: str, entry: object, entry_class: type[Entry]
) -> Entry:
    """Check one entry.

    Raises:
        UserError: names the first field that does not fit.
    """
    try:
        return entry_class.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        place = ": ".join(str(part) for part in (name, *first["loc"]))
        raise UserError(f"{path}: {place}: {first['msg']}") from error
