"""How long house-keeping takes in a home of a hundred runs: status, doctor, gc, rm, pack, unpack. Run it alone.

`python -m benchmarks.keeping` makes such a home of one real run copied under a hundred keys - sixty are trials of a
study, forty runs of their own with reports - and times each command as a person would, in a process of its own.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.growth import TINY
from benchmarks.startup import COMMAND
from pipeline.config.reading import build_config
from pipeline.config.settings import RunConfig
from pipeline.experiments.record import run_spec
from pipeline.reporting.run import run_report_path, write_run_report
from pipeline.runs.execute import execute, set_up_process
from pipeline.runs.outcome import Outcome
from pipeline.runs.stored import run_name
from pipeline.stages.context import Context
from pipeline.stages.graph import STAGES, run_key
from pipeline.store.files import read_json, write_json
from pipeline.store.home import Home
from pipeline.store.store import MANIFEST
from pipeline.tracking import MlflowTracker
from sweeps.driver import parent_spec
from sweeps.study.config import StudyConfig
from sweeps.study.ledger import Ledger
from sweeps.study.objective import chosen, values
from sweeps.study.space import DEFAULT_SPACE

STUDY = "many"
ONCE = (("rm", STUDY, "--yes"), ("unpack", "many.zip"))
"""The first takes the study away, the second brings it back."""
COMMANDS = (("status",), ("doctor",), ("gc",), ("rm", STUDY), ("pack", STUDY, "many.zip"), *ONCE)
"""In turn."""
OWN = 0.4
"""Share of the runs that are no trials."""
ALL = {stage.name: stage for stage in STAGES}


def fill(home: Home, runs: int) -> None:
    """A home of so many runs."""
    set_up_process(1)
    base = build_config(TINY)
    ctx = Context(base, home)
    pattern = {split: execute(ctx, split) for split in ("val", "test")}
    report = write_run_report(pattern["test"], home).parent
    own = int(runs * OWN)
    study = StudyConfig(STUDY, base, DEFAULT_SPACE, chosen((), "cvae", base.sampling.prior))
    tracker = MlflowTracker.connect(home, "cvae-pipe", on_warning=print)
    draw = random.Random(0)
    ledger = Ledger(home, study)
    try:
        parent = tracker.open_run(parent_spec(ctx, study), reopen=True)
        for n in range(runs - own):
            params = {d.name: d.typed(draw.uniform(*map(float, d.ends))) for d in study.space}
            trial = ledger.begin(params)
            config = study.trial_config(n, _fixed(params))
            key = copied(home, pattern["val"], config)
            run = tracker.open_run(run_spec(Context(config, home), "val", name=f"trial {n:02d}", parent_id=parent.id))
            run.log_metrics(pattern["val"].metrics)
            run.close("FINISHED")
            ledger.note(trial, run_key=key, run_id=run.id, metrics=pattern["val"].metrics)
            ledger.tell(trial, values(study.objectives, pattern["val"].metrics))
        parent.close("FINISHED")
    finally:
        ledger.close()
    for i in range(own - 1):
        config = base.with_settings({"train.seed": 1000 + i})
        key = copied(home, pattern["test"], config)
        shutil.copytree(report, home.reports / run_name(config, key))
        tracked = tracker.open_run(run_spec(Context(config, home), "test"))
        tracked.log_metrics(pattern["test"].metrics)
        tracked.log_file(run_report_path(pattern["test"], home))
        tracked.close("FINISHED")


def _fixed(params: dict[str, Any]) -> Any:
    from optuna.trial import FixedTrial

    return FixedTrial(params)


def copied(home: Home, pattern: Outcome, config: RunConfig) -> str:
    """The pattern's stored results under the keys of `config`, each with a manifest of its own; the run's key."""
    store, split = home.store, pattern.split
    stages: dict[str, str] = read_json(store.path("run", pattern.key) / "run.json")["stages"]
    if store.path("prior", prior := ALL["prior"].key(pattern.config, split)).exists():
        stages = stages | {"prior": prior}
    own = {name: ALL[name].key(config, split) for name in stages}
    for name, old in stages.items():
        store.build(name, own[name], lambda work, name=name, old=old: _files(store.path(name, old), work))  # type: ignore[misc]
    key = run_key(config, split)

    def make(work: Path) -> None:
        stored = read_json(store.path("run", pattern.key) / "run.json")
        write_json(work / "run.json", stored | {"stages": {name: own[name] for name in stored["stages"]}})
        write_json(work / "config.json", config.flat())

    store.build("run", key, make)
    return key


def _files(source: Path, work: Path) -> None:
    shutil.copytree(source, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))


def timed(home: Home, arguments: tuple[str, ...]) -> dict[str, float]:
    """Wall and processor seconds of a command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=home.root,
        capture_output=True,
        text=True,
        env={**os.environ, "CVAE_PIPE_HOME": str(home.root)},
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def measure(runs: int, repeats: int) -> dict[str, Any]:
    """Seconds of each command, the least of `repeats`; what removes is timed once."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), Path(folder) / "data")
        fill(home, runs)
        found: dict[str, Any] = {"runs": len(list(home.store.keys("run")))}
        for arguments in COMMANDS:
            times = [timed(home, arguments) for _ in range(1 if arguments in ONCE else repeats)]
            best = min(times, key=lambda one: one["wall"])
            found[" ".join(arguments)] = best
            print(f"{' '.join(arguments)}: {best['wall']:.2f} s, {best['cpu']:.2f} s of processor", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = measure(given.runs, given.repeats)
    if given.out:
        given.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
