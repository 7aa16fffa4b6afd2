"""What there is, written, recorded or tidied anew: reports, MLflow, the home."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.api.opening import Progress, Say, connect, experiment_name, silent, working
from pipeline.errors import StudyError, TrackingError
from pipeline.store.home import Home

if TYPE_CHECKING:
    from sweeps.keeping.doctor import Diagnosis
    from sweeps.keeping.packing import Packed
    from sweeps.keeping.removal import RemovalPlan
    from sweeps.keeping.unpacking import Unpacked
    from sweeps.sync import Synced


def rebuild_report(name: str, *, home: Home | None = None) -> Path:
    """The report of a study, an ablation or a run, by name (see `load_run`), written anew from stored results; the
    html's path."""
    from sweeps.finding import find

    home = home or Home.from_environment()
    found = find(home, name)
    if found.kind == "study":
        from sweeps.rebuilding import rebuild_report as rebuild_study

        return rebuild_study(home, found.name).report
    if found.kind == "ablation":
        from sweeps.ablation import rebuild_ablation
        from sweeps.study.ablation import stored_ablations

        return rebuild_ablation(home, stored_ablations(home)[found.name])
    from pipeline.reporting.run import write_run_report
    from pipeline.runs.outcome import load_outcome

    return write_run_report(load_outcome(home, found.key), home)


def sync(
    names: Iterable[str] = (),
    *,
    everything: bool = False,
    home: Home | None = None,
    experiment: str | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> "Synced":
    """Record in MLflow what it lacks: of everything in the home, or of these studies, ablations and runs.

    `everything` goes over runs that it has as finished, too. Nothing is trained, and nothing is recorded twice.
    """
    from sweeps.sync import sync as record

    home = home or Home.from_environment()
    home.check_writable()
    tracker = connect(home, experiment, say=say)
    return record(home, tracker, names=tuple(names), again=everything, say=say, progress=progress)


def home_status(home: Home | None = None) -> dict[str, Any]:
    """What is in a home, newest first: studies, ablations, runs; what is unfinished and what goes on with it, who is at
    work, damage, how often test was opened, bytes by place."""
    from pipeline.runs import listing
    from pipeline.runs.stored import damaged_runs, known_runs
    from pipeline.store.use import users
    from sweeps.listing import ablations, studies

    home = home or Home.from_environment()
    unreadable, found, left, known = damaged_runs(home), [], [], known_runs(home)
    try:
        found = studies(home)
    except StudyError as error:
        unreadable.append(str(error))
    try:
        left = listing.unfinished_runs(home)
    except TrackingError as error:
        unreadable.append(str(error))
    return {
        "home": str(home.root),
        "studies": found,
        "ablations": ablations(home),
        "runs": listing.opened_runs(home, known),
        "unfinished_runs": left,
        "at_work": users(home),
        "unreadable": unreadable,
        "set_aside": listing.set_aside(home),
        "damaged_at": str(home.store.root / "damaged"),
        "opened": listing.times_opened(home, known),
        "bytes": listing.disk_used(home),
    }


def remove(names: Iterable[str], *, dry_run: bool = True, home: Home | None = None) -> "RemovalPlan":
    """Studies, ablations, runs or comparisons, with what nobody else needs of them; a plan alone until `dry_run` is
    False. HomeError while a sweep or a run is at work in the home."""
    from sweeps.keeping.removal import carried_out, finish_pending, plan_removal

    home, names = home or Home.from_environment(), tuple(names)
    finish_pending(home)
    if dry_run:
        return plan_removal(home, names)
    return carried_out(home, lambda: plan_removal(home, names))


def collect(*, days: float = 7, dry_run: bool = True, home: Home | None = None) -> "RemovalPlan":
    """What no study, run or report of the home needs and is older than `days`; a plan alone until `dry_run` is
    False."""
    from sweeps.keeping.removal import carried_out, finish_pending, plan_collection

    home = home or Home.from_environment()
    finish_pending(home)
    if dry_run:
        return plan_collection(home, days=days)
    return carried_out(home, lambda: plan_collection(home, days=days))


def doctor(*, thoroughly: bool = False, home: Home | None = None) -> "Diagnosis":
    """What is wrong with the installation and the home, and what mends it; `thoroughly`: every stored hash, too."""
    from sweeps.keeping.doctor import diagnose

    return diagnose(home or Home.from_environment(), thoroughly=thoroughly)


def pack(name: str, out: Path, *, data: bool = True, home: Home | None = None) -> "Packed":
    """A study in one zip file: results, ledger, report, MLflow's runs; without `data`, less the prepared images."""
    from sweeps.keeping.packing import pack as write

    home = home or Home.from_environment()
    with working(home, f"pack {name}"):
        return write(home, name, out, data=data)


def unpack(path: Path, *, most_gb: float = 20, home: Home | None = None, say: Say = silent) -> "Unpacked":
    """Take a packed study into the home: it verifies, reports and continues there. PackError for a file that does not
    keep to the rules; nothing in it is run."""
    from sweeps.keeping.unpacking import unpack as take_in

    home = home or Home.from_environment()
    home.check_writable()
    with working(home, f"unpack {path.name}"):
        return take_in(
            home,
            path,
            connect=lambda: connect(home, say=say),
            experiment=experiment_name(),
            most_gb=most_gb,
            say=say,
        )
