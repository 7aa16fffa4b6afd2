"""Numbers of a written report against the store: none drifts, and what is changed on either side is found."""

import json
import re
import shutil

import pytest
from helpers import quick_config

from pipeline.errors import ElsewhereError, ReportError
from pipeline.reporting.comparison import write_comparison
from pipeline.reporting.run import write_run_report
from pipeline.runs.comparison import compare_runs
from pipeline.runs.execute import execute
from pipeline.stages.context import Context
from pipeline.stages.graph import TRAIN
from pipeline.store.files import read_json, sha256, write_json
from sweeps.reporting.verify import read_numbers, verify


@pytest.fixture
def outcome(warm_home):
    def build(**settings):
        return execute(Context(quick_config(**settings), warm_home), "test")

    return build


def change(home, outcome, key, value):
    path = home.store.path("run", outcome.key) / "run.json"
    stored = read_json(path)
    stored["metrics"][key] = value
    write_json(path, stored)
    manifest = read_json(path.with_name("manifest.json"))
    manifest["files"]["run.json"] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    write_json(path.with_name("manifest.json"), manifest)  # another result, and a whole one


def test_a_fresh_report_has_no_drift_and_every_metric_is_in_it(outcome, warm_home):
    made = outcome()
    html = write_run_report(made, warm_home)
    assert verify(warm_home, html).drifted == ()
    assert verify(warm_home, html.parent) == verify(warm_home, html)
    assert set(made.metrics) <= {number.source.key for number in read_numbers(html)}
    assert all(number.source.runs == (made.key[:16],) for number in read_numbers(html))


def test_a_number_that_the_store_no_longer_says_is_found_with_both_values(outcome, warm_home):
    made = outcome()
    html = write_run_report(made, warm_home)
    change(warm_home, made, "test/kl", 123.456)
    drifted = verify(warm_home, html).drifted
    assert {drift.stored for drift in drifted} == {"123.46"}
    assert {drift.shown for drift in drifted} == {f"{made.metrics['test/kl']:.4f}"}
    assert {drift.where.partition(":")[0] for drift in drifted} == {"Result", "All numbers"}
    assert all(made.key[:16] in drift.where for drift in drifted)


@pytest.mark.parametrize("what", ["text", "value"])
def test_a_number_changed_in_the_page_is_found(outcome, warm_home, what):
    html = write_run_report(outcome(), warm_home)
    page = html.read_text()
    pattern = r'(<data value=")([^"]+)("[^>]*data-key="test/coverage"[^>]*>)([^<]+)'
    instead = r"\1\2\g<3>0.9999" if what == "text" else r"\g<1>0.9999\3\4"
    html.write_text(re.sub(pattern, instead, page, count=1))
    found = verify(warm_home, html)
    [drift] = found.drifted
    assert "test/coverage" in drift.where
    assert found.damaged == ("report.html has been changed since it was written",)


def test_what_is_no_number_is_found_changed_too(outcome, warm_home, command):
    """Pictures swapped, a caption, a cell of the csv beside it, the markdown, a picture's file."""
    html = write_run_report(outcome(), warm_home)
    page = html.read_text()
    one, other = re.findall(r'src="(data:image/png;base64,[^"]+)"', page)[:2]
    assert one != other
    for changed in (
        page.replace(one, "@").replace(other, one).replace("@", other),
        page.replace("Real images", "Fakes"),
    ):
        assert changed != page
        html.write_text(changed)
        assert verify(warm_home, html).damaged == ("report.html has been changed since it was written",)
    html.write_text(page)
    assert verify(warm_home, html).sound
    for path in (html.with_name("report.md"), next((html.parent / "images").iterdir())):
        before = path.read_bytes()
        path.write_bytes(before[:-1] + b"x")
        code, out, _ = command("verify", html)
        assert code == 1
        assert f"{path.relative_to(html.parent)} has been changed since it was written" in out
        path.unlink()
        assert verify(warm_home, html).damaged == (f"{path.relative_to(html.parent)} is gone",)
        path.write_bytes(before)
    alone = warm_home.root / "alone.html"
    alone.write_text(page)
    assert verify(warm_home, alone).sound, "one page, sent to somebody"


def test_a_flipped_bit_in_what_the_numbers_rest_on_is_found(outcome, warm_home):
    made = outcome()
    html = write_run_report(made, warm_home)
    weights = warm_home.store.path("train", TRAIN.key(made.config)) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    found = verify(warm_home, html)
    assert found.drifted == () or all("damaged" in drift.stored for drift in found.drifted)
    assert any(line.startswith("train ") and "model.safetensors" in line for line in found.damaged)
    assert not found.sound


