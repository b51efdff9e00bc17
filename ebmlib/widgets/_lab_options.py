"""What the EBM Lab's options may be: read from what its sources say of themselves."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from ebmlib._checks import check_choice, nearest
from ebmlib.widgets._host import HERE


@cache
def _known() -> dict[str, Any]:
    return json.loads((HERE / "ebm_lab.json").read_text("utf-8"))


def presets() -> dict[str, dict[str, Any]]:
    """Return the Lab's presets by name, each with title, sentence and configuration."""
    return {preset["id"]: preset for preset in copy.deepcopy(_known()["presets"])}


def options() -> dict[str, list[str]]:
    """Return the names of all options: those shared, of a side, and of the view."""
    return {part: list(_known()[part]) for part in ("shared", "side", "view")}


def default_config() -> dict[str, Any]:
    """Return the configuration with which the Lab starts."""
    known = _known()
    initial = {
        part: {name: copy.copy(o["initial"]) for name, o in known[part].items()}
        for part in ("shared", "side", "view")
    }
    return {
        **initial["shared"],
        "a": initial["side"],
        "b": None,
        "view": initial["view"],
    }


def _checked(where: str, option: Mapping[str, Any], value: Any) -> Any:
    """Return a value in the form of the Lab, or say what is allowed."""
    if "pattern" in option:
        if not isinstance(value, str) or not re.fullmatch(option["pattern"], value):
            raise ValueError(f"{where} must be a drawing that the Lab wrote, or ''")
        return value
    if "range" in option:
        low, high = option["range"]
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{where} must be an integer, got {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{where} must be between {low} and {high}, got {value}")
        return value
    values = option["values"]
    if option.get("many"):
        if isinstance(value, str) or not all(word in values for word in value):
            raise ValueError(f"{where} must be some of {values}, got {value!r}")
        return [word for word in values if word in value]
    if isinstance(option["initial"], str):
        check_choice(where, value, values)
        return value
    if isinstance(value, bool) or value not in values:
        raise ValueError(f"{where} must be one of {values}, got {value!r}")
    return next(known for known in values if known == value)


def _merged(
    where: str, part: str, base: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a part of a configuration with what is given put in place."""
    known = _known()[part]
    if not isinstance(given, Mapping):
        raise TypeError(f"{where} must be a mapping, got {type(given).__name__}")
    for name in given:
        if name not in known:
            near = nearest(str(name), known)
            hint = f" Did you mean {near!r}?" if near is not None else ""
            raise ValueError(
                f"{where} has no option {name!r}.{hint} Options: {list(known)}"
            )
    return {
        name: _checked(f"{where}[{name!r}]", option, given[name])
        if name in given
        else copy.copy(base[name])
        for name, option in known.items()
    }


def complete(
    given: Mapping[str, Any] | None, base: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a whole configuration: what is given, on top of a base.

    Parameters
    ----------
    given : mapping or None
        Options of both sides (``data``, ``seed``, ...) and parts ``"a"``, ``"b"`` and
        ``"view"``. What ``"b"`` leaves out is as in ``"a"``; None: no comparison.
    base : mapping, optional
        A whole configuration; the Lab's own by default.

    Raises
    ------
    TypeError
        If a part is no mapping or a number is none.
    ValueError
        If an option is unknown or has a value that is not allowed.
    """
    base = default_config() if base is None else base
    if given is None:
        return copy.deepcopy(dict(base))
    if not isinstance(given, Mapping):
        raise TypeError(f"config must be a mapping, got {type(given).__name__}")
    parts = ("a", "b", "view")
    shared = {name: value for name, value in given.items() if name not in parts}
    side_a = _merged("config['a']", "side", base["a"], given.get("a", {}))
    side_b = given.get("b", base["b"])
    if side_b is not None:
        side_b = _merged("config['b']", "side", base["b"] or side_a, side_b)
    config = {
        **_merged("config", "shared", base, shared),
        "a": side_a,
        "b": side_b,
        "view": _merged("config['view']", "view", base["view"], given.get("view", {})),
    }
    if config["data"] == "drawn" and not config["drawing"]:
        raise ValueError("config['data'] 'drawn' needs config['drawing']")
    return config
