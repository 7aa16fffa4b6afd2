"""How long a person waits before anything happens: help, a wrong value, what is finished already; beside bare imports.

`import typer` is what any command costs, `import torch` what one costs that computes: a wrong value should be near the
first, and a run that is in the store below the second. Run it alone: a busy machine changes all of them.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("cvae-pipe"))
QUICK = ("--dataset", "digits", "--set", "train.epochs=2", "--set", "judge.epochs=2", "--set", "judge.mlp_epochs=2")
SWEEP = ("sweep", "--name", "waited-for", "--trials")
MADE = (("run", *QUICK, "--name", "first"), ("run", *QUICK, "--seed", "1"))
"""What the home holds, besides a sweep, before the clock runs."""
WAITED: dict[str, tuple[str, ...]] = {
    "--help": ("--help",),
    "a wrong value": ("run", "--beta", "-1"),
    "an unknown run": ("report", "nope"),
    "an up-to-date run": ("run", *QUICK),
    "ls": ("ls",),
    "status": ("status",),
    "compare": ("compare", "first", "@last"),
    "verify": ("verify", "first"),
    "ui --links": ("ui", "--links"),
    "report": ("report", "first"),
}


def seconds_of(*words: str, home: Path, check: bool = True) -> tuple[float, float]:
    """Seconds of one process: on the clock, and of the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(words, capture_output=True, env={**os.environ, "CVAE_PIPE_HOME": str(home)}, text=True)
    taken, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert not check or done.returncode in (0, 2), done.stderr
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(home: Path, repeats: int, trials: int) -> dict[str, Any]:
    """Seconds of each, `repeats` times in turn, after a round that warms the disk cache and the store."""
    sweep = (*SWEEP, str(trials))
    waited = WAITED | {f"a finished sweep of {trials}": sweep, "report of a sweep": ("report", sweep[2])}
    imports = {f"import {name}": (sys.executable, "-c", f"import {name}") for name in ("typer", "torch")}
    commands = imports | {name: (COMMAND, *words) for name, words in waited.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for made in (*MADE, (*sweep, *QUICK, "--final-seeds", "1")):
        seconds_of(COMMAND, *made, home=home)
    for _ in range(repeats + 1):
        for name, words in commands.items():
            found[name].append(seconds_of(*words, home=home))
    found = {name: seconds[1:] for name, seconds in found.items()}
    for name, seconds in found.items():
        wall, cpu = (min(kind) for kind in zip(*seconds, strict=True))
        to = {bare: cpu / min(of for _, of in found[bare]) for bare in imports}
        ratios = ", ".join(f"{ratio:.1f} x {bare}" for bare, ratio in to.items() if bare != name)
        print(f"{name}: {wall:.2f} s, {cpu:.2f} s of processor; {ratios}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=40, help="Of the finished sweep.")
    parser.add_argument("--home", type=Path, help="Keep the home there, and find it there.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(given.home or Path(folder), given.repeats, given.trials)


if __name__ == "__main__":
    main()
