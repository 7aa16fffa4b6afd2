"""One configuration opened on a split: stages in order, the outcome stored. Pure: configuration in, stored outcome out.

Equal configurations opened on the same split are the same run: one store entry. A sweep's workers call this; the
ledger is `experiments`' affair.
"""

import contextlib
import ctypes
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.environment import code_version, core_versions, cpu_model
from pipeline.models.architecture import Architecture
from pipeline.runs.names import name_for
from pipeline.runs.outcome import Outcome, load_outcome
from pipeline.stages.context import Context, Result
from pipeline.stages.graph import TRAIN, parts_of_run, run_key
from pipeline.stages.opened import opened
from pipeline.stages.prepare import result_facts
from pipeline.stages.train import train
from pipeline.store.files import write_json
from pipeline.training.state import EpochRecord

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's <malloc.h>."""
LARGEST_KEPT, MOST_KEPT = 32 << 20, 512 << 20
"""Bytes: of one block, the most that glibc takes; and of all."""

OnEpoch = Callable[[EpochRecord, Architecture | None, Path], None]


def set_up_process(threads: int) -> None:
    """Threads, denormals and freed memory, once per process: the same arithmetic wherever a run happens."""
    torch.set_num_threads(threads)
    # Dying ReLU units leave denormal Adam moments behind, which CPUs compute with up to a hundred times slower.
    torch.set_flush_denormal(True)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next one, which asks for the same sizes.

    It gives blocks of megabytes back to the system otherwise, and gets them again page by page, each page cleared: a
    fifth of a step of a convolutional model (benchmarks/RESULTS.md). No number changes.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
        c = ctypes.CDLL(None)
        c.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        c.mallopt(M_TRIM_THRESHOLD, MOST_KEPT)


def machine(device: torch.device) -> str:
    """What a run is computed on: the processor, and the GPU where there is one at work."""
    return f"{torch.cuda.get_device_name(device)}, {cpu_model()}" if device.type == "cuda" else cpu_model()


def execute(ctx: Context, split: str, on_epoch: OnEpoch = lambda record, model, folder: None) -> Outcome:
    """Train, evaluate and score on a split, reusing every stage that is there; the outcome is stored and returned."""
    config = ctx.config
    key = run_key(config, split)
    force = bool(ctx.force)  # each stage takes itself out of it
    trained = train(ctx, on_epoch)
    folders = {TRAIN.name: TRAIN.key(config)}
    metrics: dict[str, float] = {}
    facts = result_facts(ctx) | {"code": code_version(), "machine": machine(ctx.device), "versions": core_versions()}
    if split == "test":
        facts["opened"] = opened(ctx)
    for stage in parts_of_run(config, split):
        part: Result = stage.build(ctx, split, trained)
        metrics |= part.metrics
        facts |= part.facts
        if stage.in_run_key != "never":
            folders[stage.name] = stage.key(config, split)

    about = {"name": name_for(ctx.home, config, split), "split": split, "facts": facts, "stages": folders}

    def make(work: Path) -> None:
        write_json(work / "run.json", about | {"metrics": metrics})
        write_json(work / "config.json", config.flat())

    ctx.home.store.build("run", key, make, inputs=folders, force=force)
    return load_outcome(ctx.home, key)
