"""How long a person waits before anything happens: help, a wrong value, what is finished already; beside bare imports.

`import typer` is what any command costs, `import torch` what one costs that computes: a wrong value should be near the
first, and a run that is in the store below the second. Run it alone: seconds of a busy machine say nothing.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("cvae-pipe"))
QUICK = ("--dataset", "digits", "--set", "train.epochs=2", "--set", "judge.epochs=2", "--set", "judge.mlp_epochs=2")
SWEEP = ("sweep", "--name", "waited-for", "--trials", "8")
MADE = (("run", *QUICK, "--name", "first"), ("run", *QUICK, "--seed", "1"), (*SWEEP, *QUICK, "--final-seeds", "1"))
"""What the home holds before the clock runs."""
WAITED: dict[str, tuple[str, ...]] = {
    "--help": ("--help",),
    "a wrong value": ("run", "--beta", "-1"),
    "an unknown run": ("report", "nope"),
    "an up-to-date run": ("run", *QUICK),
    "a finished sweep": SWEEP,
    "ls": ("ls",),
    "status": ("status",),
    "compare": ("compare", "first", "@last"),
    "verify": ("verify", "first"),
    "report": ("report", "first"),
}


def seconds_of(*words: str, home: Path, check: bool = True) -> float:
    """Wall time of one process."""
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, env={**os.environ, "CVAE_PIPE_HOME": str(home)}, text=True)
    taken = time.perf_counter() - began
    assert not check or done.returncode in (0, 2), done.stderr
    return taken


def measure(repeats: int) -> dict[str, Any]:
    """Seconds of each, `repeats` times in turn, after a round that warms the disk cache and the store."""
    imports = {f"import {name}": (sys.executable, "-c", f"import {name}") for name in ("typer", "torch")}
    commands = imports | {name: (COMMAND, *words) for name, words in WAITED.items()}
    found: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for made in MADE:
            seconds_of(COMMAND, *made, home=Path(folder))
        for _ in range(repeats + 1):
            for name, words in commands.items():
                found[name].append(seconds_of(*words, home=Path(folder)))
    found = {name: seconds[1:] for name, seconds in found.items()}
    for name, seconds in found.items():
        to = {bare: min(seconds) / min(found[bare]) for bare in imports}
        ratios = ", ".join(f"{ratio:.1f} x {bare}" for bare, ratio in to.items() if bare != name)
        print(f"{name}: {', '.join(f'{s:.2f}' for s in seconds)} s; least: {ratios}", flush=True)
    return found


if __name__ == "__main__":
    measure(3)
