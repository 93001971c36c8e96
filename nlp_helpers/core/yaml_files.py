"""YAML files, and those of this package that list things: one entry a name."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from nlp_helpers.core.errors import UserError

Entry = TypeVar("Entry")


def read_yaml(path: Path) -> Any:
    """Read a YAML 1.2 file: `1e-5` is a number, `NO` a text.

    Raises:
        UserError: it is not YAML or not UTF-8, or a name stands there twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        name = error.problem.split('"')[1]  # the message goes on to a link
        cause = f"{name} appears twice, line {error.problem_mark.line + 1}"
    except (YAMLError, ValueError) as error:  # 2018-13-45 is no date
        cause = str(error)
    raise UserError(f"{path} is not YAML: {' '.join(cause.split())}")


def read_registry(
    path: Path, entry_type: TypeAdapter[Entry]
) -> dict[str, Entry]:
    """Read a file of the form `name: {field: value, ...}`, in its order.

    Args:
        path: the file.
        entry_type: checks an entry: of a pydantic model, or of a union of
            several.

    Raises:
        UserError: it is not YAML, or an entry does not fit.
    """
    entries = read_yaml(path)
    if not isinstance(entries, dict) or not all(
        isinstance(name, str) for name in entries
    ):
        raise UserError(f"{path} must hold names, each with its fields")
    return {
        name: _read_entry(path, name, entry, entry_type)
        for name, entry in entries.items()
    }


def _read_entry(
    path: Path, name: str, entry: object, entry_type: TypeAdapter[Entry]
) -> Entry:
    """Check one entry.

    Raises:
        UserError: names the first field that does not fit.
    """
    try:
        return entry_type.validate_python(entry)
    except ValidationError as error:
        first = error.errors()[0]
        field = ": ".join(str(part) for part in (name, *first["loc"]))
        raise UserError(f"{path}: {field}: {first['msg']}") from error