def test_a_report_of_another_home_says_so_once(outcome, warm_home, command):
    made = outcome()
    html = write_run_report(made, warm_home)
    shutil.rmtree(warm_home.store.path("run", made.key))
    with pytest.raises(ElsewhereError, match=r"was made elsewhere: none of its \d+ numbers") as error:
        verify(warm_home, html)
    assert "\n" not in str(error.value)
    code, out, err = command("verify", html)
    assert (code, out, err.count("\n")) == (3, "", 1)


def test_of_two_runs_the_one_that_is_gone_is_said_to_be(outcome, warm_home):
    runs = [outcome(), outcome(train__beta=4.0)]
    html = write_comparison(warm_home, compare_runs(warm_home, runs), runs)
    shutil.rmtree(warm_home.store.path("run", runs[1].key))
    found = verify(warm_home, html)
    assert 0 < len(found.drifted) < found.numbers
    assert {drift.stored for drift in found.drifted} == {f"run {runs[1].key[:16]} is not in the store"}


def test_pairs_are_derived_anew_too(outcome, warm_home):
    runs = [outcome(), outcome(train__beta=4.0), outcome(train__seed=3)]
    html = write_comparison(warm_home, compare_runs(warm_home, runs), runs)
    assert html.parent.name == "-".join(["compare", *(run.key[:8] for run in runs)])
    assert verify(warm_home, html).drifted == ()
    numbers = read_numbers(html)
    aggregates = {number.source.aggregate for number in numbers}
    assert {"paired difference", "paired difference low", "paired difference high"} <= aggregates
    pairs = {number.source.runs for number in numbers if len(number.source.runs) == 2}
    assert pairs == {(runs[0].key[:16], run.key[:16]) for run in runs[1:]}
    page = html.read_text()
    paired = r'data-key="test/bce" data-aggregate="paired difference" data-form="\+\.3g"[^>]*>)[^<]+'
    html.write_text(re.sub(rf"({paired}", r"\1+9", page, count=1))
    assert [drift.shown for drift in verify(warm_home, html).drifted] == ["+9"]


def test_one_run_against_itself_has_a_report(outcome, warm_home):
    runs = [outcome(), outcome()]
    assert verify(warm_home, write_comparison(warm_home, compare_runs(warm_home, runs), runs)).drifted == ()


def test_what_is_no_report_is_refused(warm_home, tmp_path):
    other = tmp_path / "other.html"
    for content, said in (
        (b"<html>", "is no report"),
        (b'<meta name="generator" content="cvae-pipe"><data value="1">1</data>', "names no source"),
        (b"\xff\xfe", "cannot be read"),
    ):
        other.write_bytes(content)
        with pytest.raises(ReportError, match=said):
            verify(warm_home, other)
    with pytest.raises(ReportError, match="cannot be read"):
        verify(warm_home, tmp_path / "nowhere.html")


def test_a_source_that_makes_no_sense_is_drift_and_no_crash(outcome, warm_home, tmp_path):
    page = tmp_path / "report.html"
    attributes = (
        f'data-run="{outcome().key[:16]}" data-key="val/nonsense"',
        'data-study="nobody" data-key="trials/complete"',
        'data-key="val/kl"',
        'data-run="0123456789abcdef" data-key="val/kl"',
        'data-run="a b c" data-key="val/kl" data-aggregate="paired difference"',
        'data-run="../../x" data-key="val/kl"',
    )
    data = "".join(f'<data value="1" {text}>1</data>' for text in attributes)
    page.write_text(f'<meta name="generator" content="cvae-pipe">{data}')
    assert len(verify(warm_home, page).drifted) == len(attributes)


def test_the_command_says_it_in_one_line_and_in_its_exit_code(outcome, warm_home, command, tmp_path):
    made = outcome()
    html = write_run_report(made, warm_home)
    code, out, err = command("verify", html)
    assert (code, err) == (0, "")
    assert re.fullmatch(r"\d+ numbers re-derived, 0 drifted\n", out)
    code, out, err = command("verify", html.parent, "--json")
    assert (code, json.loads(out)["drifted"]) == (0, [])
    change(warm_home, made, "test/bce", 1.0)
    code, out, err = command("verify", html)
    assert code == 1
    assert re.fullmatch(r"\d+ numbers re-derived, 2 drifted", out.splitlines()[-1])
    assert out.splitlines()[0].startswith(f"Result: test/bce, run {made.key[:16]}: shown ")
    code, out, _ = command("verify", html, "--json")
    assert (code, len(json.loads(out)["drifted"])) == (1, 2)
    code, out, err = command("verify", tmp_path / "nothing.html")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_compare_writes_a_report_if_asked(outcome, warm_home, command):
    first, second = outcome(), outcome(train__seed=1)
    code, out, _ = command("compare", first.key, second.key, "--html")
    assert code == 0
    path = re.search(r"^report: (\S+)$", out, re.MULTILINE).group(1)
    assert json.loads(command("compare", first.key, second.key, "--html", "--json")[1])["report"] == path
    assert command("verify", path)[0] == 0
