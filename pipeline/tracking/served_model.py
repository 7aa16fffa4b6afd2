"""A trained generator as MLflow serves it: labels in, images out. MLflow runs this file; nothing here imports it.

What is registered is this file, the weights and the prior (safetensors) and the architecture (JSON): loading it
unpickles nothing.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from pipeline.config.sections import ModelConfig
from pipeline.grids import as_pictures
from pipeline.models.building import built
from pipeline.models.priors import STANDARD, ClassMixtures, Prior
from pipeline.models.sampling import decode_means, draw_z, fixed_noise


class ConditionalSampler(mlflow.pyfunc.PythonModel):
    """One image per label and sample: mean images of p(x|z,c) with z from the prior that it was scored under."""

    def load_context(self, context: Any) -> None:
        architecture = json.loads(Path(context.artifacts["architecture"]).read_text(encoding="utf-8"))
        self.height, self.width = architecture.pop("height"), architecture.pop("width")
        self.channels = architecture.pop("channels", 1)  # older models are grey
        pixels, classes = architecture.pop("pixels"), architecture.pop("classes")
        widths = {name: tuple(value) for name, value in architecture.items() if isinstance(value, list)}
        shape = pixels // (self.height * self.width), self.height, self.width
        self.model = built(ModelConfig(**architecture | widths), shape=shape, classes=classes)
        self.model.load_state_dict(load_file(context.artifacts["weights"]))
        self.model.eval()
        fitted = context.artifacts.get("prior")
        self.prior: Prior = ClassMixtures(**load_file(fitted)) if fitted else STANDARD

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> np.ndarray:
        """(N, H, W) in [0, 1], or (N, H, W, 3) of colour: `samples` images of each row's `label`, in order of rows.

        The noise is that of `pipeline.models.sampling` with the same `seed`, so equal requests have equal answers. A
        model that takes no label gives an image per row all the same.
        """
        options = {"samples": 1, "seed": 0} | (params or {})
        y = torch.from_numpy(self._labels(model_input).repeat(int(options["samples"])))
        seed = int(options["seed"])
        z = draw_z(y, fixed_noise(len(y), self.model.latent_dim, seed=seed), self.prior, seed=seed)
        return as_pictures(decode_means(self.model, z, y), (self.channels, self.height, self.width)).numpy()

    def _labels(self, table: pd.DataFrame) -> np.ndarray:
        labels = table["label"].to_numpy(dtype=np.int64)
        unknown = labels[(labels < 0) | (labels >= self.model.classes)]
        if len(unknown):
            raise ValueError(f"label {unknown[0]} is not one of 0 .. {self.model.classes - 1}")
        return labels


mlflow.models.set_model(ConditionalSampler())
