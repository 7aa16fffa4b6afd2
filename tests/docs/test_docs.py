"""The documentation says what the code does: commands, metrics, paths and settings named in it exist."""

import re
from pathlib import Path

import pytest

from pipeline.config.sections import DATASETS
from pipeline.evaluation.catalog import METRICS, markdown_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands_in(text: str) -> list[str]:
    return re.findall(r"^cvae-pipe (.+?)(?:\s+#.*)?$", text, re.MULTILINE)


def test_the_readme_has_every_metric_with_its_unit_and_direction():
    assert markdown_table() in README, "run the table of the catalog into README.md between its two marks"


def test_the_readme_names_the_two_commands():
    assert "make demo" in README
    assert "make test" in README


@pytest.mark.parametrize("line", commands_in(README))
def test_every_command_line_of_the_readme_parses(line):
    from typer.main import get_command

    from pipeline.cli.main import app

    words = line.split()
    command = get_command(app).commands[words[0]]
    command.make_context(words[0], words[1:])  # raises on an unknown option or a wrong type


def test_the_readme_names_every_command_and_data_set():
    from typer.main import get_command

    from pipeline.cli.main import app

    for name in get_command(app).commands:
        assert f"cvae-pipe {name}" in README
    for name in DATASETS:
        assert f"`{name}`" in README


def test_relative_links_of_the_documents_lead_somewhere():
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "reports" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_metric_that_is_paired_names_items_that_exist():
    fitted = {f"{name}_expost" for name in ("kl", "neg_elbo", "accuracy", "coverage")}
    assert {m.paired for m in METRICS.values()} == {"", "bce", "kl", "neg_elbo", "accuracy", "coverage", *fitted}


def test_makefile_targets_named_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z-]+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
