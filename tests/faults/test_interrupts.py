"""Ctrl-C at any moment, most of all while a report is written: one line, 130, within two seconds."""

import random
import time

import pytest
from budget import SEED, note, within_budget
from commands import Commands, Undisturbed

SECONDS = 2.0


def interrupted(after: float, undisturbed: Undisturbed, commands: Commands) -> tuple[list[str], float]:
    """What is wrong when the writing of a report is interrupted then; and how long the end took."""
    once = commands.folder / "when"
    once.unlink(missing_ok=True)
    ended = commands.call(undisturbed.home, "report", "s", interrupt_after=after, once=str(once))
    took = time.monotonic() - float(once.read_text()) if once.exists() else 0.0
    lines = ended.said.strip().splitlines()
    wrong = []
    if ended.status == 130:
        wrong += [] if lines == [lines[0]] and lines[0].startswith("interrupted; ") else [ended.said[-600:]]
    elif ended.status != 0 or (once.exists() and took > SECONDS):  # 0: it was over before
        wrong.append(f"status {ended.status}: {ended.said[-600:]}")
    if took > SECONDS:
        wrong.append(f"{took:.1f} s")
    return [f"{after:.2f} s: {line}" for line in wrong], took


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_the_writing_of_a_report_interrupted_at_any_moment(undisturbed, commands):
    started = time.monotonic()
    assert commands.call(undisturbed.home, "report", "s").status == 0
    whole = time.monotonic() - started
    chance = random.Random(SEED)
    wrong, times = [], []
    for n, after in enumerate(within_budget([chance.uniform(0.05, whole) for _ in range(60)]), start=1):
        found, took = interrupted(after, undisturbed, commands)
        wrong, times = wrong + found, [*times, took]
        note(test="interrupts", cases=n, of=60, slowest=round(max(times), 2), wrong=len(wrong), last=found[:3])
    assert wrong == []
