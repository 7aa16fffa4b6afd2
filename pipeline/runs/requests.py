"""What is asked of a trained model, checked in words before anything is loaded. Knows no models and no torch."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.config.sections import PRIORS
from pipeline.errors import ConfigError
from pipeline.stages.graph import PREPARE
from pipeline.store.files import read_json
from pipeline.store.home import Home

if TYPE_CHECKING:
    from pipeline.runs.outcome import Outcome

STEPS = 9
"""Images of an interpolation, both ends included."""
MOST_IMAGES = 100_000
"""Of one request: what a few gigabytes of memory hold."""
NAMED = 20
"""Classes that an error names."""

Format = Literal["png", "npz", "folder"]


def class_names(home: Home, outcome: "Outcome") -> tuple[str, ...]:
    """The names of a run's classes, by index."""
    stored = home.store.path(PREPARE.name, PREPARE.key(outcome.config)) / "data.json"
    if stored.exists():
        return tuple(read_json(stored)["class_names"])
    if outcome.per_class:
        return tuple(str(name) for name in outcome.per_class["table"]["class"])
    return tuple(map(str, range(outcome.facts["classes"])))


def label_index(class_names: tuple[str, ...], label: int | str) -> int:
    """The index of a class by its name, else by its index; ConfigError if there is none."""
    if isinstance(label, str) and label in class_names:
        return class_names.index(label)
    index = int(label) if isinstance(label, str) and re.fullmatch(r"[0-9]{1,9}", label) else label
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(class_names):
        raise ConfigError(
            f"label is {label!r}; it must be 0 to {len(class_names) - 1}, or one of {_some_names(class_names)}"
        )
    return index


def label_indices(class_names: tuple[str, ...], texts: list[str]) -> list[int]:
    """Classes as they are typed: a name, an index, a range 0..9, several with commas between, or all of them."""
    found: list[int] = []
    for text in texts or ["all"]:
        if text in class_names:
            found.append(class_names.index(text))
        elif text == "all":
            found += range(len(class_names))
        else:
            for part in text.split(","):
                first, dots, last = part.strip().partition("..")
                start, end = label_index(class_names, first), label_index(class_names, last if dots else first)
                found += range(start, end + 1) if start <= end else range(start, end - 1, -1)
    return list(dict.fromkeys(found))


def check_request(images: int, *, n: int = 1, seed: int = 0, temperature: float = 1.0, steps: int = STEPS) -> None:
    """ConfigError for a number that cannot be meant."""
    if n < 1:
        raise ConfigError(f"--n is {n}; it must be 1 or more")
    if steps < 2:
        raise ConfigError(f"--steps is {steps}; it must be 2 or more: both ends are among them")
    if images > MOST_IMAGES:
        raise ConfigError(f"that would be {images:,} images; at most {MOST_IMAGES:,} are made at once")
    if not 0 <= seed < 2**63 - 1:
        raise ConfigError(f"--seed is {seed}; it must be 0 or more, below 2**63 - 1")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(
            f"--temperature is {temperature}; it must be a finite number, 0 or more; 1 is the prior itself"
        )


def check_prior(name: str | None) -> None:
    """ConfigError for a prior there is none of; None is the one that a run is scored under."""
    if name is not None and name not in PRIORS:
        raise ConfigError(f"--prior is {name!r}; it must be one of {', '.join(PRIORS)}")


def format_of(out: Path | str) -> Format:
    """What a path asks for: .png, .npz, or a folder (it ends in / or is one); ConfigError for anything else."""
    path = Path(out)
    if path.is_dir() or str(out).endswith("/"):
        form: Format = "folder"
    elif path.suffix.lower() in (".png", ".npz"):
        form = "png" if path.suffix.lower() == ".png" else "npz"
    else:
        raise ConfigError(f"--out is {str(out)!r}; it must end in .png (a sheet), .npz (arrays) or / (a folder)")
    place = path if form == "folder" else path.parent
    for above in (place, *place.parents):
        if above.exists() and not above.is_dir():
            raise ConfigError(f"--out is {str(out)!r}, but {above} is a file")
    return form


def _some_names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
