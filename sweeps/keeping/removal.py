"""What to remove, said before it is done; and doing it so that a kill in between loses nothing else. Dry until asked.

A plan is made of holdings; carried out, it is written down first (`store.trash`), and whoever works in the home next
finishes what a kill has left of it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, HomeError
from pipeline.reporting.index import refresh_index
from pipeline.runs.needs import Entry
from pipeline.runs.stored import name_in
from pipeline.stages.graph import STAGES, judge_part
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH
from pipeline.store.trash import Removal, clear, decide, pending
from pipeline.store.use import alone, notes_of_the_dead
from pipeline.tracking import registered_name
from pipeline.tracking.addresses import sqlite_file
from pipeline.tracking.records import ablation_records, forget, records, single_records, study_records
from pipeline.tracking.rows import Recorded, artifact_folders, orphaned_artifacts, torn_uploads
from sweeps.finding import find
from sweeps.keeping.holdings import RECORDS, Holding, Holdings
from sweeps.study.config import UNPACKING
from sweeps.study.erasing import erase_studies
from sweeps.study.locking import study_lock
from sweeps.study.reading import every_study_name

SHARED = frozenset({stage.name for stage in STAGES if stage.shared} | {judge_part(kind) for kind in "ab"})
"""Stages that belong to a data set rather than to a model: the next study on it needs them."""
KEPT_DAYS = 7.0
"""Days that a result which nobody needs is left alone: it may be somebody's `cvae-pipe train`."""
DAY = 24 * 3600


@dataclass(frozen=True)
class Item:
    """Something that goes, as a line of the plan."""

    what: str
    path: str
    """Below the home."""
    bytes: int


@dataclass(frozen=True)
class RemovalPlan:
    """What would be removed, and why the rest stays. Nothing is touched by making it."""

    home: Home
    items: tuple[Item, ...]
    studies: tuple[str, ...] = ()
    """In Optuna's ledger."""
    records: tuple[str, ...] = ()
    """Ids of MLflow's runs."""
    models: tuple[str, ...] = ()
    """Registered models, as far as their versions are of these runs."""
    notes: tuple[str, ...] = ()
    """What stays although it was asked for, and what will no longer hold."""

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.items)

    @property
    def empty(self) -> bool:
        return not (self.items or self.studies or self.records)

    def document(self) -> dict[str, Any]:
        return {
            "items": [asdict(item) for item in self.items],
            "studies": list(self.studies),
            "mlflow_runs": list(self.records),
            "registered_models": list(self.models),
            "notes": list(self.notes),
            "bytes": self.bytes,
        }


def carried_out(home: Home, plan: Callable[[], RemovalPlan]) -> RemovalPlan:
    """Make a plan and carry it out, alone in the home: what was planned before may be needed by now. Whole or, after a
    kill, finished by whoever comes next; HomeError while somebody is at work."""
    with alone(home):
        made = plan()
        if sqlite_file(home) is None:  # a server may not answer: then nothing has happened yet
            forget(home, made.records, made.models)
        clear(home)
        facts = {"studies": made.studies, "records": made.records, "models": made.models}
        _finish(decide(home, [home.root / item.path for item in made.items], facts))
    return made


def finish_pending(home: Home) -> int:
    """Bring removals to their end that a kill has cut short; how many there were. Does nothing while others work in
    the home: they have done it when they began."""
    if not any(pending(home)):
        return 0
    try:
        with alone(home):
            found = list(pending(home))
            for removal in found:
                _finish(removal)
            clear(home)
            return len(found)
    except HomeError:
        return 0


def clear_up_after_the_dead(home: Home) -> None:
    """Take away what MLflow was copying when its process was killed. While others work in the home it may be theirs:
    then the next command does it."""
    with suppress(HomeError), alone(home):
        for path in (*torn_uploads(home), *notes_of_the_dead(home)):
            path.unlink(missing_ok=True)


def _finish(removal: Removal) -> None:
    facts, home = removal.facts, removal.home
    erase_studies(home, facts["studies"])
    if sqlite_file(home) is not None:
        forget(home, facts["records"], facts["models"])
    removal.finish()
    refresh_index(home.reports)


# ---- rm ------------------------------------------------------------------------------------------------------------


def resolve(holdings: Holdings, name: str) -> Holding:
    """The study, ablation, run or report of that name; ConfigError with what there is."""
    name = name_in(holdings.home, name)
    for group in (holdings.studies, holdings.ablations, holdings.reports):
        if name in group:
            return group[name]
    try:
        meant = find(holdings.home, name)
    except ConfigError as error:
        known = ", ".join(holdings.reports) or "none yet"
        raise ConfigError(f"{error}; comparisons are {known}") from None
    if meant.kind != "run":
        return (holdings.studies if meant.kind == "study" else holdings.ablations)[meant.name]
    key = meant.key
    found = holdings.single_runs.get(key[:KEY_LENGTH])
    if found is None:
        owners = holdings.owners([("run", key[:KEY_LENGTH])])
        belongs = " and ".join(map(str, owners)) or "no study any more; `cvae-pipe gc` removes it"
        raise ConfigError(f"run {holdings.runs[key[:KEY_LENGTH]].name} belongs to {belongs}; remove that instead")
    return found


