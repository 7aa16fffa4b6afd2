"""A trained generator as MLflow serves it: labels in, images out. MLflow runs this file; nothing here imports it.

What is registered is this file with the code that it imports, the weights and the prior (safetensors) and the
architecture (JSON): loading it unpickles nothing, and needs nothing of this project to be installed.
"""

import json
import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file

from pipeline.config.sections import ModelConfig
from pipeline.models.building import built
from pipeline.models.generation import class_images
from pipeline.models.priors import STANDARD, ClassMixtures, Prior

MOST_IMAGES = 10_000
"""Of one call: 8 million pixels of MNIST."""
DEFAULTS = {"n": 1, "seed": 0, "temperature": 1.0}


class ConditionalSampler(mlflow.pyfunc.PythonModel):
    """Images of classes: means of p(x|z,c) with z from the prior that the model was scored under."""

    def load_context(self, context: Any) -> None:
        torch.set_num_threads(1)  # one image is too little work to share
        architecture = json.loads(Path(context.artifacts["architecture"]).read_text(encoding="utf-8"))
        self.shape, self.class_names = tuple(architecture.pop("shape")), architecture.pop("class_names")
        classes = architecture.pop("classes")
        widths = {name: tuple(value) for name, value in architecture.items() if isinstance(value, list)}
        self.model = built(ModelConfig(**architecture | widths), shape=self.shape, classes=classes)
        self.model.load_state_dict(load_file(context.artifacts["weights"]))
        self.model.eval()
        fitted = context.artifacts.get("prior")
        self.prior: Prior = ClassMixtures(**load_file(fitted)) if fitted else STANDARD

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> np.ndarray:
        """(N, H, W), or (N, H, W, 3) of colour, in [0, 1]: the images of every row, in order.

        A row asks for the first `n` (1) images of a `label`, a class's index or name, at a `seed` (0) and a
        `temperature` (1): the images that `cvae-pipe generate` makes. A model that takes no label needs none.
        """
        table = pd.DataFrame(model_input)  # the server makes columns or rows of what it is sent
        asked = [self._request(row) for row in table.to_dict("records")]
        if not asked or sum(n for _, n, _, _ in asked) > MOST_IMAGES:
            raise _refused(f"{sum(n for _, n, _, _ in asked):,} images are asked for; it must be 1 to {MOST_IMAGES:,}")
        parts = [
            class_images(self.model, self.prior, [label], n, seed=seed, temperature=temperature)[0]
            for label, n, seed, temperature in asked
        ]
        images = torch.cat(parts).unflatten(1, self.shape)
        return (images[:, 0] if self.shape[0] == 1 else images.movedim(1, -1)).numpy()

    def _request(self, row: dict[Any, Any]) -> tuple[int, int, int, float]:
        """(label, n, seed, temperature) of a row; what it does not say is the default."""
        unknown = sorted(str(name) for name in row if name not in ("label", *DEFAULTS))
        if unknown:
            raise _refused(f"there is no {unknown[0]!r} in a request; it has label, n, seed and temperature")
        given = DEFAULTS | {name: value for name, value in row.items() if not _missing(value)}
        n, seed = (_whole(name, given[name], least) for name, least in (("n", 1), ("seed", 0)))
        temperature = given["temperature"]
        if (
            isinstance(temperature, bool)
            or not isinstance(temperature, (int, float))
            or not 0 <= temperature < math.inf
        ):
            raise _refused(f"temperature is {temperature!r}; it must be a finite number, 0 or more")
        return self._label(given.get("label")), n, seed, float(temperature)

    def _label(self, label: Any) -> int:
        if not self.model.conditional:
            return 0
        if isinstance(label, str) and label in self.class_names:
            return int(self.class_names.index(label))
        if isinstance(label, str) and label.isascii() and label.isdigit():
            label = int(label)
        if isinstance(label, float) and label.is_integer():  # a column in which another row has none
            label = int(label)
        if isinstance(label, (int, np.integer)) and not isinstance(label, bool) and 0 <= label < self.model.classes:
            return int(label)
        raise _refused(
            f"label is {label!r}; it must be 0 to {self.model.classes - 1}, or one of {', '.join(self.class_names)}"
        )


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _whole(name: str, value: Any, least: int) -> int:
    number = int(value) if isinstance(value, float) and value.is_integer() else value  # a column with gaps is of floats
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not least <= number < 2**63 - 1:
        raise _refused(f"{name} is {value!r}; it must be a whole number, {least} or more")
    return int(number)


def _refused(text: str) -> MlflowException:
    """The server answers it with 400."""
    return MlflowException.invalid_parameter_value(text)


mlflow.models.set_model(ConditionalSampler())
