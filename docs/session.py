"""Records the first ten minutes with the program, as they are: docs/FIRST_MINUTES.md.

`python docs/session.py` runs the commands one after the other in an empty home and writes what they print.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_name("FIRST_MINUTES.md")
HEAD = """# The first ten minutes

What a terminal shows, stdout and stderr as they come, on scikit-learn's digits, in an empty folder, on a CPU; recorded
by `python docs/session.py`. On a terminal there are bars, colours and a live table in place of the lines of progress.
Times are those of a machine that was doing other things.
"""
STEPS = (
    ("What runs here.", "cvae-pipe --version"),
    ("One model: data, judges, training, scores, a report.", "cvae-pipe run --dataset digits"),
    ("The same once more: everything is there.", "cvae-pipe run --dataset digits"),
    ("What another beta takes, then for real.", "cvae-pipe run --dataset digits --beta 4 --dry-run"),
    ("", "cvae-pipe run --dataset digits --beta 4"),
    ("Is it better? As pairs, over the same noise.", "cvae-pipe compare digits-cvae digits-cvae-beta4"),
    ("What is there.", "cvae-pipe ls"),
    ("Which settings are best?", "cvae-pipe sweep --dataset digits --trials 16 --name demo"),
    ("Images of the choice.", "cvae-pipe generate --run demo --label 8 --n 16 --out eights.png"),
    ("Every number of the report, derived from the store again.", "cvae-pipe verify reports/demo"),
    ("Where to look in MLflow; `cvae-pipe ui` starts it.", "cvae-pipe ui --links"),
    ("A mistake is one line.", "cvae-pipe run --dataset digit"),
)  # fmt: skip


def said(command: str, home: Path) -> str:
    """What a command prints, as a terminal of 100 columns would show it."""
    words = [sys.executable, "-m", "pipeline", *shlex.split(command)[1:]]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": str(PAGE.parents[1])}
    environment.pop("CVAE_PIPE_HOME", None)
    done = subprocess.run(
        words, cwd=home, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    text = re.sub(r", commit [0-9a-f]+( with changes)?", "", done.stdout.replace(str(home), "/home/me/first"))
    lines = [line.rstrip() for line in text.splitlines()]
    again = [line for i, line in enumerate(lines) if not i or line != lines[i - 1]]  # a bar's line, said twice
    return "\n".join(again)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        parts = [HEAD]
        for why, command in STEPS:
            print(command, flush=True)
            parts.append(f"{why}\n\n```\n$ {command}\n{said(command, Path(folder))}\n```\n".lstrip())
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