def plan_removal(home: Home, names: Sequence[str]) -> RemovalPlan:
    """Everything that these studies, ablations, runs and reports need and nobody else does, and what tells of them."""
    holdings = Holdings(home)
    going = list({str(found): found for found in (resolve(holdings, name) for name in names)}.values())
    for found in going:
        if found.kind == "study":
            study_lock(home, found.name).release()  # HomeError while another process drives it
    staying = [holding for holding in holdings.all if holding not in going]
    needed = {e for holding in staying for e in holding.needs}
    own = {e for holding in going for e in holding.needs if e[0] not in SHARED | RECORDS}
    paths = list(_paths(holdings, own - needed))
    paths += [(f"report {folder.name}", folder) for holding in going for folder in holding.reports]
    everything = [] if all(holding.kind == "report" for holding in going) else records(home)
    recorded = [run for holding in going for run in _records(holdings, everything, holding)]
    paths += [
        (f"MLflow's files of {_called(recorded, f.name)}", f) for f in artifact_folders(home, [r.id for r in recorded])
    ]
    studies = tuple(holding.name for holding in going if holding.kind == "study")
    stays = {e for e in own & needed if _is_there(home, e)}
    holders = [str(holding) for holding in staying if holding.needs & stays]
    notes = (
        [f"{len(stays)} result{'s stay' if len(stays) > 1 else ' stays'}, which {_some(holders)} need"] if stays else []
    )
    notes += [
        f"{report} cites study {', '.join(gone)}, which `cvae-pipe verify` will not find any more"
        for report in staying
        if report.kind == "report" and (gone := sorted({*report.studies} & {*studies}))
    ]
    return RemovalPlan(
        home,
        _items(home, paths),
        studies,
        tuple(dict.fromkeys(run.id for run in recorded)),
        tuple(registered_name(name) for name in studies),
        tuple(notes),
    )


def _records(holdings: Holdings, found: Sequence[Recorded], holding: Holding) -> list[Recorded]:
    if holding.kind == "study":
        return study_records(found, holding.name)
    if holding.kind == "ablation":
        return ablation_records(found, holding.name)
    if holding.kind == "report":
        return []
    keys = [run.key for run in holdings.runs.values() if run.entries == holding.needs]
    return [run for key in keys for run in single_records(found, key)]


def _called(recorded: Sequence[Recorded], run_id: str) -> str:
    return next(run.name for run in recorded if run.id == run_id)


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# ---- gc ------------------------------------------------------------------------------------------------------------


def plan_collection(home: Home, *, days: float = KEPT_DAYS) -> RemovalPlan:
    """What nobody needs: results and beginnings of no study, run or report that are older than `days`; results that
    were set aside as damaged; torn files; MLflow's trash, and files of runs that it has no more."""
    holdings = Holdings(home)
    needed = {e for holding in holdings.all for e in holding.needs}
    unread = sorted({folder.name for folder in (home.store.root / "run").glob("*")} - holdings.runs.keys())
    paths: list[tuple[str, Path]] = []
    if not unread:  # of a run that cannot be read nobody knows what it is made of
        paths = [
            (f"{stage} {key}: needed by nothing", home.store.root / stage / key)
            for stage, key in holdings.entries()
            if (stage, key) not in needed and stage not in RECORDS
        ]
        paths += [
            (f"{e[0]} {e[1]}: begun, of nothing that is kept", path)
            for e, path in holdings.partials()
            if e not in needed
        ]
        paths = [(what, path) for what, path in paths if _age(path) > days * DAY]
    paths += [(f"{path.name}: damaged, replaced", path) for path in sorted((home.store.root / "damaged").glob("*"))]
    paths += [("torn file", path) for path in _torn(home)]
    trashed: list[str] = []
    database = home.mlruns / "mlflow.db"
    if sqlite_file(home) == database:  # another one does not know all of this home's
        trashed = [run.id for run in records(home) if run.deleted]
        gone = [folder for folder in orphaned_artifacts(home, database) if _age(folder) > days * DAY]
        gone += artifact_folders(home, trashed)
        paths += [("MLflow's files of a run that is gone", folder) for folder in sorted(set(gone))]
    notes = [f"run {key} is damaged: of the store nothing is collected until it is whole or removed" for key in unread]
    return RemovalPlan(
        home,
        _items(home, paths),
        tuple(name for name in every_study_name(home) if name.startswith(UNPACKING)),
        tuple(trashed),
        notes=tuple(notes),
    )


TORN_SECONDS = 3600
"""A file that is being written is replaced within seconds."""


def _torn(home: Home) -> Iterator[Path]:
    """Files that a kill left half-written, anywhere but where a build will look for them."""
    ours = (path for root in (home.reports, home.mlruns) for path in root.rglob(".*.tmp") if path.is_file())
    for path in (*ours, *torn_uploads(home)):
        if time.time() - path.stat().st_mtime > TORN_SECONDS:
            yield path


def _age(path: Path) -> float:
    """Seconds since anything in a folder was written."""
    latest = max((p.stat().st_mtime for p in (path, *path.rglob("*"))), default=0.0)
    return time.time() - latest


# ---- shared --------------------------------------------------------------------------------------------------------


def _paths(holdings: Holdings, entries: Iterable[Entry]) -> Iterator[tuple[str, Path]]:
    """The folders of these results that are there, and of those begun."""
    store, wanted = holdings.home.store, set(entries)
    for stage, key in sorted(wanted):
        if (path := store.root / stage / key).is_dir():
            yield f"{stage} {key}", path
    for e, path in holdings.partials():
        if e in wanted:
            yield f"{e[0]} {e[1]}, begun", path


def _is_there(home: Home, found: Entry) -> bool:
    return (home.store.root / found[0] / found[1]).is_dir()


def _items(home: Home, paths: Iterable[tuple[str, Path]]) -> tuple[Item, ...]:
    return tuple(Item(what, str(path.relative_to(home.root)), size(path)) for what, path in paths)


def size(path: Path) -> int:
    """Bytes of a file, or of everything in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(p.lstat().st_size for p in files if not p.is_dir())
