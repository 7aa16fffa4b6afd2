"""Judges trained beside the first trials: the same judges, and nothing that dies with one is lost."""

import os
import signal
import time

import pytest
from helpers import quick_config

from pipeline.errors import JudgeError
from pipeline.runs.execute import set_up_process
from pipeline.stages.context import Context
from pipeline.stages.judge import judge
from pipeline.store.home import Home
from sweeps.judges import JudgesBeside


@pytest.fixture
def ctx(home):
    set_up_process(1)
    return Context(quick_config(), home)


def ended(beside: JudgesBeside) -> list[dict[str, str]]:
    """What is said until they are done."""
    said = [dict(beside.progress)]
    deadline = time.monotonic() + 60
    while not beside.done:
        assert time.monotonic() < deadline
        if beside.poll():
            assert beside.done
        if beside.progress != said[-1]:
            said.append(dict(beside.progress))
        time.sleep(0.01)
    return said


def test_side_by_side_they_are_the_judges_that_one_after_the_other_would_be(ctx, tmp_path):
    beside = JudgesBeside(ctx)
    try:
        said = ended(beside)
    finally:
        beside.close()
    assert set(said[0]) == {"judge A", "judge B"}
    assert any(line.get("judge A", "").startswith("4/4 loss ") for line in said)
    assert said[-1] == {}
    alone = judge(Context(ctx.config, Home(tmp_path / "alone", ctx.home.data_dir)))
    assert judge(ctx).weights_sha256 == alone.weights_sha256
    assert judge(ctx).gates == alone.gates


def test_where_they_are_there_or_not_asked_for_nothing_is_started(ctx, warm_home):
    assert JudgesBeside(Context(ctx.config, warm_home)).done
    assert JudgesBeside(Context(quick_config(model__kind="vae"), ctx.home)).done


def test_a_judge_whose_process_dies_is_trained_by_who_needs_it(ctx):
    beside = JudgesBeside(ctx)
    try:
        for worker in beside._processes.values():
            os.kill(worker.pid, signal.SIGKILL)
        ended(beside)
        assert judge(ctx).weights_sha256
    finally:
        beside.close()


def test_judges_below_an_enforced_gate_end_the_sweep(ctx):
    strict = Context(quick_config(gates__enforce=True, gates__clean=1.0), ctx.home)
    beside = JudgesBeside(strict)
    try:
        ended(beside)
    finally:
        beside.close()
    with pytest.raises(JudgeError):
        judge(strict)
