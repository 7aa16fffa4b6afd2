"""docs/DESIGN.md is the map: its pictures are the code's, and every file and function that it names is there."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from pipeline.stages.graph import STAGES

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs" / "DESIGN.md").read_text(encoding="utf-8")
RECIPES = re.findall(
    r"^\*\*([A-Z][^*]*)\.\*\* (.*?)(?=\n\n)", DESIGN.split("## Recipes")[1].split("###")[0], re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def rooms():
    spec = importlib.util.spec_from_file_location("rooms", ROOT / "docs" / "rooms.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def picture(name: str) -> str:
    return DESIGN.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0]


def packages() -> set[Path]:
    found = (path for top in ("pipeline", "sweeps") for path in (ROOT / top).rglob("__init__.py"))
    return {path.parent.relative_to(ROOT) for path in found}


def cells_of(table: str) -> list[list[str]]:
    """The cells of the rows of a markdown table, less its head and rule."""
    rows = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in rows[2:]]


def touched(recipe: str) -> list[str]:
    """The files that a recipe touches."""
    return re.findall(r"`([^`]+)`", recipe.split("*Touches:*")[1])


def test_the_pictures_are_what_the_code_draws(rooms):
    assert rooms.drawn(DESIGN) == DESIGN, "run `make rooms`"


def test_the_floors_of_the_picture_are_the_layers_of_the_import_rules(rooms):
    shown: dict[int, list[str]] = {}
    for line in picture("rooms").splitlines()[1:-1]:
        number, name = line[:3].strip(), line[4:]
        if number:
            shown[int(number)] = []
        if re.match(r"(pipeline|sweeps|benchmarks)\S*$", name):
            shown[min(shown)].append(name.removesuffix("/").removesuffix(".py").replace("/", "."))
    floors = rooms.floors()
    assert list(shown.values()) == floors
    assert list(shown) == list(range(len(floors), 0, -1))


def test_every_package_is_in_the_picture_and_every_module_is_in_a_package_of_it():
    shown, folders = set(), {}
    for line in picture("rooms").splitlines():
        found = re.match(r"[ \d]{4}( *)(\S+)/$", line)
        if found:
            depth = len(found[1]) // 4
            folders[depth] = folders[depth - 1] / found[2] if depth else Path(found[2])
            shown.add(folders[depth])
    assert shown - {Path("benchmarks")} == packages() - {Path("pipeline")}
    alone = {p.relative_to(ROOT).as_posix() for p in (ROOT / "pipeline").glob("[!_]*.py")}  # not its two doors
    assert alone == set(re.findall(r"pipeline/\w+\.py", picture("rooms")))


def test_every_package_tells_its_story_in_two_lines_or_more():
    for package in packages():
        story = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))) or ""
        assert len([line for line in story.splitlines() if line]) >= 2, package


def test_the_table_of_stages_is_the_table_of_stages():
    cells = cells_of(picture("stages"))
    assert [(name, int(version)) for name, version, *_ in cells] == [(s.name, s.version) for s in STAGES]
    assert [row[-1] for row in cells] == [s.in_run_key for s in STAGES]
    made_of = {row[0]: row[2].split(", ") for row in cells}
    earlier: set[str] = set()
    for stage in STAGES:  # a key is made of sections, the split and stages that come before
        assert {part for part in made_of[stage.name] if not re.fullmatch(r"`\[\w+\]`|split", part)} <= earlier
        earlier.add(stage.name)


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`([\w/]+\.py:[\w.]+)`", DESIGN))))
def test_every_function_of_a_journey_or_a_recipe_is_where_it_says(named):
    file, _, name = named.partition(":")
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    for part in name.split("."):
        there = {
            target.id if isinstance(target, ast.Name) else getattr(target, "name", ""): node
            for node in body
            for target in getattr(node, "targets", [getattr(node, "target", node)])
        }
        assert part in there, f"{file} has no {part}"
        body = getattr(there[part], "body", [])


def test_every_path_of_the_document_exists_or_is_one_to_be_made_in_a_folder_that_does():
    for path in set(re.findall(r"`((?:pipeline|sweeps|docs|tests)/[\w/.]*)(?::[\w.]+)?`", DESIGN)):
        assert (ROOT / path.replace("X.py", "")).exists(), path
        assert not (ROOT / path).exists() or "X.py" not in path


def test_every_seam_has_a_recipe():
    assert [name for name, _ in RECIPES] == [
        "Metric",
        "Architecture",
        "Likelihood",
        "Data source",
        "Sampling prior",
        "Executor",
        "Sampler, or a rule that stops trials",
        "Report section",
        "Stage",
        "Command",
        "Daily setting",
    ]
    for name, recipe in RECIPES:
        assert len(recipe.splitlines()) <= 7, name
        for file in touched(recipe):
            assert re.fullmatch(r"[\w/]+\.(py|md)", file), file


def test_the_table_of_files_touched_counts_those_of_the_recipes():
    rows = cells_of(DESIGN.split("### Files touched")[1].split("##")[0])
    files = {name: touched(recipe) for name, recipe in RECIPES}
    recipe_of = {
        "metric": "Metric",
        "conv architecture": "Architecture",
        "image-folder source": "Data source",
        "Ray executor": "Executor",
        "sampling prior": "Sampling prior",
        "report section": "Report section",
        "command": "Command",
    }
    assert [row[0] for row in rows] == list(recipe_of)
    for new, before, after in rows:
        for told in (before, after):
            count, _, names = told.partition(": ")
            assert int(count) == len(names.split(", ")), told
        assert int(after.partition(":")[0]) == len(files[recipe_of[new]]), new
