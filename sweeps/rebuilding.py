"""The report of a study anew. Loads nothing that trains."""

from pipeline.errors import StudyError
from pipeline.store.home import Home
from sweeps.analysis.summary import SweepResult, write_best
from sweeps.reporting.study import write_sweep_report
from sweeps.stored import stored_summary


def rebuild_report(home: Home, name: str) -> SweepResult:
    """The report of a study anew, from stored results alone."""
    summary = stored_summary(home, name)
    complete = summary.frame.loc[summary.frame["state"] == "complete", "number"]
    lacking = [number for number in complete if number not in summary.outcomes]
    if lacking:
        raise StudyError(
            f"study {name} has no whole result for {len(lacking)} of its trials, e.g. trial {lacking[0]}; its report "
            "stays as it is; repeat the sweep, which trains them anew"
        )
    folder = home.reports / name
    folder.mkdir(parents=True, exist_ok=True)
    best = write_best(summary, folder)
    return SweepResult(summary, write_sweep_report(home, summary, folder), best, "")
