"""The stage `judge`: both evaluation classifiers with their gates, trained once per data set and configuration."""

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file

from pipeline.data.splits import PreparedData
from pipeline.evaluation.judges.fitting import fit_judge
from pipeline.evaluation.judges.gates import Gate, check_gates, gate_values, gates_from
from pipeline.evaluation.judges.networks import Judges, build_judge
from pipeline.evaluation.reference import class_means
from pipeline.stages.context import Context
from pipeline.stages.graph import JUDGE
from pipeline.stages.prepare import prepare
from pipeline.store.files import read_json, sha256, write_json

JUDGE_KINDS: tuple[Literal["a"], Literal["b"]] = ("a", "b")


@dataclass(frozen=True)
class JudgeStage:
    """Both judges, their gates on real test images, and the hash of their weights."""

    judges: Judges
    gates: dict[Literal["a", "b"], list[Gate]]
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
        images, labels = data.train.images, data.train.labels
        means = class_means(data.train, data.classes)
        facts = {}
        for kind in JUDGE_KINDS:
            model = fit_judge(
                kind,
                images,
                labels,
                classes=data.classes,
                config=config.judge,
                on_epoch=partial(_report_judge, ctx, kind),
            )
            facts[kind] = gate_values(kind, model, data.test.images, data.test.labels, means)
            save_file({k: v.contiguous().cpu() for k, v in model.state_dict().items()}, work / f"{kind}.safetensors")
        write_json(work / "gates.json", facts)

    folder = ctx.build(JUDGE, make)
    values = read_json(folder / "gates.json")
    gates = {kind: gates_from(kind, values[kind], config.gates) for kind in JUDGE_KINDS}
    for rows in gates.values():
        check_gates(rows, enforce=config.gates.enforce)
    return JudgeStage(_loaded_judges(folder, data, str(ctx.device)), gates, sha256(folder / "a.safetensors"))


def _report_judge(ctx: Context, kind: str, epoch: int, epochs: int, loss: float) -> None:
    ctx.progress(f"judge {kind.upper()}", epoch, epochs, f"loss {loss:.3f}")


def _loaded_judges(folder: Path, data: PreparedData, device: str) -> Judges:
    return _judges(folder, data.height, data.width, data.classes, device)


@lru_cache(maxsize=2)
def _judges(folder: Path, height: int, width: int, classes: int, device: str) -> Judges:
    loaded = []
    for kind in JUDGE_KINDS:
        model = build_judge(kind, height=height, width=width, classes=classes)
        model.load_state_dict(load_file(folder / f"{kind}.safetensors"))
        loaded.append(model.eval().to(device))
    return Judges(*loaded)
