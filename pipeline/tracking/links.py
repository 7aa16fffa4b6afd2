"""Addresses in MLflow's web interface. Looks at what is recorded; starts nothing."""

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from pipeline.errors import TrackingError
from pipeline.store.home import Home
from pipeline.tracking.addresses import is_server, shown, tracking_uri
from pipeline.tracking.database import mlflow_module, opened
from pipeline.tracking.registry import registered_name
from pipeline.tracking.serving import LOOPBACK, here
from pipeline.tracking.tracker import unusable
from pipeline.tracking.views import TAG, children_filter

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRAINING = {"workflowType": "machine_learning"}
"""Which half of the interface: the one for training, not the one for language models."""
REPORT = "report.html"
CHARTS, TABLES = "CHART", "ARTIFACT"
"""How the runs page shows what it compares."""


def ui_base(home: Home, host: str = LOOPBACK, port: int = 5055) -> str:
    """Address of MLflow's UI: that of the tracking server if there is one, else of the server `ui_command` starts."""
    uri = tracking_uri(home)
    return shown(uri).rstrip("/") if is_server(uri) else here(host, port)


SHOWS = {
    "all": "MLflow's whole interface",
    "runs": "charts of all runs",
    "trials": "the trials of the study as charts, sorted",
    "view": "the trials in the view made for them: columns, charts and colours chosen",
    "classes": "scores of the trials for each class, side by side",
    "study": "the study itself: settings, description, files",
    "report": "its report",
    "model": "the registered choice, ready to be loaded",
}
"""What is at each of `ui_links`, in words."""

HERE = "."
"""Base of addresses that are used within the interface itself, e.g. in a description."""


def run_url(base: str, experiment_id: str, run_id: str) -> str:
    """Deep link to one run."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def artifact_url(base: str, experiment_id: str, run_id: str, path: str) -> str:
    """Deep link to an artifact, shown inside the interface."""
    return f"{run_url(base, experiment_id, run_id)}/artifacts/{quote(path)}?{urlencode(TRAINING)}"


def artifact_file_url(run_id: str, path: str, base: str = HERE) -> str:
    """The artifact itself, e.g. for an image in a description."""
    return f"{base.rstrip('/')}/get-artifact?{urlencode({'path': path, 'run_uuid': run_id})}"


def model_url(base: str, name: str) -> str:
    """Deep link to a registered model."""
    return f"{base.rstrip('/')}/#/models/{quote(name)}?{urlencode(TRAINING)}"


def view_key(parent_id: str) -> str:
    """The key of the saved view of a run's children."""
    return f"cvae-pipe-{parent_id}"


def view_url(base: str, experiment_id: str, parent_id: str, mode: str = CHARTS) -> str:
    """Deep link to the saved view of a run's children: as CHARTS, or the TABLES that they logged side by side."""
    query = {"viewStateShareKey": view_key(parent_id), "compareRunsMode": mode, **TRAINING}
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{urlencode(query)}"


def comparison_url(
    base: str, experiment_id: str, *, parent_id: str | None, metric: str, ascending: bool = True, having: str = ""
) -> str:
    """Deep link to the charts of all children of a run (of all runs, if None), sorted by a metric; of those that carry
    a tag, if one is given."""
    query = {
        "compareRunsMode": CHARTS,
        **TRAINING,
        "searchFilter": children_filter(parent_id, having=having) if parent_id else "",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": str(ascending).lower(),
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": "W10=",  # base64 of []
    }
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def ui_links(
    home: Home, experiment: str, base: str, *, study: str | None = None, metric: str = "", ascending: bool = True
) -> dict[str, str]:
    """Deep links into the UI at `base`, by what they show; nothing while nothing is recorded.

    Of a study (by default the latest): its trials as charts sorted by `metric`, the same in a view made for them, their
    scores per class, its parent run, its report, its champion. Without a study: the charts of all runs.
    """
    client = opened(home)
    try:
        return _links(client, experiment, base, study=study, metric=metric, ascending=ascending)
    except (mlflow_module().exceptions.MlflowException, OSError) as error:
        raise unusable(client, error, home, experiment) from None


def _links(
    client: "MlflowClient", experiment: str, base: str, *, study: str | None, metric: str, ascending: bool
) -> dict[str, str]:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return {}
    where = found.experiment_id
    studies = client.search_runs([where], "tags.kind = 'study'", order_by=["attributes.start_time DESC"])
    # Compared here, not in the filter: a name may hold quotes.
    parents = [run for run in studies if not study or run.data.tags.get("study") == study]
    if not parents:
        if study:
            raise TrackingError(f"no study {study!r} is recorded; leave --study out to see all runs")
        return {
            "runs": comparison_url(base, where, parent_id=None, metric=metric or "test/neg_elbo", ascending=ascending)
        }
    parent = parents[0].info.run_id
    by = metric or "val/neg_elbo"
    has_view = TAG + view_key(parent) in found.tags  # as a sweep has, whose re-trainings and finals are no trials
    trials = comparison_url(
        base, where, parent_id=parent, metric=by, ascending=ascending, having="trial" if has_view else ""
    )
    links = {"trials": trials}
    if has_view:
        links["view"] = view_url(base, where, parent)
        links["classes"] = view_url(base, where, parent, TABLES)
    links["study"] = f"{run_url(base, where, parent)}?{urlencode(TRAINING)}"
    if _has_report(parents[0].info.artifact_uri, client.tracking_uri):
        links["report"] = artifact_url(base, where, parent, REPORT)
    name = registered_name(parents[0].data.tags.get("study", ""))
    if client.search_registered_models(f"name = '{name}'"):
        links["model"] = model_url(base, name)
    return links


def _has_report(artifacts: str, uri: str) -> bool:
    """Whether a run's artifacts hold its report. MLflow's own listing asks for what servers before 3.0 do not know."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return any(file.path == REPORT for file in get_artifact_repository(artifacts, tracking_uri=uri).list_artifacts())
