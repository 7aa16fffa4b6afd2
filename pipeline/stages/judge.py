"""The stage `judge`: both evaluation classifiers with their gates, trained once per data set and configuration."""

import shutil
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from pipeline.config.settings import RunConfig
from pipeline.data.splits import PreparedData
from pipeline.evaluation.judges.fitting import fit_judge
from pipeline.evaluation.judges.gates import Gate, check_gates, gate_values, gates_from
from pipeline.evaluation.judges.networks import Judge, Judges, Kind, build_judge
from pipeline.evaluation.reference import class_means
from pipeline.grids import Shape
from pipeline.stages.context import Context
from pipeline.stages.graph import JUDGE, judge_part
from pipeline.stages.prepare import prepare
from pipeline.store.files import read_json, sha256, write_json
from pipeline.store.tensors import save_tensors

JUDGE_KINDS: tuple[Kind, ...] = ("a", "b")
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class JudgeStage:
    """Both judges, their gates on real test images, and the hash of their weights."""

    judges: Judges
    gates: dict[Kind, list[Gate]]
    weights_sha256: str

    @property
    def facts(self) -> dict[str, Any]:
        """What a scored run remembers of its judges."""
        gates = {kind: [[g.name, g.value, g.bound, g.passed] for g in rows] for kind, rows in self.gates.items()}
        return {"judge_sha256": self.weights_sha256, "gates": gates}


def judge(ctx: Context) -> JudgeStage:
    """The evaluation classifiers, trained once per data set and configuration; JudgeError below an enforced gate."""
    config = ctx.config
    data = prepare(ctx)

    def make(work: Path) -> None:
        means = class_means(data.train, data.classes)
        facts = {}
        for kind in JUDGE_KINDS:
            weights = one_judge(ctx, kind) / WEIGHTS
            model = _loaded(weights, kind, data.shape, data.classes).to(ctx.device)
            facts[kind] = gate_values(kind, model, data.test.images, data.test.labels, means)
            shutil.copyfile(weights, work / f"{kind}.safetensors")
        write_json(work / "gates.json", facts)

    folder = ctx.build(JUDGE, make)
    values = read_json(folder / "gates.json")
    gates = {kind: gates_from(kind, values[kind], config.gates, data.classes) for kind in JUDGE_KINDS}
    for rows in gates.values():
        check_gates(rows, enforce=config.gates.enforce)
    return JudgeStage(_loaded_judges(folder, data, str(ctx.device)), gates, sha256(folder / "a.safetensors"))


def one_judge(ctx: Context, kind: Kind) -> Path:
    """The folder with one judge's weights: a result of its own, so that two processes train both side by side."""
    config, data = ctx.config, prepare(ctx)

    def make(work: Path) -> None:
        train, report = data.train, partial(_report_judge, ctx, kind)
        fitted = fit_judge(kind, train.images, train.labels, classes=data.classes, config=config.judge, on_epoch=report)
        save_tensors({k: v.contiguous().cpu() for k, v in fitted.state_dict().items()}, work / WEIGHTS)

    return ctx.home.store.build(*part_of_judge(config, kind), make, force=JUDGE.name in ctx.force)[0]


def part_of_judge(config: RunConfig, kind: Kind) -> tuple[str, str]:
    """The name and key of one judge's weights in the store."""
    return judge_part(kind), JUDGE.key(config)


def _report_judge(ctx: Context, kind: str, epoch: int, epochs: int, loss: float) -> None:
    ctx.progress(f"judge {kind.upper()}", epoch, epochs, f"loss {loss:.3f}")


def _loaded_judges(folder: Path, data: PreparedData, device: str) -> Judges:
    return _judges(folder, data.shape, data.classes, device)


@lru_cache(maxsize=4)
def _judges(folder: Path, shape: Shape, classes: int, device: str) -> Judges:
    loaded = (_loaded(folder / f"{kind}.safetensors", kind, shape, classes) for kind in JUDGE_KINDS)
    return Judges(*(model.to(device) for model in loaded))


def _loaded(weights: Path, kind: Kind, shape: Shape, classes: int) -> Judge:
    model = build_judge(kind, shape=shape, classes=classes)
    model.load_state_dict(load_file(weights))
    return model.eval()
