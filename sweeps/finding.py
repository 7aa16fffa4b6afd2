"""One name for each thing: a study, an ablation or a run by what people type. Reads names; loads no Optuna, no torch.

What is accepted: a name, its unique beginning, a run's key, a report's folder or report.html, @last, @best; of runs
also best.
"""

import difflib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, StudyError
from pipeline.runs.listing import OBJECTIVES
from pipeline.runs.names import CHOSEN
from pipeline.runs.stored import (
    FEW,
    LAST,
    NAMED,
    Known,
    beside_the_damaged,
    candidates,
    known_runs,
    latest,
    meant,
    name_in,
)
from pipeline.stages.graph import PREPARE
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import MANIFEST

BEST = "@best"
"""Of all runs on the data of the newest, the one that a sweep's rule would choose, here by test scores."""
KINDS = ("study", "ablation", "run")
PAGE = "report.html"


@dataclass(frozen=True)
class Found:
    """What a text means."""

    kind: str
    """study, ablation, run; report for a page that is none of theirs, e.g. of a comparison."""
    name: str
    page: Path
    """Its report, there or not."""
    key: str = ""
    """Of a run."""


def find(home: Home, text: str, kinds: Sequence[str] = KINDS) -> Found:
    """The one thing of these kinds that a text means; ConfigError with the candidates if there is none, or several.

    A name that is exactly so comes before those that begin so, a study before an ablation before a run.
    """
    name = name_in(home, text)
    if name == BEST and "run" in kinds:
        return _run(home, best_run(home))
    named = named_things(home, kinds)
    runs = known_runs(home) if "run" in kinds else []
    if name == LAST:
        return _last(home, named, runs, kinds)
    exact = [found for found in named if found.name == name]
    if exact:
        return exact[0]
    begun = meant(runs, name)
    called = any(run.is_called(name) for run in begun)
    others = [] if called else [found for found in named if found.name.startswith(name)]
    if len(begun) + len(others) == 1:
        return others[0] if others else _run(home, begun[0])
    if not begun and not others:
        if "study" in kinds:
            _read_thoroughly(home)
        said = _none(name, named, runs, kinds) + (beside_the_damaged(home) if "run" in kinds else "")
        raise (StudyError if tuple(kinds) == ("study",) else ConfigError)(said)
    told = [*(f"{found.kind} {found.name}" for found in others[:NAMED]), *([candidates(begun)] if begun else ())]
    more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    what = "runs" if not others else "things"
    raise ConfigError(f"{name!r} fits {len(begun) + len(others)} {what}; write more of one of {', '.join(told)}{more}")


def find_run_key(home: Home, text: str, say: Callable[[str], None] = lambda text: None) -> str:
    """The key of the run that a text means; a study's exact name, or its report, means its choice, and best that of the
    latest study. Which run best and @best mean, and by what, is said."""
    name = name_in(home, text)
    if name == BEST:
        best = best_run(home)
        say(f"{BEST} is {best.name}: the best of all runs on {best.config.data.name} by test scores, not one to quote")
        return best.key
    runs = known_runs(home)
    called = any(run.is_called(name) for run in runs)
    if name == CHOSEN and not called and name not in study_names(home):
        key, why = _latest_choice(home)
        say(f"{CHOSEN} is {Known(home, key).name}: {why}")
        return key
    if called or name == LAST:
        from pipeline.runs import stored

        return stored.find_run_key(home, name)
    if name in study_names(home):
        return _choice(home, name)
    return find(home, text, ("run",)).key


def find_page(home: Home, text: str) -> Path:
    """The report.html that a text means: one that is there, or that of a study, an ablation, a run, a comparison."""
    if "/" not in text and text != LAST and (home.reports / text / PAGE).exists():
        return home.reports / text / PAGE
    path = Path(text).expanduser()
    if path.exists() and (path.is_file() or (path / PAGE).exists()):
        return path / PAGE if path.is_dir() else path
    pages = sorted(home.reports.glob(f"*/{PAGE}"), key=lambda page: page.stat().st_mtime_ns)
    if text == LAST and pages:
        return pages[-1]
    begun = [page for page in pages if page.parent.name.startswith(text)]
    if len(begun) == 1:
        return begun[0]
    found = find(home, text)
    if not found.page.exists():
        raise ConfigError(f"{found.kind} {found.name} has no report yet; `cvae-pipe report {found.name}` writes it")
    return found.page


def study_names(home: Home) -> list[str]:
    """The studies of a home that have a trial, the one that moved last first. Read from the database itself: Optuna
    takes half a second to load."""
    database = home.mlruns / "optuna.db"
    if not database.exists():
        return []
    query = (
        "SELECT s.study_name FROM studies s JOIN trials t ON t.study_id = s.study_id GROUP BY s.study_id "
        "ORDER BY MAX(COALESCE(t.datetime_complete, t.datetime_start)) DESC, s.study_id DESC"
    )
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return [str(name) for (name,) in connection.execute(query)]
    except sqlite3.Error:  # another version of Optuna's, or damaged: its own reader says what is wrong
        from sweeps.study.ledger import recorded_studies

        return recorded_studies(home)


