"""Sections of a run's report: one file each, found by its name, and all of them in the report."""

import importlib
import inspect
import pkgutil

import pytest

from pipeline.reporting import run, sections
from pipeline.reporting.blocks import Section

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
