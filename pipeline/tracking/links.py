"""Addresses in MLflow's web interface, and the command that serves it. Starts nothing."""

import os
import sys
from urllib.parse import quote, urlencode

from pipeline.errors import TrackingError
from pipeline.store import Home
from pipeline.tracking.database import is_server, tracking_uri
from pipeline.tracking.tracker import MlflowTracker


def ui_base(home: Home, host: str = "127.0.0.1", port: int = 5055) -> str:
    """Address of MLflow's UI: that of the tracking server if there is one, else of the server `ui_command` starts."""
    uri = tracking_uri(home)
    return uri.rstrip("/") if is_server(uri) else f"http://{host}:{port}"


def ui_command(home: Home, host: str = "127.0.0.1", port: int = 5055) -> list[str]:
    """The command that serves the UI on the home's store; run it with `ui_environment()`, after `prepare_store`.

    Empty if MLFLOW_TRACKING_URI is a server: that is the UI.
    """
    uri = tracking_uri(home)
    if is_server(uri):
        return []
    artifacts = (home.mlruns / "artifacts").as_uri()
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", uri, "--artifacts-destination", artifacts),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def ui_environment() -> dict[str, str]:
    """The environment for `ui_command`: no usage reports, and none of the job runners (8 processes, 1.3 GB)."""
    return {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def run_url(base: str, experiment_id: str, run_id: str) -> str:
    """Deep link to one run."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def comparison_url(base: str, experiment_id: str, *, parent_id: str | None, metric: str, ascending: bool = True) -> str:
    """Deep link to the charts of all children of a run (of all runs, if None), sorted by a metric."""
    query = {
        "compareRunsMode": "CHART",
        "workflowType": "machine_learning",
        "searchFilter": f"tags.`mlflow.parentRunId` = '{parent_id}'" if parent_id else "",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": str(ascending).lower(),
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": "W10=",  # base64 of []
    }
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def ui_links(home: Home, experiment: str, base: str, *, study: str | None = None) -> dict[str, str]:
    """Deep links into the UI at `base`: the charts of a study's trials (by default the latest study's) and its parent
    run; without a study, the charts of all runs. Empty while nothing is recorded."""
    client = MlflowTracker.connect(home, experiment, on_warning=lambda text: None)._link.client
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return {}
    studies = client.search_runs([found.experiment_id], "tags.kind = 'study'", order_by=["attributes.start_time DESC"])
    # Compared here, not in the filter: a name may hold quotes.
    parents = [run for run in studies if not study or run.data.tags.get("study") == study]
    if not parents:
        if study:
            raise TrackingError(f"no study {study!r} is recorded; leave --study out to see all runs")
        return {"comparison": comparison_url(base, found.experiment_id, parent_id=None, metric="test/neg_elbo")}
    parent = parents[0]
    name = parent.data.tags.get("study", parent.info.run_name)
    return {
        f"trials of {name}": comparison_url(
            base, found.experiment_id, parent_id=parent.info.run_id, metric="val/neg_elbo"
        ),
        f"study {name}": run_url(base, found.experiment_id, parent.info.run_id),
    }