def ablation_names(home: Home) -> list[str]:
    """The ablations that were begun, the last one first."""
    folders = [home.store.path("ablation", key) for key in home.store.keys("ablation")]
    newest = sorted(folders, key=lambda folder: (folder / MANIFEST).stat().st_mtime_ns, reverse=True)
    return list(dict.fromkeys(str(read_json(folder / "definition.json")["name"]) for folder in newest))


def _read_thoroughly(home: Home) -> None:
    """StudyError where not even Optuna can read the database: it may hold what was meant."""
    from sweeps.study.reading import stored_studies

    stored_studies(home)


def named_things(home: Home, kinds: Iterable[str]) -> list[Found]:
    """The studies and ablations, newest first. A database that cannot be read stops nobody who means something else."""
    found = []
    if "study" in kinds:
        with suppress(StudyError):
            found += [Found("study", name, home.reports / name / PAGE) for name in study_names(home)]
    if "ablation" in kinds:
        found += [Found("ablation", name, home.reports / name / PAGE) for name in ablation_names(home)]
    return found


def _run(home: Home, run: Known) -> Found:
    return Found("run", run.name, home.reports / run.name / PAGE, run.key)


def _last(home: Home, named: list[Found], runs: list[Known], kinds: Sequence[str]) -> Found:
    """What has the newest page; where nothing has one, the newest."""
    whole = [*named, *([_run(home, latest(runs))] if runs else ())]
    if not whole:
        raise ConfigError(f"there is no {' or '.join(kinds)} yet; `cvae-pipe run --dataset digits` makes a run")
    return max(whole, key=lambda found: found.page.stat().st_mtime_ns if found.page.exists() else 0)


def _none(name: str, named: list[Found], runs: list[Known], kinds: Sequence[str]) -> str:
    """That there is nothing of that name, and what there is."""
    opened = sorted(runs, key=lambda run: (run.split == "test", run.finished, run.key), reverse=True)
    names = [found.name for found in named] + [run.name for run in opened]
    near = difflib.get_close_matches(name, names, 1)
    said = [f"there is no {', '.join(kinds[:-1])}{' or ' if kinds[:-1] else ''}{kinds[-1]} {name!r}"]
    if near:
        said.append(f"did you mean {near[0]}?")
    for kind, plural in (("study", "studies"), ("ablation", "ablations")):
        if kind in kinds:
            own = [found.name for found in named if found.kind == kind]
            more = f" and {len(own) - NAMED} more" if len(own) > NAMED else ""
            said.append(f"{plural} are {', '.join(own[:NAMED]) or 'none yet'}{more}")
    if "run" in kinds:
        said.append(f"finished runs are {candidates(opened, most=FEW) or 'none yet'}")
    return "; ".join(said)


def best_run(home: Home) -> Known:
    """The run nearest to the best of all on every axis, as a sweep chooses among trials, of those on the newest's data.

    It is picked by test scores: fit to look at, not to quote.
    """
    runs = [run for run in known_runs(home) if run.split == "test"]
    if not runs:
        raise ConfigError("there is no run yet; `cvae-pipe run --dataset digits` makes one")
    data = PREPARE.key(latest(runs).config)
    stored = [
        (run, read_json(home.store.path("run", run.key) / "run.json"))
        for run in runs
        if PREPARE.key(run.config) == data
    ]

    def scores(document: dict[str, dict[str, float]]) -> list[float | None]:
        metrics = document["metrics"]
        return [metrics.get(f"test/{name}_expost", metrics.get(f"test/{name}")) for name in OBJECTIVES]

    scored = [(run, document, scores(document)) for run, document in stored]
    whole = [(run, document, values) for run, document, values in scored if None not in values]
    if not whole:  # models without labels: the likeliest
        return min(scored, key=lambda found: (found[2][-1] is None, found[2][-1] or 0.0))[0]
    import numpy as np

    from sweeps.analysis.choice import Front
    from sweeps.study.objective import OBJECTIVES as SEARCHED
    from sweeps.study.objective import physical_range

    objectives = tuple(SEARCHED[name] for name in OBJECTIVES)
    document = whole[0][1]
    facts = {name.replace("test/", "val/", 1): value for name, value in document["metrics"].items()}
    ranges = tuple(physical_range(o, facts, classes=document["facts"]["classes"]) for o in objectives)
    table = np.array([values for _, _, values in whole], dtype=float)
    front = Front(tuple(range(len(whole))), table, objectives, ranges)
    return whole[front.pick(front.numbers, table)][0]


def _latest_choice(home: Home) -> tuple[str, str]:
    """The key of the run that CHOSEN means, and why it is that one."""
    for study in study_names(home):
        with suppress(ConfigError):  # no complete trial
            return _choice(home, study), f"the choice of {study}, the latest study, on validation images"
    from pipeline.runs import stored

    return stored.find_run_key(home, LAST), "the newest run, there being no study"


def _choice(home: Home, study: str) -> str:
    """The key of the run that a study chose: the first of its finals, else the trial."""
    from sweeps.stored import stored_summary

    champion = stored_summary(home, study).champion
    if champion is None:
        raise ConfigError(f"study {study} has no complete trial yet, so it stands for no run")
    return champion.key
