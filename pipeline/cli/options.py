"""Options that commands share: the daily flags from their table, --config and --set, and those that read alike.

A command that is `configured` is written with one parameter `config: RunConfig`; people see every daily flag in its
place instead.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from pipeline.config.flags import DAILY, OTHER
from pipeline.config.reading import build_config, read_toml
from pipeline.errors import ConfigError


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
SplitName = Annotated[str, typer.Option("--split", help="val or test.")]
Audit = Annotated[
    bool | None,
    typer.Option("--audit", help="Add the secondary suite on test: minutes more.", rich_help_panel=OTHER),
    Sets("audit.enabled"),
]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor", help="auto, local (worker processes) or population (stacked on one GPU).", rich_help_panel=OTHER
    ),
]
Workers = Annotated[int | None, typer.Option(help="Worker processes; by default one per core.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.", rich_help_panel=OTHER)]
SetEntries = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any other setting; repeatable.", rich_help_panel=OTHER),
]


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
