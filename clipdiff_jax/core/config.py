"""Configs are frozen dataclasses; this module moves them to and from plain dictionaries.

The same strict reader serves four places: `config.json` of a model folder, the `get_config()` of
a recipe (`core.recipes`), the overrides of a command line (`--config.train.steps=100`), and the
record of a request in a picture. A key that no field has is an error that names the nearest field.
"""

import dataclasses
import difflib
import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
OVERRIDE = "--config."
# Metadata of a field that came after configs had been written: with its default it is left out of
# what is written, which so stays as it was.
LATER = types.MappingProxyType({"later": True})


class ConfigError(ValueError):
    """A config that cannot be read: the message names the key, the value and what was expected."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the choice most like `word`, or `""` if none is near."""
    found = difflib.get_close_matches(str(word), list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{found[0]}'?" if found else ""


def to_dict(value: Any) -> Any:
    """Turns a config into JSON-ready values; each dataclass carries its class name as `"type"`."""
    return _to_dict(value, whole=False)


def _to_dict(value: Any, whole: bool) -> Any:
    """whole: with the fields that `LATER` leaves out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: _to_dict(getattr(value, f.name), whole)
            for f in dataclasses.fields(value)
            if whole or not (f.metadata.get("later") and getattr(value, f.name) == _default(f))
        }
        return {"type": type(value).__name__, **fields}
    if isinstance(value, dict):
        return {key: _to_dict(item, whole) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_dict(item, whole) for item in value]
    return value


def _default(field: "dataclasses.Field[Any]") -> Any:
    make = field.default_factory
    return field.default if make is dataclasses.MISSING else make()


def from_dict(cls: type[T], value: Any, where: str = "config") -> T:
    """Builds the dataclass `cls` from what `to_dict` wrote; fields left out take their defaults.

    Raises `ConfigError` for a key that is not a field (naming the nearest one), for a value of the
    wrong type, and for a required field that is missing.
    """
    return _read(cls, value, where)


def formerly(default: Any, now: dict[str | int, Any]) -> Any:
    """A field for which configs once wrote other values than they do now.

    now: what each of them means, such as {"": None}; `from_dict` puts it in their place.
    """
    return dataclasses.field(default=default, metadata={"now": now})


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line as (its own arguments, the overrides).

    An override is `--config.a.b=value`, or two arguments `--config.a.b value`.
    """
    own: list[str] = []
    given: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if not argument.startswith(OVERRIDE):
            own.append(argument)
            continue
        override = argument.removeprefix(OVERRIDE)
        value = None if "=" in override else next(arguments, None)
        given.append(override if value is None else f"{override}={value}")
    return own, given


def apply_overrides(config: T, overrides: Sequence[str]) -> T:
    """Returns `config` with `"a.b=value"` overrides applied.

    The value is read as JSON where it is JSON (`3`, `1e-4`, `true`, `null`, `[1, 2]`, `{...}`) and
    as a string otherwise. "a.type=Name" makes another dataclass of a field that takes several: its
    fields have their defaults then, and further overrides are of them. Raises `ConfigError` for an
    unknown key or a value of the wrong type.
    """
    tree = _to_dict(config, whole=True)
    new: list[Any] = []  # of another type now, so that their keys are seen when they are read
    for override in sorted(overrides, key=lambda one: not one.partition("=")[0].endswith(".type")):
        path, sep, text = override.partition("=")
        if not sep:
            raise ConfigError(f"override '{override}' has no '=': write key.subkey=value")
        node, where = tree, "config"
        *parents, leaf = path.split(".")
        for key in parents:
            node = _child(node, key, where)
            where = f"{where}.{key}"
        if leaf == "type" and isinstance(node, dict) and node.get("type") != text:
            node.clear()
            new.append(node)
        if not any(node is one for one in new):
            _child(node, leaf, where)
        node[leaf] = _literal(text)
    return from_dict(type(config), tree)


def _literal(text: str) -> Any:
    lowered = {"True": True, "False": False, "None": None}
    if text in lowered:
        return lowered[text]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _child(node: Any, key: str, where: str) -> Any:
    if not isinstance(node, dict):
        raise ConfigError(f"'{where}' is a value ({node!r}), it has no key '{key}'")
    if key not in node:
        names = [name for name in node if name != "type"]
        raise ConfigError(
            f"unknown key '{key}' in {where}.{nearest(key, names)} Keys: {', '.join(names)}"
        )
    return node[key]


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _read_union(args, value, where)
    if origin is typing.Literal:
        if value not in args:
            choices = [str(a) for a in args]
            raise ConfigError(
                f"{where} is {value!r}, not one of {', '.join(choices)}."
                f"{nearest(str(value), choices)}"
            )
        return value
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if origin is tuple:
        return _read_tuple(args, value, where)
    if origin is Sequence:
        return _read_tuple((*args, Ellipsis), value, where)
    if origin is dict:
        _expect(isinstance(value, dict), "a mapping", value, where)
        return {key: _read(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float:
        _expect(_is_number(value) and math.isfinite(value), "a finite number", value, where)
        return float(value)
    if kind is int:
        whole = _is_number(value) and (isinstance(value, int) or value.is_integer())
        _expect(whole, "a whole number", value, where)
        return int(value)
    if kind is type(None):
        _expect(value is None, "null", value, where)
        return None
    _expect(isinstance(value, kind), f"a {kind.__name__}", value, where)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _expect(ok: bool, expected: str, value: Any, where: str) -> None:
    if not ok:
        raise ConfigError(f"{where} is {value!r}, expected {expected}")


def _read_dataclass(cls: Any, value: Any, where: str) -> Any:
    if isinstance(value, cls):
        return value
    if inspect.isabstract(cls):
        return _read_union(tuple(_concrete(cls)), value, where)
    _expect(isinstance(value, dict), f"the fields of {cls.__name__}", value, where)
    value = dict(value)
    written = value.pop("type", cls.__name__)
    if written != cls.__name__:
        raise ConfigError(f"{where} is a {written}, expected a {cls.__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for key in value:
        if key not in fields:
            raise ConfigError(
                f"unknown key '{key}' in {where} ({cls.__name__}).{nearest(key, fields)}"
                f" Keys: {', '.join(fields)}"
            )
    for name, field in fields.items():
        no_default = field.default is dataclasses.MISSING
        if name not in value and no_default and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where} ({cls.__name__}) lacks the required key '{name}'")
    return cls(
        **{
            key: _read(hints[key], _present(fields[key], item), f"{where}.{key}")
            for key, item in value.items()
        }
    )


def _present(field: "dataclasses.Field[Any]", value: Any) -> Any:
    """What a value means now, see `formerly`."""
    known = isinstance(value, (str, int)) and not isinstance(value, bool)
    return field.metadata.get("now", {}).get(value, value) if known else value


def _concrete(cls: Any) -> Iterator[Any]:
    """The classes that derive from an abstract one and are known by now, in order of definition."""
    for derived in cls.__subclasses__():
        if inspect.isabstract(derived):
            yield from _concrete(derived)
        else:
            yield derived


def _read_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    classes: dict[str, Any] = {
        member.__name__: member
        for member in args
        if isinstance(member, type) and dataclasses.is_dataclass(member)
    }
    if isinstance(value, dict) and "type" in value and classes:
        if value["type"] not in classes:
            raise ConfigError(
                f"{where} has type '{value['type']}', not one of {', '.join(classes)}."
                f"{nearest(value['type'], classes)}"
            )
        return _read(classes[value["type"]], value, where)
    if type(value) in args:  # int | float: the number stays what it is
        return value
    errors = []
    for member in args:
        if member is type(None) or not _is_readable(member):
            continue
        try:
            return _read(member, value, where)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError(errors[0] if len(errors) == 1 else f"{where} is {value!r}: {errors}")


def _is_readable(kind: Any) -> bool:
    """Whether JSON can hold a value of the type: arrays and functions it cannot."""
    if typing.get_origin(kind) is not None:
        return typing.get_origin(kind) is not Callable
    return kind in (Any, str, int, float, bool) or dataclasses.is_dataclass(kind)


def _read_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _expect(isinstance(value, (list, tuple)), "a list", value, where)
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    _expect(len(value) == len(args), f"a list of {len(args)}", value, where)
    pairs = zip(args, value, strict=True)
    return tuple(_read(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(pairs))
