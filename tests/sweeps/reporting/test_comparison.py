"""Studies side by side: the numbers are those of each alone, the report verifies, what cannot be compared is said."""

import json

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.runs.comparison import compare_runs
from sweeps.analysis.comparison import compare_studies
from sweeps.reporting.verify import verify
from sweeps.stored import stored_summary


def test_two_studies_are_what_each_of_them_is(kept, command):
    found = compare_studies(kept, ["first", "second"])
    alone = [stored_summary(kept, name) for name in found.names]
    assert [one.front for one in found.reached] == [summary.front for summary in alone]
    volumes = [summary.quantity("front/hypervolume") for summary in alone]
    np.testing.assert_allclose([one.volume for one in found.reached], volumes)
    assert found.choices[0].split == "test", "both have finals"
    pairs = compare_runs(kept, [summary.finals[0] for summary in alone])
    assert (found.pairs.rows, found.pairs.names) == (pairs.rows, ("first", "second"))
    assert dict(found.differs) == {"seed": ("0", "1")}
    document = json.loads(command("compare", "first", "second", "--json")[1])
    assert [study["hypervolume"] for study in document["studies"]] == volumes


def test_the_report_verifies_and_is_in_the_index(kept, command):
    code, out, err = command("compare", "first", "second", "--html")
    assert code == 0, err
    folder = kept.reports / "compare-first-second"
    assert verify(kept, folder).sound
    assert "compare-first-second/report.html" in (kept.reports / "index.html").read_text()
    assert "seed" in out


def test_what_cannot_be_compared_is_said(kept, command):
    with pytest.raises(ConfigError, match="named twice"):
        compare_studies(kept, ["first", "first"])


def test_beside_a_run_a_study_is_its_choice(kept, command):
    run = next(kept.reports.glob("digits-*")).name
    code, out, err = command("compare", "first", run)
    assert code == 0, err
    assert run in out
