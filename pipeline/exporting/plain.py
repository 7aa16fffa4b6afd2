"""Programs as JSON and their weights as safetensors: every step a call of one of torch's operators by name.

Read by twenty lines of Python (docs/MODELS.md) with torch and safetensors, by anything else that can do those steps.
A value is a number, a text, null, a list of values, {"ref": name} for the result of an earlier step, an input or a
weight, or {"dtype": name}.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from pipeline.exporting.programs import EXAMPLES, OUTPUTS, inputs_of, traced
from pipeline.models.architecture import Architecture
from pipeline.store.tensors import save_tensors

FORMAT = "cvae-pipe program 1"
CHECKS = ("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "sym_constrain_range_for_size")
"""Steps that only check something."""
PLACES = ("device", "layout", "pin_memory", "memory_format")
"""Options of a step that say where its result lies: left out, so that it lies where the weights do."""


def write_plain(
    folder: Path,
    made: Mapping[str, nn.Module],
    model: Architecture,
    shape: tuple[int, int, int],
    facts: Mapping[str, Any],
) -> tuple[Path, Path]:
    """model.json and model.safetensors in an existing folder; their paths."""
    weights: dict[str, Tensor] = {}
    described = {}
    for name, program in made.items():
        exported = traced(program, inputs_of(name, model, shape, EXAMPLES))
        described[name] = {"outputs": OUTPUTS[name], **_steps(name, exported, weights)}
    document = {"format": FORMAT, **facts, "shape": shape, "latent_dim": model.latent_dim}
    steps, tensors = folder / "model.json", folder / "model.safetensors"
    save_tensors({key: value.detach().clone().contiguous() for key, value in weights.items()}, tensors)
    steps.write_text(_text(document, described), encoding="utf-8")
    return steps, tensors


def _text(document: dict[str, Any], programs: dict[str, dict[str, Any]]) -> str:
    """JSON with a step a line, as people read a program."""
    described = []
    for name, program in programs.items():
        steps = ",\n".join(f"    {json.dumps(step, ensure_ascii=False)}" for step in program["steps"])
        parts = [f'   "{key}": {json.dumps(program[key])}' for key in ("inputs", "outputs", "results")]
        described.append(f'  "{name}": {{\n' + ",\n".join([*parts, f'   "steps": [\n{steps}\n   ]']) + "\n  }")
    head = json.dumps(document, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{head},\n "programs": {{\n' + ",\n".join(described) + "\n }\n}\n"


def _steps(name: str, exported: torch.export.ExportedProgram, weights: dict[str, Tensor]) -> dict[str, Any]:
    """Names of the inputs and outputs of a graph, and its steps in order; its weights are added to the others."""
    known: dict[str, str] = {}  # of the graph's own inputs: the name that a reader sees
    inputs = []
    used = {node.name for node in exported.graph.nodes if node.users}
    for spec in exported.graph_signature.input_specs:
        own = spec.arg.name
        if spec.kind == InputKind.USER_INPUT:
            known[own] = own
            inputs.append(own)
            continue
        if own not in used:  # the encoder of a decoder
            continue
        assert spec.target is not None
        key = spec.target if spec.target in exported.state_dict else f"{name}.{spec.target}"
        known[own] = key
        weights[key] = (
            exported.state_dict[spec.target] if spec.target in exported.state_dict else exported.constants[spec.target]
        )
    steps = []
    results: list[Any] = []
    for node in exported.graph.nodes:
        if node.op == "output":
            results = [_value(v, known) for v in node.args[0]]
        elif node.op == "call_function" and not any(check in str(node.target) for check in CHECKS):
            known[node.name] = node.name
            options = {k: _value(v, known) for k, v in node.kwargs.items() if k not in PLACES}
            steps.append(
                {
                    "name": node.name,
                    "op": _operator(node.target),
                    "args": [_value(v, known) for v in node.args],
                    "options": options,
                }
            )
    return {"inputs": inputs, "steps": steps, "results": results}


def _operator(target: Any) -> str:
    """aten.linear.default for one of torch's, operator.mul for one of Python's on sizes."""
    return str(target) if isinstance(target, torch._ops.OpOverload) else f"operator.{target.__name__}"


def _value(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, fx.Node):
        return {"ref": known[value.name]}
    if isinstance(value, (list, tuple)):
        return [_value(v, known) for v in value]
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    assert value is None or isinstance(value, (bool, int, float, str)), f"{value!r} has no place in a program"
    return value
