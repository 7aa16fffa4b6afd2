"""What the terminal shows: within 80 columns and 24 lines, without colour, through a pipe, and on a real terminal."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
from helpers import quick_config
from PIL import Image
from rich.console import Console

from pipeline.cli.terminal import preview, waiting
from pipeline.cli.terminal.console import redraws
from pipeline.cli.terminal.preview import PREVIEW_ROWS
from pipeline.cli.terminal.progress import StageProgress
from pipeline.cli.terminal.sweep import SweepDisplay
from pipeline.cli.terminal.tables import print_metrics, print_table
from pipeline.grids import tile
from pipeline.reporting.blocks import Table
from sweeps.progress import SweepView, TrialView
from sweeps.study.config import StudyConfig
from sweeps.study.objective import chosen
from sweeps.study.space import DEFAULT_SPACE

CONFIG = StudyConfig("a [bold]name[/bold]", quick_config(), DEFAULT_SPACE, chosen((), "cvae", "standard"))
PARAMS = {"beta": 0.1234567, "latent_dim": 64, "learning_rate": 0.000123456}


def busy_view(trials: int = 40, running: int = 4) -> SweepView:
    """A sweep in full swing: one trial failed, one pruned, the last ones running; trial 3 is the best in everything."""
    sweep = SweepView(CONFIG, trials, workers=running)
    for n in range(trials):
        sweep.trials[n] = TrialView(n, PARAMS, "complete", 0, [0.9, 0.8, 123.456])
    sweep.trials[1] = TrialView(1, PARAMS, "pruned", 30, note="stopped at epoch 30 (rung 2)")
    sweep.trials[2] = TrialView(2, PARAMS, "failed", note="loss is not finite [/x]; " + "try a smaller rate " * 9)
    sweep.trials[3].values = [0.99, 0.95, 99.9]
    for n in range(trials - running, trials):
        sweep.trials[n] = TrialView(n, PARAMS, "running", 12)
    return sweep


def display(**console) -> tuple[SweepDisplay, io.StringIO]:
    shown = SweepDisplay(CONFIG)
    out = io.StringIO()
    shown._console = Console(file=out, highlight=False, **console)
    return shown, out


def test_the_live_table_fits_into_80_columns_and_24_lines_with_every_heading_whole():
    shown, out = display(width=80)
    shown._console.print(shown._render(busy_view()))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    headings = " ".join(lines[1:4]).split()
    assert {"trial", "state", "beta", "latent", "dim", "learning", "rate", "conditional", "accuracy"} <= set(headings)
    assert "0.9900*" in out.getvalue()  # the best trial stays in sight, however long ago it was
    assert [line.split()[0] for line in lines if " epoch 12 " in line] == ["36", "37", "38", "39"]
    assert "trial 2 failed: loss is not finite [/x]" in out.getvalue()
    assert "a [bold]name[/bold]" in out.getvalue()


def test_the_time_left_counts_no_judges_and_no_start(monkeypatch):
    sweep = SweepView(CONFIG, 10, finished_before=1, workers=2)
    sweep.trials |= {n: TrialView(n, PARAMS, "complete") for n in range(3)}  # both workers' first: nothing known yet
    assert sweep.eta_seconds is None
    sweep.first_finished = 1000.0  # after a quarter of an hour of judges
    assert sweep.eta_seconds is None
    monkeypatch.setattr("time.time", lambda: 1060.0)
    sweep.trials |= {n: TrialView(n, PARAMS, "complete") for n in (3, 4)}
    assert sweep.eta_seconds == 60 / 3 * 5


@pytest.mark.parametrize(
    ("width", "said"), [(80, "stopped at 30 "), (120, "stopped at epoch 30 (rung 2) ")], ids=["narrow", "wide"]
)
def test_the_live_table_says_where_a_trial_was_stopped(width, said):
    shown, out = display(width=width)
    shown._console.print(shown._render(busy_view(trials=6, running=1)))
    [line] = [line for line in out.getvalue().splitlines() if line.split()[:1] == ["1"]]
    assert said in line
    assert "…" not in line


def test_through_a_pipe_an_event_is_one_line_without_control_characters():
    shown, out = display(width=40)
    sweep = busy_view(trials=12)
    shown.update(sweep)
    shown.update(sweep)  # nothing new
    lines = out.getvalue().splitlines()
    assert [line[:8] for line in lines] == [f"trial {n:02d}" for n in range(8)]
    assert lines[1].startswith("trial 01 stopped at epoch 30 (rung 2): beta=0.123 ")
    assert re.search(r"trial 03 complete: beta=0.123 .* neg_elbo=99.9", lines[3])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out.getvalue())


def test_a_dumb_terminal_and_a_pipe_with_forced_colours_are_not_drawn_over():
    for environment in ({"TERM": "dumb"}, {"TERM": "xterm-256color", "FORCE_COLOR": "1"}):
        assert not redraws(Console(file=io.StringIO(), force_terminal=True, _environ=environment))


def test_a_character_of_the_preview_is_two_pixels():
    images = [np.arange(i, i + 30, dtype=np.uint8).reshape(5, 6) for i in (0, 100, 200)]
    text = preview.half_blocks(images, width=14, rows=20)  # two images of 6 and a gap each fit into 14: two lines
    rows = text.split("\n", allow_blank=False)
    assert [len(row) for row in rows] == [14] * 3 + [7] * 3
    console = Console(width=80, color_system="truecolor")
    read = np.zeros((12, 14), np.uint8)
    for i, row in enumerate(rows):
        for j in range(len(row)):
            style = row.get_style_at_offset(console, j)
            read[2 * i, j], read[2 * i + 1, j] = style.color.triplet.red, style.bgcolor.triplet.red
    np.testing.assert_array_equal(read[:5, :6], images[0])
    np.testing.assert_array_equal(read[:5, 7:13], images[1])
    np.testing.assert_array_equal(read[6:11, :6], images[2])


@pytest.mark.parametrize(("classes", "shape"), [(10, (8, 8)), (10, (28, 28)), (47, (28, 28))])
def test_the_preview_takes_the_first_image_of_each_class_and_fits(tmp_path, classes, shape):
    import torch

    x = torch.rand(classes * 3, shape[0] * shape[1], generator=torch.Generator().manual_seed(0))
    sheet = tile(x, columns=3, shape=(1, *shape))
    Image.fromarray(sheet.numpy()).save(tmp_path / "grid.png")
    images = preview.first_of_each_class(tmp_path / "grid.png", *shape)
    assert len(images) == classes
    if max(shape) <= preview.PIXELS:
        expected = (x[::3] * 255).round().to(torch.uint8).view(-1, *shape).numpy()
        np.testing.assert_array_equal(np.stack(images), expected)
    text = preview.half_blocks(images, width=80, rows=PREVIEW_ROWS)
    rows = text.plain.splitlines()
    assert len(rows) <= PREVIEW_ROWS
    assert max(map(len, rows)) <= 80


def test_a_bar_that_is_done_leaves_the_screen_to_the_next_one():
    """A bar that goes on would draw over the live table of a sweep."""
    program = (
        "import sys, time; from pipeline.cli.terminal.progress import StageProgress; p = StageProgress()\n"
        "p.update('judge A', 1, 2, ''); assert p._bar.live.is_started\n"
        "p.update('judge A', 2, 2, ''); assert not p._bar.live.is_started\n"
        "p.update('judge B', 1, 2, ''); assert p._bar.live.is_started\n"
        "p.__exit__(None, None, None); assert not p._bar.live.is_started\n"
    )
    assert "judge B" in on_a_terminal(program)


def test_a_pipe_is_told_what_has_begun_and_what_takes_long(capsys, monkeypatch):
    monkeypatch.setattr(waiting, "SILENT", 0.1)
    with StageProgress() as progress:
        for what in ("at once", "loading torch"):
            progress.update(what, 0, 1, "")
            time.sleep(0.5 * (what == "loading torch"))
            progress.update(what, 1, 1, "")
    progress._spoke -= 3
    for done in range(1, 60):
        progress.update("train", done, 60, "val bce 9")
    progress.update("train", 60, 60, "val bce 8")
    assert capsys.readouterr().err == "loading torch ...\ntrain: 1/60 val bce 9\ntrain: 60/60 val bce 8\n"


PROGRAM = """
import sys
import numpy as np
from PIL import Image
from types import SimpleNamespace
from pipeline.cli.terminal.preview import show_preview
from pipeline.cli.terminal.progress import StageProgress
grid = sys.argv[1]
Image.fromarray(np.tile(np.arange(89, dtype=np.uint8) * 2, (89, 1))).save(grid)
outcome = SimpleNamespace(picture=grid, facts={"shape": (1, 8, 8)})
with StageProgress() as progress:
    for done in range(1, 4):
        progress.update("train", done, 3, "val bce 99.90")
    progress.say("train: done " + "x" * 120)
