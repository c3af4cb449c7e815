"""params.yaml, parsed strictly into frozen dataclasses: an unknown key is an error."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from errors import ConfigError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
PARAMS_PATH = PROJECT_ROOT / "params.yaml"

T = TypeVar("T")


def load_section(cls: type[T], section: str, *, path: Path = PARAMS_PATH) -> T:
    """One top-level section of params.yaml as an instance of the dataclass `cls`.

    Raises:
        ConfigError: the file or section is missing, a key is unknown or a value has the wrong type.
    """
    params = load_params(path)
    if section not in params:
        raise ConfigError(
            f"params.yaml has no section {section!r}",
            where=str(path),
            next_command=f"add the section, or restore it with `git checkout {path.name}`",
        )
    return from_mapping(cls, params[section], where=f"{path.name}: {section}")


def load_params(path: Path = PARAMS_PATH) -> Mapping[str, Any]:
    """The whole of params.yaml as plain mappings."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("cannot read the settings", where=str(path), cause=str(error)) from error
    except yaml.YAMLError as error:
        raise ConfigError("params.yaml is not YAML", where=str(path), cause=str(error)) from error
    if not isinstance(loaded, dict):
        raise ConfigError("params.yaml must be a mapping", where=str(path))
    return loaded


def from_mapping(cls: type[T], values: object, *, where: str) -> T:
    """Build the dataclass `cls` from a mapping, recursing into nested dataclasses.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or range.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"expected a mapping, found {values!r}", where=where)
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, cls))}
    for key in values:
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(fields)}"
            raise ConfigError(f"unknown setting `{key}`", where=where, cause=hint)
    arguments = {
        name: _convert(hints[name], value, where=f"{where}.{name}")
        for name, value in values.items()
    }
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"bad settings: {error}", where=where) from error


def _convert(hint: Any, value: object, *, where: str) -> object:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where=where)
    if dataclasses.is_dataclass(hint):
        return from_mapping(cast(Any, hint), value, where=where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"expected a list, found {value!r}", where=where)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], item, where=where) for item in value)
        if len(arguments) != len(value):
            raise ConfigError(f"expected {len(arguments)} values, found {value!r}", where=where)
        return tuple(_convert(a, v, where=where) for a, v in zip(arguments, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"expected a mapping, found {value!r}", where=where)
        return types.MappingProxyType(
            {
                str(key): _convert(arguments[1], item, where=f"{where}.{key}")
                for key, item in value.items()
            }
        )
    if hint is Path:
        if not isinstance(value, str):
            raise ConfigError(f"expected a path, found {value!r}", where=where)
        return project_path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"expected {hint.__name__}, found {value!r}", where=where)
    return value


def project_path(text: str) -> Path:
    """A path of params.yaml: relative ones are relative to the project, not to where you stand."""
    path = Path(text).expanduser()
    return path if path.is_absolute() else PROJECT_ROOT / path
