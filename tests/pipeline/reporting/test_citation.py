"""Numbers with sources: what they say, what they carry into a page, and what they are derived from."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from statistics import mean, stdev
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from scipy import stats

from pipeline.config.reading import build_config
from pipeline.errors import ReportError
from pipeline.evaluation.statistics import crossed_interval
from pipeline.reporting.citation import Number, Phrase, Source, cited, cited_interval, cited_spread, derive, written


@dataclass
class Stored:
    """As much of an outcome as numbers are derived from."""

    key: str
    metrics: dict
    beta: float = 1.0
    seed: int = 0
    facts: dict = field(default_factory=lambda: {"gates": {"a": [["clean", 0.99, 0.98, True]]}})
    history: list = field(
        default_factory=lambda: [{"epoch": 1.0, "train/loss": 50.0}, {"epoch": 2.0, "train/loss": 40}]
    )
    per_class: dict = field(default_factory=lambda: {"table": {"class": ["<b>", "1"], "coverage": [0.25, 0.5]}})

    @property
    def config(self):
        return build_config(flags={"train.beta": self.beta, "train.seed": self.seed})


def runs(values, betas=None, seeds=None):
    return [
        Stored(f"{i:064x}", {"test/kl": v}, (betas or [1.0] * len(values))[i], (seeds or range(len(values)))[i])
        for i, v in enumerate(values)
    ]


class Data(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


@given(names.filter(bool), names, st.lists(st.text("0123456789abcdef", min_size=16, max_size=16)), st.floats(-1e9, 1e9))
def test_a_source_goes_into_a_page_and_comes_back(key, study, keys, value):
    source = Source(key, tuple(keys), study, aggregate="mean", over="train.beta", form=".3f")
    page = Data(str(escape(Number(value, source))))
    [(tag, attributes)] = page.found
    assert (tag, page.text) == ("data", f"{value:.3f}")
    assert float(attributes["value"]) == value
    assert Source.from_attributes(attributes) == source


def test_defaults_are_left_out_of_the_page_and_come_back_too():
    source = Source("val/kl", ("0" * 16,))
    assert source.attributes() == {"data-run": "0" * 16, "data-key": "val/kl"}
    assert Source.from_attributes(source.attributes()) == source


def test_a_number_is_a_text_to_whoever_does_not_ask():
    number = cited(runs([1.5])[0], "test/kl")
    assert number == "1.5000"
    assert f"{number} nats" == "1.5000 nats"
    phrase = Phrase("kl <", number, ">")
    assert phrase == "kl <1.5000>"
    assert str(escape(phrase)).startswith("kl &lt;<data value=")
    assert str(escape(phrase)).endswith("1.5000</data>&gt;")


def test_aggregates_are_those_of_independent_implementations():
    values, betas, seeds = [3.0, 5.0, 4.0, 8.0], [0.5, 0.5, 2.0, 2.0], [0, 1, 0, 1]
    some = runs(values, betas, seeds)

    def found(aggregate, over=""):
        return derive(Source("test/kl", aggregate=aggregate, over=over), some)

    assert found("mean") == pytest.approx(mean(values))
    assert found("sd") == pytest.approx(stdev(values))
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found("t low"), found("t high")) == pytest.approx((interval.low, interval.high))
    assert found("rank correlation", "train.beta") == pytest.approx(stats.spearmanr(betas, values).statistic)
    assert found("second half minus first") == pytest.approx(mean(values[2:]) - mean(values[:2]))
    assert found("least") == 3
    assert found("count") == 4


def test_a_spread_has_one_number_of_decimals_and_both_numbers_their_source():
    text = cited_spread(runs([99.5, 101.5]), "test/kl")
    assert text == "100.50 ± 1.41"
    aggregates = [attributes["data-aggregate"] for _, attributes in Data(str(escape(text))).found]
    assert aggregates == ["mean", "sd"]
    assert cited_spread(runs([99.5]), "test/kl") == "99.50"
    assert cited_interval(runs([99.5]), "test/kl") == "-"
    assert cited_interval(runs([99.0, 101.0]), "test/kl") == "-", "two seeds tell next to nothing of their spread"
    interval = stats.ttest_1samp([99.0, 101.0, 100.0], 0).confidence_interval(0.95)
    written = f"[{interval.low:.2f}, {interval.high:.2f}]"
    assert cited_interval(runs([99.0, 101.0, 100.0]), "test/kl") == written


def test_an_interval_is_over_judges_too_where_several_have_read_the_runs():
    values = np.array([[0.9, 0.85, 0.92], [0.91, 0.87, 0.93], [0.89, 0.84, 0.9]])
    names = ("test/coverage_relative", "test/coverage_relative_judge2", "test/coverage_relative_judge3")
    read = [Stored(f"{i:064d}", dict(zip(names, row, strict=True))) for i, row in enumerate(values.tolist())]
    text = cited_interval(read, names[0])
    low, high = crossed_interval(values)
    assert text == f"[{low:.4f}, {high:.4f}]"
    aggregates = [attributes["data-aggregate"] for _, attributes in Data(str(escape(text))).found]
    assert aggregates == ["low over judges", "high over judges"]
    alone = [Stored(run.key, {names[0]: run.metrics[names[0]]}) for run in read]
    [low_alone, _] = crossed_interval(values[:, :1])
    assert cited_interval(alone, names[0]).startswith(f"[{low_alone:.4f}")
    assert low < low_alone


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("test/kl", 1.5),
        ("per_class/coverage/1", 0.5),
        ("history/2/train/loss", 40.0),
        ("facts/gates/a/0/1", 0.99),
        ("config/train.beta", 4.0),
    ],
)
def test_every_place_of_a_run_can_be_a_source(key, value):
    assert derive(Source(key), [Stored("0" * 64, {"test/kl": 1.5}, beta=4.0)]) == value


@pytest.mark.parametrize(
    "key",
    [
        "test/bce",
        "per_class/coverage/2",
        "per_class/class/0",
        "history/3/train/loss",
        "history/x/y",
        "facts/gates/b",
        "facts/gates/a",
        "config/train.betta",
        "config/data.dataset",
        "elsewhere/1",
    ],
)
def test_a_place_that_is_not_there_is_one_line(key):
    with pytest.raises(ReportError, match="has no"):
        derive(Source(key), runs([1.5]))


def test_a_model_without_labels_has_no_place_per_class():
    with pytest.raises(ReportError, match="has no per_class/coverage/0"):
        derive(Source("per_class/coverage/0"), [SimpleNamespace(key="0" * 64, metrics={}, per_class=None, facts={})])


def test_an_unknown_aggregate_or_form_is_refused():
    with pytest.raises(ReportError, match="no aggregate 'median'"):
        derive(Source("test/kl", aggregate="median"), runs([1.0, 2.0]))
    with pytest.raises(ReportError, match="no aggregate 'value' of 2 runs"):
        derive(Source("test/kl"), runs([1.0, 2.0]))
    for form in ("{}", ".99999999f", "s", "%"):
        with pytest.raises(ReportError, match="is no form"):
            written(1.0, form)
    assert [written(0.12345, form) for form in ("show", "d", ".1%", "+.2f")] == ["0.1235", "0", "12.3%", "+0.12"]
