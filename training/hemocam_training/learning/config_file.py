"""Settings of a training from a YAML file: every key known, every value of its type, or refused by name."""

from __future__ import annotations

import dataclasses
import json
import re
import types
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from hemocam_training.errors import ConfigRefused
from hemocam_training.learning.config import FitConfig

#: Any settings: a frozen dataclass of pydantic that forbids unknown keys.
Settings = TypeVar("Settings")

#: Configurations that come with the package.
SHIPPED = Path(__file__).parent / "configs"


class _Loader(yaml.SafeLoader):
    """Plain values only; a key that stands twice is refused, and 1e-4 is a number (as YAML 1.2 has it)."""


_Loader.yaml_implicit_resolvers = {
    first: list(rules) for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+0123456789.")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    pairs = [(loader.construct_object(key, deep=True), value) for key, value in node.value]
    names = [key for key, _ in pairs]
    twice = sorted({str(key) for key in names if names.count(key) > 1})
    if twice:
        raise ConfigRefused(
            "TRAIN_CONFIG_TWICE", f"The configuration sets {twice[0]} twice.", f"See line {node.start_mark.line + 1}."
        )
    return {key: loader.construct_object(value, deep=True) for key, value in pairs}


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_config(path: Path, settings: Sequence[str] = ()) -> FitConfig:
    """The settings in a file, some of them replaced.

    Args:
        path: YAML. A name without folder or suffix is one of :data:`SHIPPED`. Folders of data in it are meant from
            where the command runs.
        settings: ``key=value`` with dots between keys and numbers for the places in a list, such as
            ``stages.0.steps=100``; values are YAML.

    Raises:
        ConfigRefused: ``TRAIN_CONFIG_*``.
    """
    if not path.suffix and len(path.parts) == 1 and not path.exists():
        path = _shipped(path.name)
    return read_settings(path, FitConfig, settings)


def read_settings(path: Path, kind: type[Settings], settings: Sequence[str] = ()) -> Settings:
    """The same for settings of another kind.

    Raises:
        ConfigRefused: ``TRAIN_CONFIG_*``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigRefused(
            "TRAIN_CONFIG_FILE", f"The configuration {path.name} cannot be read.", "Check its place.", str(error)
        ) from error
    values = _parsed(text, path.name)
    values = {} if values is None else values
    for setting in settings:
        _replace(values, setting)
    return checked_settings(values, kind)


def checked_config(values: object) -> FitConfig:
    """Plain values as settings.

    Raises:
        ConfigRefused: ``TRAIN_CONFIG_UNKNOWN``, ``TRAIN_CONFIG_VALUE``.

    >>> stage = {"input_size": 64, "batch": 4, "steps": 10}
    >>> checked_config({"network": {"architecture": "alexnet"}, "stages": [stage]}).stages[0].batch
    4
    """
    return checked_settings(values, FitConfig)


def checked_settings(values: object, kind: type[Settings]) -> Settings:
    """The same for settings of another kind.

    Raises:
        ConfigRefused: ``TRAIN_CONFIG_UNKNOWN``, ``TRAIN_CONFIG_VALUE``.
    """
    try:
        # JSON, because its strict mode takes lists for tuples and text for paths, and nothing else for anything else.
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except (TypeError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise _refused(error, kind) from error
        raise ConfigRefused(
            "TRAIN_CONFIG_VALUE", "The configuration holds a value that is neither text nor number.", "", str(error)
        ) from error


def changed_config(config: FitConfig, settings: Sequence[str]) -> FitConfig:
    """Settings with some replaced, written as for :func:`read_config`.

    Raises:
        ConfigRefused: ``TRAIN_CONFIG_*``.
    """
    values = config_values(config)
    for setting in settings:
        _replace(values, setting)
    return checked_config(values)


def config_values(config: Any) -> dict[str, Any]:
    """Settings as plain values; :func:`checked_settings` reads them back."""
    values: dict[str, Any] = json.loads(TypeAdapter(type(config)).dump_json(config))
    return values


def write_config(path: Path, config: FitConfig) -> None:
    """Every setting, those left at their defaults included; the file is there whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(yaml.safe_dump(config_values(config), sort_keys=False), encoding="utf-8")
    partial.replace(path)


def _shipped(name: str) -> Path:
    known = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    if name in known:
        return SHIPPED / f"{name}.yaml"
    near = get_close_matches(name, known, n=3, cutoff=0.3) or known
    raise ConfigRefused("TRAIN_CONFIG_FILE", f"There is no configuration “{name}”.", f"There are {', '.join(near)}.")


def _parsed(text: str, name: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f" at line {where.line + 1}" if where else ""
        raise ConfigRefused(
            "TRAIN_CONFIG_FILE", f"{name} is not valid YAML{place}.", "Correct it.", str(error)
        ) from error


def _replace(values: Any, setting: str) -> None:
    name, equals, text = setting.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigRefused("TRAIN_CONFIG_SET", f"“{setting}” is not a key and a value.", "Write key=value.")
    for key in keys[:-1]:
        inside = _at(values, key, name) if isinstance(values, list) else values.get(key)
        if inside is None:
            inside = values[key] = {}
        if not isinstance(inside, dict | list):
            raise ConfigRefused("TRAIN_CONFIG_SET", f"{name} lies inside {key}, which is a single value.", "")
        values = inside
    value = _parsed(text, setting)
    if isinstance(values, list):
        _at(values, keys[-1], name)
        values[int(keys[-1])] = value
    else:
        values[keys[-1]] = value


def _at(values: list[Any], key: str, name: str) -> Any:
    if not key.isdigit() or int(key) >= len(values):
        raise ConfigRefused(
            "TRAIN_CONFIG_SET", f"{name} names no place in a list of {len(values)}.", "Places count from 0."
        )
    return values[int(key)]


_UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")


def _refused(error: ValidationError, kind: type) -> ConfigRefused:
    found = error.errors(include_url=False)
    # A misspelt key may leave another one missing: the spelling is what helps.
    first = next((one for one in found if one["type"] in _UNKNOWN_KEY), found[0])
    place = [part for part in first["loc"] if isinstance(part, int) or part in _all_names(kind)]
    if first["type"] in _UNKNOWN_KEY:
        # The last part is what is not known; it may be the name of something elsewhere.
        name = str(first["loc"][-1])
        place = [*[part for part in first["loc"][:-1] if isinstance(part, int) or part in _all_names(kind)], name]
        known = _names_beside(place, kind)
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        advice = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."
        return ConfigRefused("TRAIN_CONFIG_UNKNOWN", f"The configuration has no key {_dotted(place)}.", advice)
    if first["type"] in ("missing", "missing_argument"):
        return ConfigRefused("TRAIN_CONFIG_VALUE", f"The configuration lacks {_dotted(place)}.", "Add it.")
    why = first["msg"].removeprefix("Value error, ")
    return ConfigRefused(
        "TRAIN_CONFIG_VALUE",
        f"The configuration's {_dotted(place) or 'content'} cannot be used: {why[:1].lower() + why[1:]}.",
        "",
        f"it is {str(first['input'])[:120]!r}",
    )


def _dotted(place: Sequence[object]) -> str:
    return ".".join(str(part) for part in place)


def _all_names(kind: type) -> frozenset[str]:
    """Names of fields: pydantic's places also name the members of a union, which a reader of a file never wrote."""
    found: set[str] = set()

    def collect(cls: type) -> None:
        for field in dataclasses.fields(cls):
            found.add(field.name)
        for hint in get_type_hints(cls).values():
            for inner in _dataclasses_in(hint):
                collect(inner)

    collect(kind)
    return frozenset(found)


def _names_beside(place: Sequence[object], kind: type) -> list[str]:
    cls = kind
    for part in place[:-1]:
        if isinstance(part, str):
            inner = _dataclasses_in(get_type_hints(cls)[part])
            if inner:
                cls = inner[0]
    return [field.name for field in dataclasses.fields(cls)]


def _dataclasses_in(hint: Any) -> list[type]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return [hint]
    if get_origin(hint) in (Union, types.UnionType, tuple) or hasattr(hint, "__metadata__"):
        return [cls for inner in get_args(hint) for cls in _dataclasses_in(inner)]
    return []
