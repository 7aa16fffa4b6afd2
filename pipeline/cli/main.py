"""The entry point: the commands in order, and how they end: exit codes, errors as one line.

Nothing heavy is imported at the top, so that --help is instant.
"""

import signal
import sys
from typing import Annotated

import typer

from pipeline.cli import generation, recipes, reports, runs, stages, status, sweeps, ui
from pipeline.cli.session import say
from pipeline.errors import CvaePipeError

INTERRUPTED = 130
"""Exit code of an interruption: 128 + SIGINT, as shells have it."""

COMMANDS = (
    *(stages.prepare, stages.train, stages.evaluate, stages.score, stages.audit),
    *(runs.run, sweeps.sweep, runs.baselines, sweeps.ablate),
    *(generation.generate, generation.export, generation.serve, recipes.denoise, recipes.anomalies),
    *(status.status, reports.report, reports.verify, runs.compare, ui.ui),
)
"""In the order of --help."""

app = typer.Typer(
    name="cvae-pipe",
    help="Experiment pipelines for conditional VAEs: train, score and compare, one configuration or a sweep of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `cvae-pipe run --dataset digits`, which needs no download.",
)


def _say_versions(asked: bool) -> None:
    if asked:
        from pipeline.environment import versions

        print(versions())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_versions, is_eager=True, help="Say what runs here, and exit.")
    ] = False,
) -> None:
    """Every command is one of its own."""


for command in COMMANDS:
    app.command(epilog=command.epilog)(command)  # type: ignore[attr-defined]


def main() -> None:
    """A user's mistake is one line and the error's exit code, 2, an interruption 130, a bug of ours a traceback."""
    for polite in (signal.SIGTERM, signal.SIGHUP):  # the latter of a closed terminal; nohup ignores it, as asked
        if signal.getsignal(polite) is not signal.SIG_IGN:
            signal.signal(polite, _terminate)
    try:
        code = app(standalone_mode=False)
    except CvaePipeError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except typer.TyperException as error:  # an unknown flag, a value of the wrong type
        if message := error.format_message():  # none where the help was shown, for want of arguments
            say(f"error: {message.rstrip('.')}; --help lists what is allowed")
        sys.exit(2)
    except KeyboardInterrupt:  # before Typer looked
        code = INTERRUPTED
    if code == INTERRUPTED:
        say("interrupted; what is finished is kept, and the same command goes on from there")
    sys.exit(code)


def _terminate(signum: int, frame: object) -> None:
    """A polite termination ends like Ctrl-C: runs are closed with their true status."""
    raise KeyboardInterrupt
