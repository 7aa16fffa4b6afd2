"""The machine's load while a run is at work, where MLflow is asked for that: its own switch, its own monitor."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.tracking.database import mlflow_module

SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
"""MLflow's own: `mlflow.enable_system_metrics_logging()` sets it, too."""


@contextmanager
def system_metrics(run_id: str, uri: str, on_warning: Callable[[str], None]) -> Iterator[None]:
    """`system/..` metrics of a run for as long as something is at work inside; nothing unless they are asked for."""
    asked = mlflow_module().environment_variables.MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get()
    if not asked or not run_id:
        yield
        return
    if importlib.util.find_spec("psutil") is None:
        on_warning(f"{SWITCH} is set, but there is no psutil to read the machine's load with; pip install psutil")
        yield
        return
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
