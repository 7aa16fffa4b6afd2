"""The entry point: the commands in order, and how they end: exit codes, errors as one line.

Nothing heavy is imported at the top, so that --help is instant.
"""

import atexit
import gc
import os
import sys
from typing import Annotated, Any

import typer

from pipeline.cli import (
    generation,
    keeping,
    listing,
    recipes,
    reports,
    runs,
    settings,
    stages,
    status,
    sweeps,
    ui,
)
from pipeline.cli.answers import error_document, print_json
from pipeline.cli.help import Command, Group
from pipeline.cli.interruptions import hearing_interruptions, ignore_interruptions, interruptions_first
from pipeline.cli.session import complain, refusals_in_one_line
from pipeline.cli.terminal.encoding import show_lookalikes
from pipeline.cli.terminal.volume import Volume, set_volume
from pipeline.errors import ConfigError, CvaePipeError

INTERRUPTED = 130
"""Exit code of an interruption: 128 + SIGINT, as shells have it."""
CLOSED_PIPE = 141
"""Exit code where nobody reads on: 128 + SIGPIPE."""
YOUNG = 10_000
"""Objects between two collections of garbage: what is imported is a million that stay, and none of it is garbage."""

COMMANDS = (
    *(stages.prepare, stages.train, stages.evaluate, stages.score, stages.audit),
    *(runs.run, sweeps.sweep, runs.baselines, sweeps.ablate),
    *(generation.generate, generation.export, generation.serve, recipes.denoise, recipes.anomalies),
    *(settings.config, status.status, listing.ls, reports.report, reports.verify, runs.compare, ui.ui, ui.sync),
    *(keeping.rm, keeping.gc, keeping.doctor, keeping.pack, keeping.unpack),
)
"""In the order of --help."""

app = typer.Typer(
    name="cvae-pipe",
    help="Experiment pipelines for conditional VAEs: train, score and compare, one configuration or a sweep of them.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    cls=Group,
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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors alone.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say everything.")] = False,
) -> None:
    """Every command is one of its own."""


for command in COMMANDS:
    app.command(cls=Command)(command)


def main() -> None:
    """A user's mistake is one line and the error's exit code, 2, an interruption 130, a bug of ours a traceback."""
    show_lookalikes(sys.stdout, sys.stderr)
    gc.set_threshold(YOUNG)
    atexit.unregister(_leave_garbage)  # once, however often this is called
    atexit.register(_leave_garbage)
    with hearing_interruptions():
        try:
            code = _run()
        finally:
            set_volume(Volume.USUAL)
        if code == INTERRUPTED:
            ignore_interruptions()  # the next is of somebody who has not seen yet that it ends
            complain("interrupted; what is finished is kept, and the same command goes on from there")
    sys.exit(code)


def _leave_garbage() -> None:
    """An interpreter that ends looks for garbage in all that torch and MLflow are, which takes a second, and frees what
    the system frees anyway. Triton's extension would list on stderr whatever is left."""
    if not any(name.startswith("triton._C") for name in sys.modules):
        gc.freeze()


def _run() -> int | None:
    """The command, to its end; its exit code."""
    try:
        volume, words = heard(sys.argv[1:])
        set_volume(volume)
        with interruptions_first(), refusals_in_one_line():
            return app(args=words, prog_name="cvae-pipe", standalone_mode=False)
    except CvaePipeError as error:
        return _refused(str(error), error.exit_code)
    except typer.TyperException as error:  # an unknown flag, a value of the wrong type
        if message := _wrong_value(error) or error.format_message():  # none where the help was shown, for no arguments
            return _refused(f"{message.rstrip('.')}; --help lists what is allowed", 2)
        return 2
    except KeyboardInterrupt:  # before Typer looked, or after
        return INTERRUPTED
    except BrokenPipeError:  # who read our output has seen enough, e.g. head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE


LOUD = {"-q": Volume.QUIET, "--quiet": Volume.QUIET, "-v": Volume.VERBOSE, "--verbose": Volume.VERBOSE}


def heard(words: list[str]) -> tuple[Volume, list[str]]:
    """How much to say, wherever among the words that stands, and the words without it; ConfigError for both."""
    until = words.index("--") if "--" in words else len(words)
    asked = {LOUD[word] for word in words[:until] if word in LOUD}
    if len(asked) > 1:
        raise ConfigError("--quiet and --verbose are opposites; give one of them")
    return asked.pop() if asked else Volume.USUAL, [w for i, w in enumerate(words) if i >= until or w not in LOUD]


NUMBERS = {"int_parsing": "a whole number", "int_from_float": "a whole number", "float_parsing": "a number"}
BOUNDS = {"greater_than_equal": "{ge:g} or more", "less_than_equal": "{le:g} or less"}
"""What pydantic, which reads options for Typer, calls a value that is none -> what it must be."""


def _wrong_value(error: typer.TyperException) -> str:
    """A value of the wrong type or beyond its bounds, said as settings say it; "" for another mistake."""
    found: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    names = getattr(getattr(error, "param", None), "opts", ())
    if not (found and names and (kind := found[0]["type"]) in NUMBERS | BOUNDS):
        return ""
    wanted = NUMBERS.get(kind) or BOUNDS[kind].format(**found[0]["ctx"])
    return f"{names[-1]} is {found[0]['input']!r}; it must be {wanted}"


def _refused(message: str, exit_code: int) -> int:
    """A mistake in one line, and as a document for who reads stdout as one; the exit code."""
    complain(f"error: {message}")
    if "--json" in sys.argv:
        print_json(error_document(message, exit_code))
    return exit_code
