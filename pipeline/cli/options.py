"""Options that commands share: the daily flags from their table, --config and --set, and those that read alike.

A command that is `configured` is written with one parameter `config: RunConfig`; people see every daily flag in its
place instead.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from pipeline.config.flags import DAILY, OTHER
from pipeline.config.reading import build_config, read_toml
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


Force = Annotated[bool, typer.Option("--force", help="Redo the stage even if it is up to date.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; progress goes to stderr.")]
SplitName = Annotated[str, typer.Option("--split", help="val or test.")]
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
Workers = Annotated[int | None, typer.Option(help="Worker processes; by default one per core.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.", rich_help_panel=OTHER)]
SetEntries = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any other setting; repeatable.", rich_help_panel=OTHER),
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


def configured(*settings: str, leave_out: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the daily flags (of these settings; all but `leave_out` where none are named), --config and --set.

    The command's parameter `config` is handed the RunConfig that they make; a parameter `space_table`, where it has
    one, the [space] table of the TOML file. Its parameters marked with `Sets` go into the configuration instead.
    """
    offered = [f for f in DAILY if f.setting not in leave_out and (not settings or f.setting in settings)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters
        shown: dict[str, Any] = {}
        for name, parameter in own.items():
            if name == "config":
                shown |= {f"daily_{i}": _flag_annotation(i) for i, f in enumerate(DAILY) if f in offered}
                shown |= {"config_file": ConfigFile, "set_entries": SetEntries}
            elif name != "space_table":
                shown[name] = parameter.annotation
        sets = {f"daily_{i}": f.setting for i, f in enumerate(DAILY)}
        sets |= {name: mark.setting for name, kind in shown.items() for mark in get_args(kind) if type(mark) is Sets}

        @functools.wraps(command)
        def parsed(config_file: Path | None, set_entries: list[str] | None, **given: Any) -> None:
            tables = read_toml(config_file) if config_file else {}
            flags = {sets[name]: given.pop(name) for name in list(given) if name in sets}
            if "space_table" in own:
                given["space_table"] = _table(tables, "space")
            command(config=build_config(tables, sets=set_entries or (), flags=flags), **given)

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


def _flag_annotation(index: int) -> Any:
    flag = DAILY[index]
    return Annotated[flag.kind | None, typer.Option(flag.option, help=flag.help, rich_help_panel=flag.panel)]


def _table(tables: dict[str, Any], name: str) -> dict[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} is {table!r}; it must be a table: [{name}]")
    return table


def examples(*lines: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Command lines that stand at the end of a command's --help."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        command.epilog = "**Examples**\n\n" + "\n\n".join(f"`{line}`" for line in lines)  # type: ignore[attr-defined]
        return command

    return decorate
