"""Runs in MLflow: parameters, metric curves, images, tables, statuses, the registered choice. The only MLflow import.

Knows MLflow and where its store is. Does not know stages, studies or models. A run is found by its key: opening the
same specification twice opens one run, and logging the same facts twice leaves them there once. MLflow is a
projection of the stage store, so a tracking server that goes away stops nothing; what it missed is replayed later.
"""

from pipeline.tracking.addresses import tracking_uri
from pipeline.tracking.contract import (
    TRACEBACK,
    DatasetInfo,
    RunSpec,
    RunsView,
    ServedModel,
    Status,
    TrackedRun,
    Tracker,
)
from pipeline.tracking.database import mlflow_module, prepare_store
from pipeline.tracking.link import uninterrupted
from pipeline.tracking.links import (
    HERE,
    TABLES,
    TRAINING,
    artifact_file_url,
    artifact_url,
    comparison_url,
    model_url,
    run_url,
    ui_base,
    ui_links,
    view_key,
    view_url,
)
from pipeline.tracking.notes import note_table
from pipeline.tracking.registry import registered_name
from pipeline.tracking.runs import MlflowRun
from pipeline.tracking.serving import ui_command, ui_environment
from pipeline.tracking.surrounding import Surrounding, surrounding_run
from pipeline.tracking.tracker import MlflowTracker

__all__ = [
    "HERE",
    "TABLES",
    "TRACEBACK",
    "TRAINING",
    "DatasetInfo",
    "MlflowRun",
    "MlflowTracker",
    "RunSpec",
    "RunsView",
    "ServedModel",
    "Status",
    "Surrounding",
    "TrackedRun",
    "Tracker",
    "artifact_file_url",
    "artifact_url",
    "comparison_url",
    "mlflow_module",
    "model_url",
    "note_table",
    "prepare_store",
    "registered_name",
    "run_url",
    "surrounding_run",
    "tracking_uri",
    "ui_base",
    "ui_command",
    "ui_environment",
    "ui_links",
    "uninterrupted",
    "view_key",
    "view_url",
]
