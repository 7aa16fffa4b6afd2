"""Help as it is read and pasted: every name whole, placeholders as they stand, examples that can be copied.

Typer's own boxes cut names where a terminal is narrow and take <name> for markup; this is plain text for any width.
"""

import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup

NARROW, WIDE = 40, 110
"""Columns that help takes at least and at most."""
NAMES = 26
"""Columns for an option with its placeholder; where a longer one stands, its help begins in the next line."""
STACKED = 66
"""Columns below which the help of every option is in the next line."""
EVERYWHERE = (
    ("-q, --quiet", "Results and errors alone."),
    ("-v, --verbose", "Keys and places of results, times, what libraries log and warn of, too."),
    ("-h, --help", "Show this message and exit."),
)
"""Options of every command, before its name or after it."""


def examples(*lines: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Command lines that stand at the end of a command's --help; a long one goes on after a backslash, so that what is
    copied from a narrow terminal is the command still."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        command.examples = lines  # type: ignore[attr-defined]
        return command

    return decorate


class Command(TyperCommand):
    """A command whose help is plain and ends with its examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # Typer's own contexts
        width = _width()
        _print_usage(self, ctx, width)
        _print_panels(self, ctx, width)
        lines = getattr(self.callback, "examples", ())
        if lines:
            print(_title("Examples"))
            for line in lines:
                print("\n".join(f"  {part}" for part in continued(line, width - 2)))


class Group(TyperGroup):
    """All commands, a sentence each."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        width = _width()
        _print_usage(self, ctx, width)
        commands = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        _print_rows(
            "Commands", [(c.name or "", (c.help or "").split("\n\n")[0]) for c in commands if c], width, names=12
        )
        _print_panels(self, ctx, width)
        if self.epilog:
            print("\n".join(textwrap.wrap(self.epilog.replace("`", ""), width)))


def continued(line: str, width: int) -> list[str]:
    """A command in lines of at most that many characters, where its words allow it; all but the last with a backslash
    at their end. An option stays with its value."""
    lines, room = [""], width - 2
    for word in re.findall(r"--[\w-]+ (?:'[^']*'|[^-\s]\S*)|(?:'[^']*'|\S)+", line):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append(f"    {word}")
        else:
            lines[-1] = f"{lines[-1]} {word}".lstrip() if not lines[-1].startswith("    ") else f"{lines[-1]} {word}"
    return [f"{part} \\" for part in lines[:-1]] + lines[-1:]


def _width() -> int:
    return min(max(NARROW, shutil.get_terminal_size().columns), WIDE)


def _title(text: str) -> str:
    """A heading, bold where a terminal shows that."""
    from os import environ

    shows = sys.stdout.isatty() and environ.get("TERM") != "dumb" and not environ.get("NO_COLOR")
    return f"\033[1m{text}\033[0m" if shows else text


def _print_usage(command: Any, ctx: Any, width: int) -> None:
    pieces = (re.sub(r"\{(\w+)\}", lambda name: name[1].upper(), piece) for piece in command.collect_usage_pieces(ctx))
    print(f"{_title('Usage:')} {' '.join([ctx.command_path, *pieces])}\n")
    for paragraph in (command.help or "").split("\n\n"):
        print("\n".join(textwrap.wrap(" ".join(paragraph.replace("`", "").split()), width)) + "\n")


def _print_panels(command: Any, ctx: Any, width: int) -> None:
    """The parameters by panel, arguments first, those of every command last."""
    panels: dict[str, list[tuple[str, str]]] = {}
    shared = {name for names, _ in EVERYWHERE for name in names.split(", ")}
    for param in sorted(command.get_params(ctx), key=lambda param: not isinstance(param, TyperArgument)):
        if getattr(param, "hidden", False) or shared & set(param.opts):
            continue
        usual = "Arguments" if isinstance(param, TyperArgument) else "Options"
        panels.setdefault(getattr(param, "rich_help_panel", None) or usual, []).append(_row(param, ctx))
    for title in sorted(
        panels, key=lambda title: ("Arguments", "Options").index(title) if title in ("Arguments", "Options") else 2
    ):
        _print_rows(title, panels[title], width)
    _print_rows("Every command", list(EVERYWHERE), width)


def _row(param: Any, ctx: Any) -> tuple[str, str]:
    """How a parameter is written, and what it does."""
    if isinstance(param, TyperArgument):
        name = param.display_name_raw.upper() + ("..." if param.nargs != 1 else "")
    else:
        name = ", ".join([*sorted(param.opts, key=len), *param.secondary_opts])
        placeholder = param.display_type_rich(ctx=ctx)
        if placeholder and not param.is_flag:
            each = re.sub(r"^<list.(.*).>$", r"<\1>", placeholder)  # of an option that is repeatable
            name += f" {each.replace(' range', '')}"
    said = [param.help or ""]
    default = param._extract_default_help_str(ctx=ctx)
    if isinstance(param.show_default, str) or (default is not None and param.show_default):
        text = param._get_default_string(
            ctx=ctx, show_default_is_str=isinstance(param.show_default, str), default_value=default
        )
        if text:
            said.append(f"[default: {text}]")
    if param.required:
        said.append("[required]")
    return name, " ".join(part for part in said if part)


def _print_rows(title: str, rows: list[tuple[str, str]], width: int, *, names: int = NAMES) -> None:
    print(_title(title))
    for line in _rows(rows, width, names):
        print(line)
    print()


def _rows(rows: list[tuple[str, str]], width: int, names: int) -> Iterator[str]:
    stacked = width < STACKED and names == NAMES
    indent = 6 if stacked else names + 2
    for name, said in rows:
        help_ = textwrap.wrap(said, width - indent, break_long_words=False, break_on_hyphens=False) or [""]
        if stacked or len(name) > names - 2:
            yield f"  {name}"
        else:
            yield f"  {name:<{names - 2}}  {help_.pop(0)}".rstrip()
        yield from (f"{'':<{indent}}{line}" for line in help_ if line)
