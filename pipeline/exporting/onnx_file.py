"""Programs as ONNX, each checked with onnxruntime against torch before it is kept. Needs the extra `onnx`."""

import contextlib
import importlib.util
import io
import json
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.errors import ConfigError, ExportError
from pipeline.exporting.programs import EXAMPLES, OUTPUTS, inputs_of, traced
from pipeline.models.architecture import Architecture

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-5
"""Between onnxruntime and torch, of what is at most 1; above 1 as a share."""
CHECKED = (1, EXAMPLES, 33)
"""Numbers of images that a file is tried with."""


def require_onnx() -> None:
    """ConfigError unless the packages are here."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"--onnx needs {', '.join(missing)}: pip install {' '.join(missing)} (the extra `onnx`)")


def write_onnx(
    folder: Path,
    made: Mapping[str, nn.Module],
    model: Architecture,
    shape: tuple[int, int, int],
    facts: Mapping[str, Any],
) -> dict[Path, float]:
    """A file for each program in an existing folder, and how far onnxruntime is from torch on random inputs, at most.

    ExportError where that is more than TOLERANCE; then the file is not there.
    """
    require_onnx()
    written = {}
    for name, program in made.items():
        path = folder / f"{name}.onnx"
        beside = folder / f".{name}.{os.getpid()}.tmp"
        exported = traced(program, inputs_of(name, model, shape, EXAMPLES))
        with _quietly():
            onnx = torch.onnx.export(exported, output_names=list(OUTPUTS[name]), dynamo=True, verbose=False)
            assert onnx is not None
            onnx.model.metadata_props.update({key: _text(value) for key, value in facts.items()})
            onnx.save(str(beside), external_data=False)
        try:
            apart = max(_apart(beside, name, program, model, shape, n) for n in CHECKED)
            if not apart <= TOLERANCE:
                raise ExportError(f"{path.name} differs from the model by {apart:.1e} in onnxruntime; it is not kept")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        written[path] = apart
    return written


def _apart(
    path: Path, name: str, program: nn.Module, model: Architecture, shape: tuple[int, int, int], n: int
) -> float:
    """The largest difference between onnxruntime and torch over the outputs, as TOLERANCE has it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = inputs_of(name, model, shape, n, seed=n)
    asked = {i.name: inputs[i.name].numpy() for i in session.get_inputs()}
    found = session.run(list(OUTPUTS[name]), asked)
    with torch.no_grad():
        ours = program(**inputs)
    pairs = zip((ours,) if isinstance(ours, torch.Tensor) else ours, map(torch.from_numpy, found), strict=True)
    return max(float(((a - b).abs() / a.abs().clamp(min=1)).max()) for a, b in pairs)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@contextlib.contextmanager
def _quietly() -> Any:
    """The exporter tells of its steps on stdout and warns of what it will do one day."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
