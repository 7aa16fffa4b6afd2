"""The settings as documented: each with its sentence, its range, its default. Read from the source of the sections.

The sentence under a field and the check in `__post_init__` are the documentation; this reads them, so that `cvae-pipe
config` and docs/SETTINGS.md say what the code says.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pipeline.config import sections
from pipeline.config.flags import OPTIONS, as_word
from pipeline.config.reading import PRESETS
from pipeline.config.settings import SECTIONS, RunConfig, describe, setting_type

SEED_RANGE = "0 or more, below 2**63 - 1"


@dataclass(frozen=True)
class Documented:
    """One setting."""

    name: str
    """section.key."""
    sentence: str
    default: Any
    presets: dict[str, Any]
    """Other defaults, by data set."""
    allowed: str
    option: str
    """Its own flag; "" where it has none."""


@cache
def documented() -> dict[str, Documented]:
    """Every setting by its name, in the order of the sections."""
    tree = ast.parse(inspect.getsource(sections))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    defaults, found = RunConfig().flat(), {}
    for section, cls in SECTIONS.items():
        node = classes[cls.__name__]
        sentences, ranges = dict(_sentences(node)), dict(_ranges(node, section))
        for key in [name.partition(".")[2] for name in defaults if name.startswith(f"{section}.")]:
            name = f"{section}.{key}"
            presets = {data: preset[name] for data, preset in PRESETS.items() if name in preset}
            kind = setting_type(name)
            allowed = describe(kind) if kind is bool or name not in ranges else ranges[name]
            sentence = sentences.get(key, "")
            found[name] = Documented(name, sentence, defaults[name], presets, allowed, OPTIONS.get(name, ""))
    return found


def section_sentence(section: str) -> str:
    """What a section is about, and which stage reads it."""
    return inspect.cleandoc(SECTIONS[section].__doc__ or "").replace("\n", " ")


def shown(value: Any) -> str:
    """A value as documentation shows it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return as_word(value)


def _sentences(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Each field with the text under it."""
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            yield field.target.id, " ".join(str(ast.literal_eval(text.value)).split())


def _ranges(node: ast.ClassDef, section: str) -> Iterator[tuple[str, str]]:
    """Each checked setting with what is allowed."""
    functions = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    checks = next((part for part in functions if part.name == "__post_init__"), None)
    local = {
        statement.targets[0].id: statement.value
        for statement in (checks.body if checks else ())
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    for statement in checks.body if checks else ():
        if isinstance(statement, ast.If):  # what holds in some cases alone is no range
            continue
        loop = statement if isinstance(statement, ast.For) else None
        for call in (n for n in ast.walk(statement) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)):
            if call.func.id == "require":  # type: ignore[attr-defined]
                allowed = call.args[3]
                said = _value(local.get(allowed.id, allowed) if isinstance(allowed, ast.Name) else allowed)
                for name in _names(call.args[1], loop, node, section):
                    yield name, str(said)
            elif call.func.id == "require_seed":  # type: ignore[attr-defined]
                yield str(_value(call.args[1])), SEED_RANGE


def _names(argument: ast.expr, loop: ast.For | None, node: ast.ClassDef, section: str) -> list[str]:
    """The settings that a check is of: one, or each of those that a loop goes over."""
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    if loop is not None and isinstance(loop.iter, ast.Tuple):
        return [f"{section}.{name}" for name in ast.literal_eval(loop.iter)]
    return [f"{section}.{f.target.id}" for f in node.body if isinstance(f, ast.AnnAssign)]  # type: ignore[union-attr]


def _value(expression: ast.expr) -> Any:
    """A constant text, or one made of the module's own constants."""
    return eval(compile(ast.Expression(expression), "<range>", "eval"), dict(vars(sections)))
