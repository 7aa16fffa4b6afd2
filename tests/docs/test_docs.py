"""The documentation says what the code does: commands, metrics, paths and settings named in it exist."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS
from pipeline.config.documented import documented
from pipeline.config.sections import DATASETS
from pipeline.evaluation import glossary
from pipeline.evaluation.catalog import METRICS, markdown_table
from pipeline.stages.graph import STAGES

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

    words = shlex.split(line)
    command = get_command(app).commands[words[0]]
    command.make_context(words[0], words[1:])  # raises on an unknown option or a wrong type


def test_no_table_of_a_document_loses_text_after_a_bar():
    """A bare bar in a cell begins another one, and what is beyond the last column is not shown."""
    read = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = document.read_text(encoding="utf-8")
        lines = text.splitlines()
        columns = 0
        for token in read.parse(text):
            if token.type == "thead_open":
                columns = len(re.findall(r"(?<!\\)\|", lines[token.map[0]]))
            elif token.type == "tr_open" and token.map:
                row = lines[token.map[0]]
                assert len(re.findall(r"(?<!\\)\|", row)) == columns, f"{document.name}: {row}"


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
    names = ("kl", "neg_elbo", "accuracy", "coverage", "coverage_relative", "vendi_ratio", "vendi_ratio_read")
    fitted = {f"{name}_expost" for name in names}
    assert {m.paired for m in METRICS.values()} == {"", "bce", *names, *fitted}


def test_makefile_targets_named_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z-]+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_settings_and_the_glossary_are_what_the_code_says():
    spec = importlib.util.spec_from_file_location("settings", ROOT / "docs" / "settings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "SETTINGS.md").read_text(encoding="utf-8") == module.page(), "run `make rooms`"
    assert (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8") == glossary.markdown(), "run `make rooms`"
    python = (ROOT / "docs" / "PYTHON.md").read_text(encoding="utf-8")
    assert python == module.with_envelope(python), "run `make rooms`"


def test_every_setting_has_a_sentence_and_every_stage_and_metric_two():
    assert all(one.sentence.endswith((".", "%")) and one.allowed for one in documented().values())
    assert documented()["judge.epochs"].allowed == "1 or more"
    assert documented()["gates.clean"].allowed == "a rate between 0 and 1"
    every = glossary.words()
    assert {stage.name for stage in STAGES if stage.name not in ("judge", "panel", "audit", "calibration")} <= {*every}
    for word, text in every.items():
        assert len(re.findall(r"[.!?](?= |$)", text)) >= 2, word
    assert glossary.entry_of("test/neg_elbo_expost ↓") == "neg_elbo_expost"
    assert glossary.entry_of("A blur_1_5") == "blur_1_5"
    assert glossary.entry_of("conditional_accuracy_judge3") == "conditional_accuracy"
    assert glossary.entry_of("Sandal") == glossary.entry_of("x") == ""


@pytest.mark.parametrize("name", [c.__name__ for c in COMMANDS])
def test_every_example_of_a_help_parses(name):
    from typer.main import get_command

    from pipeline.cli.main import app

    group = get_command(app)
    for line in next(c for c in COMMANDS if c.__name__ == name).examples:
        program, verb, *words = [w for w in shlex.split(line.partition(" > ")[0]) if not re.match("[A-Z_]+=", w)]
        assert program == "cvae-pipe"
        group.commands[verb].make_context(verb, words)


def test_examples_of_sweeps_do_not_collide_on_a_name():
    from pipeline.cli.sweeps import sweep

    lines = [*sweep.examples, *(f"cvae-pipe {line}" for line in commands_in(README) if line.startswith("sweep"))]
    begun = {}
    for line in lines:
        words = shlex.split(line)
        name = words[words.index("--name") + 1] if "--name" in words else "mnist"
        closed = {i + n for i, w in enumerate(words) if w in ("--prefer", "--final-seeds", "--judges") for n in (0, 1)}
        begun_with = [w for i, w in enumerate(words) if i not in closed]  # how it is closed may change
        settings = tuple(w for w in begun_with if w not in ("--name", name, "--trials") and not w.isdigit())
        if len(settings) > 2:  # one that goes on with a study says nothing else
            assert begun.setdefault(name, settings) == settings, name


def test_a_long_example_goes_on_after_a_backslash_and_is_the_same_command():
    from pipeline.cli.help import continued

    line = "cvae-pipe sweep --name strict --trials 40 --prefer 'accuracy>=.99' --prefer 'coverage_relative>=.95'"
    for width in (40, 60, 78, 200):
        shown = continued(line, width)
        assert all(len(part) <= width for part in shown)
        assert shlex.split("\n".join(shown).replace("\\\n", "")) == shlex.split(line)
