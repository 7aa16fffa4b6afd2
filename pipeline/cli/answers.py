"""The one JSON document of a command: the same keys around every answer, whatever the command. Knows plain values.

Every key of `ENVELOPE` stands in every document, an error's too, empty where there is no such thing; what a command
found stands beside them.
"""

import importlib.metadata
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.errors import CvaePipeError
from pipeline.store.home import Home

ENVELOPE: dict[str, tuple[str, Any]] = {
    "command": ("What was typed: run, sweep, ..", ""),
    "kind": ("What the document is: run, study, ablation, .., plan (--dry-run), error.", ""),
    "version": ("Of cvae-pipe.", ""),
    "home": ("The home that it is about, its whole path.", ""),
    "name": ("Of what it is about.", None),
    "key": ("Its key in the store and in MLflow (`run_key`), 16 hex digits.", None),
    "settings": ("The whole configuration, by setting; of `config` each value with its source.", None),
    "seed": ("Of the training; of `generate` that of the noise.", None),
    "data": ("dataset, source_sha256, and images in train, val, test.", None),
    "seconds": (
        "What the work behind the answer took when it was done; less judges and data, which others share.",
        None,
    ),
    "paths": ("Files and folders by what they are: report, best, model, ..", {}),
    "cautions": ("What to beware of, in sentences.", []),
    "error": ("What was wrong, what is allowed, what to do.", None),
    "exit_code": (
        "As the shell has it: 0, 1 for what is not in order, 2 for a mistake, 3 for a report of elsewhere.",
        0,
    ),
}
"""Key -> (what it says, what stands there where there is nothing to say)."""


def markdown_table() -> str:
    """The envelope as a markdown table: docs/PYTHON.md has it."""
    rows = [f"| `{key}` | {said} |" for key, (said, _) in ENVELOPE.items()]
    return "\n".join(["| key | what it says |", "|---|---|", *rows])


def print_json(document: dict[str, Any]) -> None:
    """One document on stdout: what a command found, in the envelope."""
    print(json.dumps(_plain(enveloped(document)), indent=1, allow_nan=False))


def enveloped(document: dict[str, Any]) -> dict[str, Any]:
    """A command's own document, with what every one has."""
    around = {key: empty for key, (_, empty) in ENVELOPE.items()}
    around |= {"command": command_name(sys.argv[1:]), "version": _version()}
    if "home" not in document:
        around["home"] = _home()
    found = around | document
    return found | {"kind": found["kind"] or found["command"]}


def error_document(message: str, exit_code: int) -> dict[str, Any]:
    """What stands on stdout where a command failed."""
    return {"kind": "error", "error": message, "exit_code": exit_code}


def command_name(words: Sequence[str]) -> str:
    """The command among the words that were typed; "" for none. What stands before it are flags without values."""
    return next((word for word in words if not word.startswith("-")), "")


def _version() -> str:
    try:
        return importlib.metadata.version("cvae-pipe")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _home() -> str:
    try:
        return str(Home.from_environment().root)
    except CvaePipeError:
        return ""


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is not a number is null."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
