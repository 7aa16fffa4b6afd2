"""Trained generators in MLflow's model registry: one version per run, the chosen one under an alias."""

import importlib.metadata
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.digests import digest
from pipeline.tracking.contract import ServedModel
from pipeline.tracking.database import mlflow_module
from pipeline.tracking.link import Link

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

FOLDER = "model"
"""Where a registered run keeps its packaged model among its artifacts."""
CHAMPION = "champion"
"""Alias of the chosen version: `models:/<name>@champion`."""
REQUIREMENTS = ("torch", "safetensors", "numpy", "pandas", "jaxtyping")
"""What a loaded model imports besides the code that it carries. MLflow adds itself."""
CARRIED = ("__init__.py", "errors.py", "config", "models")
"""Of this package, what `served_model` imports, directly or not."""

USAGE = """Labels in, images out.

```python
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model("models:/{name}@champion")
images = model.predict(pd.DataFrame({{"label": [0, 1, 2], "n": 8, "seed": 0}}))  # (24, H, W) in [0, 1]
```
"""


def registered_name(study: str) -> str:
    """A name that fits into a `models:/` address; one that had to be changed carries a digest, so that none collide."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", study).strip("-.")
    return plain if plain and plain == study else f"{plain or 'study'}-{digest(study)[:8]}"


def package(model: ServedModel, folder: Path) -> None:
    """The model as MLflow loads and serves it: code as text, weights as safetensors. Takes no network.

    No schema of inputs: MLflow drops columns that it does not know without a word, and the model itself says what is
    wrong with a request.
    """
    mlflow = mlflow_module()
    import numpy as np
    from mlflow.types import Schema, TensorSpec

    channels, *size = model.shape
    signature = mlflow.models.ModelSignature(
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *size, *((channels,) if channels > 1 else ())))]),
    )
    with tempfile.TemporaryDirectory() as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        architecture = Path(made, "architecture.json")
        facts = {**model.architecture, "shape": model.shape, "class_names": model.class_names}
        architecture.write_text(json.dumps(facts), encoding="utf-8")
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(Path(__file__).with_name("served_model.py")),
            code_paths=[str(_carried_code(Path(made)))],
            artifacts={
                "weights": str(model.weights),
                "architecture": str(architecture),
                **({"prior": str(model.prior)} if model.prior else {}),
            },
            signature=signature,
            pip_requirements=_requirements(),  # else MLflow looks for them in a subprocess of its own, for seconds
        )


def _carried_code(folder: Path) -> Path:
    """A copy of what `served_model` imports of this package."""
    ours, copy = Path(__file__).parents[1], folder / Path(__file__).parents[1].name
    copy.mkdir()
    for name in CARRIED:
        if (ours / name).is_dir():
            shutil.copytree(ours / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ours / name, copy / name)
    return copy


def register(
    link: Link, run_id: str, name: str, model: ServedModel, *, tags: Mapping[str, str], description: str
) -> None:
    """The run's model as a version of that name, and the alias on it; repeated, it adds nothing."""
    client = link.client
    _ensure_name(client, name)
    version = _version_of(client, name, run_id)
    if version is None:
        with tempfile.TemporaryDirectory() as folder:
            package(model, Path(folder, FOLDER))
            client.log_artifacts(run_id, str(Path(folder, FOLDER)), FOLDER)
        source = f"{client.get_run(run_id).info.artifact_uri}/{FOLDER}"
        version = client.create_model_version(name, source, run_id, tags=dict(tags), description=description)
    elif version.description != description:
        client.update_model_version(name, version.version, description)
    number = version.version
    if str(client.get_registered_model(name).aliases.get(CHAMPION)) != str(number):
        link.limits.attempt(
            f"aliases of models ({CHAMPION} is version {number} of {name})",
            lambda: client.set_registered_model_alias(name, CHAMPION, number),
        )


def _ensure_name(client: "MlflowClient", name: str) -> None:
    exceptions = mlflow_module().exceptions
    try:
        client.get_registered_model(name)
    except exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name, description=USAGE.format(name=name))


def _version_of(client: "MlflowClient", name: str, run_id: str) -> "ModelVersion | None":
    found: list[Any] = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return min(found, key=lambda version: int(version.version), default=None)


def _requirements() -> list[str]:
    """The packages a loaded model needs, at the versions that are here; of a build such as 2.15.0+cpu, which no index
    has, the release."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]
