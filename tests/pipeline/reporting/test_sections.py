"""Sections of a run's report: one file each, found by its name, and all of them in the report."""

import importlib
import inspect
import pkgutil
from types import SimpleNamespace

import pytest
import torch

from pipeline.grids import save_grid
from pipeline.reporting import run, sections
from pipeline.reporting.blocks import Section
from pipeline.reporting.sections.copying import copying_section

NAMES = [module.name for module in pkgutil.iter_modules(sections.__path__)]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_sections_holds_the_one_section_that_it_is_named_after(name):
    module = importlib.import_module(f"pipeline.reporting.sections.{name}")
    own = {n: f for n, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__}
    public = [n for n in own if not n.startswith("_")]
    assert public == [f"{name}_section"]
    assert inspect.signature(own[public[0]]).return_annotation is Section


def test_a_run_s_report_has_every_section():
    assert {n for n in vars(run) if n.endswith("_section")} == {f"{name}_section" for name in NAMES}


@pytest.mark.parametrize("controlled", [True, False])
@pytest.mark.parametrize("flagged", [0.0, 1.0])
def test_copies_are_told_of_runs_that_were_not_held_against_held_out_images_too(tmp_path, controlled, flagged):
    save_grid(torch.rand(4, 64), tmp_path / "pairs.png", 2, (1, 8, 8))
    near = {"share": 0.05, "interval": [0.045, 0.06], "per_class": [0.05, 0.05], "flagged": bool(flagged)}
    if controlled:
        near |= {"near": True, "explained": 0.04}
    outcome = SimpleNamespace(
        key="0" * 64,
        metrics={},
        copies=tmp_path / "pairs.png",
        scores={"data_copying_flagged": flagged},
        facts={"copying": {"spaces": {"pixels": near, "shape": near}, "held_out": 20, "nearness": [0.1, 0.2]}},
    )
    text, table, _ = copying_section(outcome).blocks
    assert ("explained" in table.columns) is controlled
    assert ("4.0%" in str(table.rows)) is controlled
    assert str(text.text).startswith("It may copy" if flagged else "No sign of copying")
    assert ("held-out images" in str(text.text)) is controlled
