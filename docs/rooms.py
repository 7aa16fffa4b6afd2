"""Draws the pictures of docs/DESIGN.md from the code: the rooms on their floors, and the table of stages.

    python docs/rooms.py     (`make rooms`; a test fails while the document shows something else)

A floor is a layer of the import rules in pyproject.toml, a room's line the first of its docstring.
"""

import ast
import dataclasses
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "DESIGN.md"


def floors() -> list[list[str]]:
    """The layers of the import rules from the top down, each with its packages and modules."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = [rule["layers"] for rule in rules if rule["type"] == "layers"]
    return [[room.strip() for room in layer.split("|")] for layer in layers]


def rooms() -> str:
    """Every package, and every module that lies in none, on its floor with what it knows."""
    lines = []
    for number, floor in zip(range(len(floors()), 0, -1), floors(), strict=True):
        for i, room in enumerate(floor):
            head = f"{number:>2}  " if i == 0 else "    "
            lines += [head + line if j == 0 else "    " + line for j, line in enumerate(_room(Path(*room.split("."))))]
    return "\n".join(["```", *lines, "```"])


def _room(path: Path, depth: int = 0) -> list[str]:
    """A package with the packages inside it, or a module; a line for its name and one for what it knows."""
    folder = ROOT / path
    indent = "    " * depth
    if not folder.is_dir():
        return [f"{indent}{path}.py", f"{indent}    {_first_line(folder.with_suffix('.py'))}"]
    lines = [f"{indent}{path if not depth else path.name}/", f"{indent}    {_first_line(folder / '__init__.py')}"]
    for inner in sorted(p.parent for p in folder.glob("*/__init__.py")):
        lines += _room(inner.relative_to(ROOT), depth + 1)
    return lines


def _first_line(module: Path) -> str:
    said = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert said, f"{module} does not say what it knows"
    return said.splitlines()[0]


def stages() -> str:
    """The table of stages: what each key is made of, found by what a full configuration on test gives it."""
    from pipeline.config.settings import SECTIONS, RunConfig
    from pipeline.stages.graph import STAGES

    config = RunConfig().with_settings({"sampling.prior": "mixture", "audit.enabled": True})
    known: dict[object, str] = {kind: f"`[{name}]`" for name, kind in SECTIONS.items()} | {"test": "split"}
    rows = ["| stage | version | its key is made of | built by | in a run's key |", "|---|---|---|---|---|"]
    for stage in STAGES:
        known |= dict.fromkeys((stage.key(config, "test"), stage.key(config)), stage.name)
        parts = stage.made_of(config, "test")
        made_of = ", ".join(known[type(part) if dataclasses.is_dataclass(part) else part] for part in parts)
        built_by = stage.built_by.replace("pipeline.stages.", "").replace(":", ".")
        rows.append(f"| {stage.name} | {stage.version} | {made_of} | `{built_by}` | {stage.in_run_key} |")
    return "\n".join(rows)


def drawn(document: str) -> str:
    """The document with its pictures as the code has them now."""
    for name, picture in (("rooms", rooms()), ("stages", stages())):
        before, begin, rest = document.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"\n<!-- /{name} -->")
        assert end, f"{DOCUMENT.name} has no place for {name}"
        document = before + begin + picture + end + after
    return document


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    DOCUMENT.write_text(drawn(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
