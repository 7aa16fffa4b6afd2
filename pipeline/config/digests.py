"""Keys and seeds: SHA-256 of the canonical JSON of plain values and settings."""

import dataclasses
import hashlib
import json
from functools import cache
from typing import Any

from pipeline.config.values import value_before


def digest(*parts: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `parts`; dataclasses count as {field: value}, without the fields that were
    `added` later and have the value of before."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            held = ((name, getattr(value, name), before) for name, before in _fields(type(value)))
            return {name: now for name, now, before in held if now != before}
        raise TypeError(f"{value!r} has no canonical form")

    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=plain, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _fields(cls: type) -> tuple[tuple[str, Any], ...]:
    """Name and value of before of each field; looked up once: a home of a hundred runs has twenty thousand digests."""
    return tuple((f.name, value_before(f)) for f in dataclasses.fields(cls))


def derive_seed(*parts: Any) -> int:
    """A seed in [0, 2**31) that depends on every part, for use where one seed must become several."""
    return int(digest("seed", *parts)[:8], 16) >> 1
