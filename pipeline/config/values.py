"""Checks and fields of single values, for the sections. Knows numbers and names; no setting."""

import math
from dataclasses import MISSING, Field, field
from typing import Any

from pipeline.errors import ConfigError


def require(ok: bool, name: str, value: object, allowed: str, *, hint: str = "") -> None:
    """Raise ConfigError naming the setting, its value and what is allowed, unless `ok`."""
    if not ok:
        raise ConfigError(f"{name} is {value!r}; it must be {allowed}{'; ' + hint if hint else ''}")


def finite(value: float) -> bool:
    return math.isfinite(value)


def require_seed(seed: int, name: str) -> None:
    require(0 <= seed < 2**63 - 1, name, seed, "0 or more, below 2**63 - 1")  # judge B adds one


BEFORE = "before"


def added(default: Any, *, before: Any) -> Any:
    """A field that joined its section later; `before` is what was done while there was no such setting. At that value
    digests leave it out, and stored settings that lack it get it: what was stored stays found, and stays what it is."""
    return field(default=default, metadata={BEFORE: before})


def value_before(setting: Field[Any]) -> Any:
    """What was done before there was this field; MISSING if it was always there."""
    return setting.metadata.get(BEFORE, MISSING)
