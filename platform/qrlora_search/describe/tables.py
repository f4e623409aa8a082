"""Reading TOML into checked tables: unknown keys and wrong values are named with file, key, value and remedy."""

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from qrlora_search.values.errors import UserError, nearest
from qrlora_search.values.secrets import without_secrets


class Table(BaseModel):
    """A table of a TOML file: frozen, and it refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


AnyTable = TypeVar("AnyTable", bound=Table)


def read_toml(file: Path, named_by: str, like: str) -> dict[str, Any]:
    """Returns the content of a TOML file or raises UserError. named_by: the option that named it; like: examples."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{named_by} {str(file)!r} does not exist; name a TOML file like those in {like}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{named_by} {str(file)!r} cannot be read: {error}; name a readable TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file}: not valid TOML: {error}; mend that line") from None


def check_keys(file: Path, table: Mapping[str, Any], model: type[Table]) -> None:
    """Raises UserError for a key that the model does not have, with the nearest one, and for a section that is none."""
    for key, value in table.items():
        if key not in model.model_fields:
            known = model.model_fields
            raise UserError(f"{file}: unknown key {key!r}; {nearest(key, known)}the tables are {', '.join(known)}")
        section = _section(model.model_fields[key].annotation)
        if section is None:
            continue
        if not isinstance(value, dict):
            raise UserError(f"{file}: {key} = {value!r} must be a table; write [{key}] and its keys below it")
        fields = section.model_fields
        for inner in value:
            if inner not in fields:
                hint = nearest(inner, fields)
                raise UserError(f"{file}: unknown key {key}.{inner!r}; {hint}[{key}] has {', '.join(fields)}")


def _section(annotation: object) -> type[Table] | None:
    """Returns the table that a key holds, of `Table | None` too; None where it holds a value."""
    kinds = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, Table)]
    return kinds[0] if kinds else None


def validate(file: Path, table: Mapping[str, Any], model: type[AnyTable]) -> AnyTable:
    """Returns the checked model of a table or raises UserError that names every fault."""
    try:
        return model.model_validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        raise UserError(f"{file}: " + "; ".join(_problems(error))) from None


_REMEDIES = {
    "missing": "; add it",
    "string_type": '; write it in quotes, "..."',
    **dict.fromkeys(("list_type", "tuple_type"), '; write a list, ["..."]'),
    **dict.fromkeys(("int_type", "float_type"), "; write a number without quotes"),
    "bool_type": "; write true or false",
}


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ") + _REMEDIES.get(problem["type"], "")
        if problem["type"] == "literal_error":
            message = nearest(str(problem["input"]), re.findall("'([^']+)'", problem["ctx"]["expected"])) + message
        given = "" if isinstance(problem["input"], dict | BaseModel) else f" = {_shown(problem['input'])}"
        yield f"{key}{given}: {message}" if key else message


def _shown(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return without_secrets(repr(value))