show_preview(outcome)
"""


def on_a_terminal(program: str, *arguments: str, **environment: str) -> str:
    """What a program writes to a terminal of 80 x 24."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CI")}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=inherited | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        close_fds=True,
    )
    os.close(follower)
    written = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not part:
            break
        written += part
    os.close(leader)
    assert process.wait() == 0, written.decode()
    return written.decode()


def test_a_real_terminal_gets_a_bar_and_a_preview(tmp_path):
    written = on_a_terminal(PROGRAM, str(tmp_path / "grid.png"))
    assert "val bce 99.90" in written
    assert "\x1b[" in written
    assert "▀" in written
    blocks = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip("\r") for line in written.split("\n") if "▀" in line]
    assert len(blocks) <= PREVIEW_ROWS
    assert max(map(len, blocks)) <= 80


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colour_or_on_a_dumb_terminal_there_is_no_picture_and_no_colour(tmp_path, environment):
    written = on_a_terminal(PROGRAM, str(tmp_path / "grid.png"), **environment)
    assert "train: done" in written
    assert "▀" not in written
    assert not re.search(r"\x1b\[[0-9;]*[34]8;[25];", written)
    if environment.get("TERM") == "dumb":
        assert "\x1b" not in written


def test_brackets_in_a_table_are_text(capsys):
    print_metrics({"val/kl_expost": 1.0}, meanings=True)
    assert "E_q[log q(z|x,c) - log p(z|c)]" in " ".join(capsys.readouterr().out.split())
    print_table(Table(("class", "n"), (("[log]", "1"), ("[/]", "2"))))
    assert {"[log]", "[/]"} <= set(capsys.readouterr().out.split())
