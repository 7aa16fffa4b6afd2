"""How long a person waits before anything happens: --help, and a run that is in the store already."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("cvae-pipe"))


def seconds_of(*arguments: str, home: Path) -> float:
    """Wall time of one command."""
    began = time.perf_counter()
    subprocess.run(
        [COMMAND, *arguments],
        check=True,
        capture_output=True,
        env={**os.environ, "CVAE_PIPE_HOME": str(home)},
    )
    return time.perf_counter() - began


def measure(repeats: int) -> dict[str, Any]:
    """Seconds of each, `repeats` times, after one that warms the disk cache and the store."""
    quick = ("--set", "train.epochs=2", "--set", "judge.epochs=2", "--set", "judge.mlp_epochs=2")
    commands = {"--help": ("--help",), "cached run": ("run", "--dataset", "digits", *quick)}
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: [seconds_of(*arguments, home=Path(folder)) for _ in range(repeats + 1)][1:]
            for name, arguments in commands.items()
        }
    for name, seconds in found.items():
        print(f"{name}: {', '.join(f'{s:.2f}' for s in seconds)} s", flush=True)
    return found
