"""The YAML files of this package that list things: one entry a name."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from nlp_helpers.errors import UserError

Entry = TypeVar("Entry", bound=BaseModel)


def read(path: Path, entry_class: type[Entry]) -> dict[str, Entry]:
    """Read a file of the form `name: {field: value, ...}`, in its order.

    Raises:
        UserError: it is not YAML, or an entry does not fit.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        place = " ".join(str(error).split())
        raise UserError(f"{path} is not YAML: {place}") from error
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
