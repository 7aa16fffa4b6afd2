"""Options that commands share: the daily flags from their table, --config and --set, and those that read alike.

A command that is `configured` is written with one parameter `config: RunConfig`; people see every daily flag in its
place instead.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from pipeline.cli import completion
from pipeline.config.flags import DAILY, OPTIONS, OTHER, Flag
from pipeline.config.reading import Given, config_of, given_settings, read_toml
from pipeline.config.settings import RunConfig
from pipeline.environment import without_gpu
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from sweeps.execution.cluster import Cluster


@dataclass(frozen=True)
class Sets:
    """Marks an option of a configured command as the value of a setting, e.g. Sets("audit.enabled")."""

    setting: str


def checked_split(name: str) -> str:
    """val or test."""
    if name not in ("val", "test"):
        raise ConfigError(f"--split is {name!r}; it must be val or test")
    return name


def whole_numbers(option: str, text: str) -> list[int]:
    """10,30 as numbers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} is {text!r}; it must be whole numbers with commas between, e.g. 10,30") from None


Force = Annotated[bool, typer.Option("--force", help="Redo the stage even if it is up to date.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; progress goes to stderr.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, why, and how long it should take; write nothing.")
]
SplitName = Annotated[str, typer.Option("--split", help="val or test.", autocompletion=completion.splits)]
Audit = Annotated[
    bool | None,
    typer.Option("--audit", help="Add the secondary suite on test: minutes more.", rich_help_panel=OTHER),
    Sets("audit.enabled"),
]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor",
        help="auto, local (worker processes), population (stacked on one GPU) or ray (a cluster; docs/SCALE.md).",
        rich_help_panel=OTHER,
        autocompletion=completion.executors,
    ),
]
RAY = "On a Ray cluster (--executor ray)"
"""Panel of the help."""
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="The cluster's head; by default $RAY_ADDRESS, or what runs on this machine; local starts a new one.",
        rich_help_panel=RAY,
    ),
]
CpusPerTrial = Annotated[
    float | None, typer.Option("--cpus-per-trial", help="CPUs that a trial takes; by default 1.", rich_help_panel=RAY)
]
GpusPerTrial = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-trial",
        help="GPUs that a trial takes; by default 0. With .25, four train on one as a population.",
        rich_help_panel=RAY,
    ),
]
Experiment = Annotated[
    str | None,
    typer.Option(help="MLflow's experiment; by default $MLFLOW_EXPERIMENT_NAME, or cvae-pipe.", rich_help_panel=OTHER),
]
Workers = Annotated[int | None, typer.Option(help="Worker processes; by default one per core.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.", rich_help_panel=OTHER)]
SetEntries = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Any other setting; repeatable. docs/SETTINGS.md has them all.",
        rich_help_panel=OTHER,
        autocompletion=completion.set_entries,
    ),
]


def cluster_of(
    executor: str, address: str | None, cpus_per_trial: float | None, gpus_per_trial: float | None
) -> "Cluster | None":
    """The cluster that these options describe; ConfigError for one of them without --executor ray."""
    from sweeps.execution.cluster import Cluster

    given = {"address": address, "cpus_per_trial": cpus_per_trial, "gpus_per_trial": gpus_per_trial}
    given = {name: value for name, value in given.items() if value is not None}
    if executor == "ray":
        return Cluster(**given)  # type: ignore[arg-type]
    if given:
        option = {"address": "ray-address"}.get(name := next(iter(given)), name.replace("_", "-"))
        raise ConfigError(f"--{option} says something of a Ray cluster; add --executor ray")
    return None


def configured(
    *settings: str, leave_out: tuple[str, ...] = (), instead: Mapping[str, str] = MappingProxyType({})
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the daily flags (of these settings; all but `leave_out` where none are named), --config and --set.

    The command's parameter `config` is handed the RunConfig that they make; a parameter `given`, where it has one, what
    was given, by setting; a parameter `space_table` the [space] table of the TOML file. Its parameters marked with
    `Sets` go into the configuration instead. `instead` says, of a flag that is left out, what to type: one who gives it
    all the same is told.
    """
    offered = [f for f in DAILY if f.setting not in leave_out and (not settings or f.setting in settings)]
    hidden = [f for f in DAILY if f.setting in instead]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters
        shown: dict[str, Any] = {}
        for name, parameter in own.items():
            if name == "config":
                shown |= {f"daily_{i}": _flag_annotation(f) for i, f in enumerate(DAILY) if f in offered}
                shown |= {f"hidden_{i}": _flag_annotation(f, hidden=True) for i, f in enumerate(DAILY) if f in hidden}
                shown |= {"config_file": ConfigFile, "set_entries": SetEntries}
            elif name not in ("space_table", "given"):
                shown[name] = parameter.annotation
        sets = {f"daily_{i}": f.setting for i, f in enumerate(DAILY)}
        sets |= {name: mark.setting for name, kind in shown.items() for mark in get_args(kind) if type(mark) is Sets}

        @functools.wraps(command)
        def parsed(config_file: Path | None, set_entries: list[str] | None, **options: Any) -> None:
            refused = {f.setting: options.pop(f"hidden_{i}") for i, f in enumerate(DAILY) if f in hidden}
            for setting, value in refused.items():
                if value is not None:
                    raise ConfigError(instead[setting].format(option=OPTIONS[setting], value=value))
            tables = read_toml(config_file) if config_file else {}
            flags = {sets[name]: options.pop(name) for name in list(options) if name in sets}
            called = OPTIONS | {setting: f"--{name}" for name, setting in sets.items() if not name.startswith("daily_")}
            found = given_settings(tables, sets=set_entries or (), flags=flags, file=str(config_file), options=called)
            if "given" in own:
                options["given"] = found
            if "space_table" in own:
                options["space_table"] = _table(tables, "space")
            from pipeline.api import look

            command(config=_checked(config_of(found, look)), **options)

        parameters = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=own[name].default if name in own else None,
                annotation=annotation,
            )
            for name, annotation in shown.items()
        ]
        del parsed.__wrapped__  # Typer would look through it at the command's own
        parsed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        parsed.__annotations__ = dict(shown)
        return parsed

    return decorate


Settings = dict[str, Given]
"""What a command's parameter `given` holds."""


def _checked(config: RunConfig) -> RunConfig:
    """The configuration, where this machine can run it as far as can be told before torch is loaded."""
    if config.runtime.device == "cuda" and without_gpu():
        raise ConfigError("runtime.device is cuda, but this machine has no driver of a GPU; use --device cpu")
    return config


def _flag_annotation(flag: Flag, *, hidden: bool = False) -> Any:
    """A daily flag as Typer takes it: read as text, so that the setting's own check says what is wrong."""
    return Annotated[
        str | None,
        typer.Option(
            flag.option,
            help=f"{flag.help.rstrip('.')}. [default: {flag.default}]" if flag.default else flag.help,
            rich_help_panel=flag.panel,
            metavar={int: "<int>", float: "<float>"}.get(flag.kind, "<str>"),
            hidden=hidden,
            autocompletion=completion.of(flag.setting),
        ),
    ]


def _table(tables: dict[str, Any], name: str) -> dict[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} is {table!r}; it must be a table: [{name}]")
    return table
