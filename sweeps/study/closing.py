"""How a study is brought to its end: seeds of the re-training, and what is preferred of the choice.

Not part of what makes the study the study it is: the same trials can be ended once more in another way. The ledger
holds what was asked for last, so that a report written anew is the same report.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.config.sections import MOST_JUDGES
from pipeline.errors import StudyError
from sweeps.study.config import Held
from sweeps.study.objective import Objective

if TYPE_CHECKING:
    from optuna import Study

CLOSING = "closing"

BOUND = re.compile(r"\s*(?P<name>\w+)\s*(?P<sign>>=|<=)\s*(?P<bound>\S+)\s*")


@dataclass(frozen=True)
class Preference:
    """A bound on an objective that the choice is to keep."""

    objective: str
    at_least: bool
    """Whether the bound is the least allowed value; else it is the largest."""
    bound: float

    def __str__(self) -> str:
        return f"{self.objective}{'>=' if self.at_least else '<='}{self.bound}"

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Closing:
    """What one invocation asks for once the trials are finished."""

    final_seeds: int = 0
    """Training seeds that candidates, and then the choice, are re-trained with; 0 for none."""
    preferences: tuple[Preference, ...] = ()
    judges: int = 1
    """Judges of how many seeds read the choice on test."""
    choosing: int | None = None
    """Judges of how many seeds read the candidates on validation, on whose mean the choice is made; by default as many
    as on test. Studies of before were chosen by one, and stay so until they are brought to their end again."""

    def __post_init__(self) -> None:
        if self.final_seeds < 0:
            raise StudyError(f"--final-seeds is {self.final_seeds}; it must be 0 or more")
        if not 1 <= self.judges <= MOST_JUDGES:
            raise StudyError(f"--judges is {self.judges}; it must be 1 to {MOST_JUDGES}")

    def judges_on(self, split: str) -> int:
        """Judges of how many seeds read a re-training on a split."""
        return self.judges if split == "test" or self.choosing is None else self.choosing

    def record(self, study: "Study") -> None:
        """Keep it in the ledger."""
        held: dict[str, Any] = {
            "final_seeds": self.final_seeds,
            "prefer": [str(p) for p in self.preferences],
            "judges": self.judges,
            "choosing": self.judges_on("val"),
        }
        if study.user_attrs.get(CLOSING) != held:
            study.set_user_attr(CLOSING, held)


def recorded_closing(study: Held, objectives: tuple[Objective, ...]) -> Closing:
    """What was asked for last; no re-training and no preference where nothing was."""
    held = study.user_attrs.get(CLOSING, {"final_seeds": 0, "prefer": []})
    asked = preferences(held["prefer"], objectives)
    judges, choosing = held.get("judges", 1), held.get("choosing", 1)
    return Closing(held["final_seeds"], asked, judges, None if choosing == judges else choosing)


def preferences(texts: Sequence[str], objectives: tuple[Objective, ...]) -> tuple[Preference, ...]:
    """`--prefer` entries such as accuracy>=.99; StudyError for one that bounds no objective of the study."""
    return tuple(_preference(text, objectives) for text in texts)


def _preference(text: str, objectives: tuple[Objective, ...]) -> Preference:
    parts = BOUND.fullmatch(text)
    try:
        bound = float(parts["bound"]) if parts else math.nan
    except ValueError:
        bound = math.nan
    if parts is None or not math.isfinite(bound):
        raise StudyError(f"--prefer is {text!r}; write an objective, >= or <=, and a number: 'accuracy>=.99'")
    return Preference(_resolved(parts["name"], objectives), parts["sign"] == ">=", bound)


def _resolved(short: str, objectives: tuple[Objective, ...]) -> str:
    """The objective of that name, else the only one that begins with it, else the only one that contains it."""
    names = [o.name for o in objectives]
    for fits in ([n for n in names if n == short], [n for n in names if n.startswith(short)]):
        if len(fits) == 1:
            return fits[0]
    fits = [n for n in names if short in n]
    if len(fits) != 1:
        problem = f"fits {' and '.join(fits)}; write more of one" if fits else "is no objective of this study"
        raise StudyError(f"--prefer {short} {problem}; its objectives are {', '.join(names)}")
    return fits[0]
