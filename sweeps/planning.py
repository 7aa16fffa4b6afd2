"""What a sweep or an ablation would do: trials or cells that are finished and left, and how long they should take.

Reads ledger, keys and manifests; writes nothing.
"""

from collections.abc import Iterable
from dataclasses import replace
from statistics import median

from pipeline.config.settings import RunConfig
from pipeline.runs.planning import Measured, Plan, Step, about, steps
from pipeline.runs.stored import is_whole
from pipeline.stages.graph import STAGES, run_key
from pipeline.store.home import Home
from sweeps.study.ablation import AblationConfig
from sweeps.study.closing import Closing
from sweeps.study.config import StudyConfig
from sweeps.study.reading import FINISHED, stored_studies


def plan_sweep(home: Home, study: StudyConfig, *, trials: int, closing: Closing, workers: int) -> Plan:
    """Trials that are left, and the finals; with what trials of this study, or runs like them, have taken here."""
    measured = Measured(home)
    begun = stored_studies(home).get(study.name)
    held = begun.trials if begun else ()
    finished = sum(t.state in FINISHED for t in held)
    left = max(0, trials - finished)
    own = _whole_trial(measured, study.base, "val")
    spent = [t.seconds for t in held if t.state in FINISHED and t.seconds]
    each = median(spent) if spent else own.seconds
    planned = list(_shared(measured, study.base, ("val", "test") if closing.final_seeds else ("val",)))
    by = "as trials of this study took" if spent else "as a run like them took; stopped early, most take less"
    if left:
        reason = f"{finished} finished, {trials} asked"
        if each is not None:
            reason += f"; {about(each)} each, {by}"
        step = Step(f"{left} trial{'s' if left > 1 else ''}", False, reason, None, (own.bytes or 0) * left or None)
        planned.append(step if each is None else replace(step, seconds=each * left))
    else:
        planned.append(Step(f"{finished} trials", True))
    notes = [f"searched: {', '.join(f'{d.name} {d.describe()}' for d in study.space)}"]
    if closing.final_seeds:
        notes.append(
            f"then the choice among candidates: {closing.final_seeds} trainings for each of at most three, one of them "
            f"opened on test, all read by judges of {closing.judges} {'seeds' if closing.judges > 1 else 'seed'}"
            + (f"; {about(own.seconds)} a training" if own.seconds is not None else "")
        )
    counts = {"finished": finished, "left": left}
    return Plan(f"sweep {study.name}", tuple(planned), tuple(notes), min(workers, study.window), counts)


def plan_ablation(home: Home, grid: AblationConfig, *, workers: int) -> Plan:
    """Cells that are left; those that are there, perhaps from another grid or a run, are not done again."""
    measured = Measured(home)
    cells = grid.cells()
    there = {name: is_whole(home, run_key(cell, "test")) for name, cell in cells.items()}
    planned = list(_shared(measured, grid.base, ("test",)))
    for name, cell in cells.items():
        planned.append(Step(name, True) if there[name] else replace(_whole_trial(measured, cell, "test"), title=name))
    counts = {"finished": sum(there.values()), "left": len(cells) - sum(there.values())}
    return Plan(f"ablation {grid.name}", tuple(planned), (), workers, counts)


def _shared(measured: Measured, config: RunConfig, splits: Iterable[str]) -> Iterable[Step]:
    """What belongs to the data set: images, judges, reference statistics."""
    shared = {stage.name for stage in STAGES if stage.shared}
    told = set()
    for split in splits:
        for step in steps(measured, config, split):
            if step.title.partition(" ")[0] in shared and step.title not in told:
                told.add(step.title)
                yield step


def _whole_trial(measured: Measured, config: RunConfig, split: str) -> Step:
    """One training, opened and scored, as one step."""
    shared = {stage.name for stage in STAGES if stage.shared}
    parts = [s for s in steps(measured, config, split, force=True) if s.title.partition(" ")[0] not in shared]
    times = [part.seconds for part in parts]
    total = None if None in times else sum(t for t in times if t is not None)
    return Step("", False, "no result yet", total, sum(part.bytes or 0 for part in parts) or None)
