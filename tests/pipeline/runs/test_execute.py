"""A process that is set up to compute: what it keeps from one step to the next."""

import platform
import resource

import pytest
import torch

from pipeline.runs.execute import set_up_process

BLOCK = 20 << 20
"""Bytes: of the size of a step's activations."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_memory_that_a_step_frees_is_there_for_the_next_one():
    set_up_process(1)

    def step() -> None:
        blocks = [torch.ones(BLOCK // 4) for _ in range(3)]
        assert sum(float(block[0]) for block in blocks) == 3

    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    asked_for = 15 * BLOCK // resource.getpagesize()
    assert faults < asked_for / 3  # the first may still find its places
