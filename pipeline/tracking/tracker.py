"""Runs in one MLflow experiment: opened by their key, found again, closed if somebody left them open."""

import getpass
import json
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pipeline.environment import git_commit, git_dirty
from pipeline.errors import TrackingError, cause
from pipeline.store.home import Home
from pipeline.tracking.contract import TRACEBACK, DatasetInfo, RunSpec, RunsView
from pipeline.tracking.database import checked_uri, database_lock, is_server, mlflow_module, open_database, shown
from pipeline.tracking.link import AwayError, Link
from pipeline.tracking.runs import ENDED, NOTE, REASON, RUN_KEY, MlflowRun, log_tags
from pipeline.tracking.views import TAG, children_filter, view_tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

MAX_DIGEST_LENGTH = 36
"""Width of MLflow's column for data set digests."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Tells the interface that this is training, so that it does not begin with the pages for language models."""


class MlflowTracker:
    """A Tracker in one MLflow experiment. Explicit run ids only: no active run, no global tracking URI."""

    def __init__(self, link: Link, experiment_id: str) -> None:
        self.experiment_id = experiment_id
        self._link = link

    @property
    def client(self) -> "MlflowClient":
        """MLflow's own, to look at what is recorded."""
        return self._link.client

    @staticmethod
    def connect(home: Home, experiment: str, *, on_warning: Callable[[str], None]) -> "MlflowTracker":
        """A tracker for the experiment of that name, created if need be; TrackingError if the store is away."""
        uri = checked_uri(home)
        if is_server(uri):
            client = mlflow_module().MlflowClient(tracking_uri=uri)
            try:
                experiment_id = _experiment(client, experiment, None, on_warning)
            except (mlflow_module().exceptions.MlflowException, OSError) as error:
                raise TrackingError(
                    f"no tracking server answers at {shown(uri)} ({cause(error)}); check MLFLOW_TRACKING_URI, "
                    f"or unset it to use {home.mlruns / 'mlflow.db'}"
                ) from None
        else:
            with database_lock(home, uri):
                client = open_database(uri)
                # Without a location of its own an experiment would keep its artifacts under the current directory.
                location = (home.mlruns / "artifacts" / experiment).as_uri()
                experiment_id = _experiment(client, experiment, location, on_warning)
        return MlflowTracker(Link(client, uri, on_warning), experiment_id)

    def open_run(self, spec: RunSpec, *, reopen: bool = False) -> MlflowRun:
        try:
            if spec.parent_id == "":  # the parent could not be recorded, so there is nothing to be a child of
                raise AwayError
            return self._link.call(lambda: self._open(spec, reopen=reopen))
        except AwayError:
            return MlflowRun(self._link, None)

    def _open(self, spec: RunSpec, *, reopen: bool) -> MlflowRun:
        client, run = self._link.client, self._find(spec)
        if run is not None and run.info.status == "FINISHED" and not reopen:
            return MlflowRun(self._link, run, finished=True)
        tags = _tags(spec)
        if run is not None and NOTE in run.data.tags:  # less why it ended the last time
            tags.setdefault(NOTE, run.data.tags[NOTE].partition(ENDED)[0])
        if run is None:
            run = client.create_run(self.experiment_id, tags=tags, run_name=spec.name)
        else:
            client.update_run(run.info.run_id, status="RUNNING")
            if REASON in run.data.tags:
                client.delete_tag(run.info.run_id, REASON)
            if run.info.status == "FAILED":
                self._forget_traceback(run)
        # MLflow refuses to change a parameter: one that is there stays, e.g. the device the run was begun on.
        params = {k: v for k, v in spec.params.items() if k not in run.data.params}
        log_tags(client, run.info.run_id, tags, params)
        if spec.dataset and not run.inputs.dataset_inputs:
            client.log_inputs(run.info.run_id, datasets=[_dataset_input(spec.dataset)])
        return MlflowRun(self._link, run, description=tags.get(NOTE, ""))

    def _forget_traceback(self, run: "Run") -> None:
        """A run that goes on has not failed; a store that deletes nothing keeps the file."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with suppress(mlflow_module().exceptions.MlflowException, NotImplementedError, OSError):
            get_artifact_repository(run.info.artifact_uri, tracking_uri=self._link.uri).delete_artifacts(TRACEBACK)

    def _find(self, spec: RunSpec) -> "Run | None":
        """The run of that key under that parent: a finished one if there is, else the oldest."""
        parent = f"= '{spec.parent_id}'" if spec.parent_id else "IS NULL"
        found = self._link.client.search_runs(
            [self.experiment_id],
            f"tags.{RUN_KEY} = '{spec.key}' and tags.`mlflow.parentRunId` {parent}",
            order_by=["attributes.start_time ASC"],
        )
        return min(found, key=lambda run: run.info.status != "FINISHED", default=None)

    def mark_interrupted(
        self, *, parent_id: str | None = None, keys: Collection[str] | None = None, reason: str = "interrupted"
    ) -> list[str]:
        try:
            return self._link.call(lambda: self._mark_interrupted(parent_id, keys, reason))
        except AwayError:
            return []

    def _mark_interrupted(self, parent_id: str | None, keys: Collection[str] | None, reason: str) -> list[str]:
        client = self._link.client
        query = f"attributes.status = 'RUNNING' and tags.{RUN_KEY} IS NOT NULL"
        if parent_id is not None:
            query += f" and tags.`mlflow.parentRunId` = '{parent_id}'"
        left = [
            run.info.run_id
            for run in client.search_runs([self.experiment_id], query, max_results=10_000)
            if keys is None or run.data.tags[RUN_KEY] in keys
        ]
        for run_id in left:
            log_tags(client, run_id, {REASON: reason})
            client.set_terminated(run_id, "KILLED")
        return left

    def tag_children(self, parent_id: str, names: Collection[str], tags: Mapping[str, Mapping[str, str]]) -> None:
        self._send(lambda: self._tag_children(parent_id, names, tags))

    def _tag_children(self, parent_id: str, names: Collection[str], tags: Mapping[str, Mapping[str, str]]) -> None:
        client = self._link.client
        for run in client.search_runs([self.experiment_id], children_filter(parent_id), max_results=10_000):
            wanted = tags.get(run.data.tags.get(RUN_KEY, ""), {})
            changed = {name: value for name, value in wanted.items() if run.data.tags.get(name) != value}
            if changed:
                log_tags(client, run.info.run_id, changed)
            for name in names:
                if name in run.data.tags and name not in wanted:
                    client.delete_tag(run.info.run_id, name)

    def save_view(self, key: str, view: RunsView) -> None:
        self._send(lambda: self._save_view(key, view))

    def _save_view(self, key: str, view: RunsView) -> None:
        client = self._link.client
        value = view_tag(view, client.get_run(view.parent_id).info.start_time)
        if client.get_experiment(self.experiment_id).tags.get(TAG + key) != value:
            client.set_experiment_tag(self.experiment_id, TAG + key, value)

    def _send(self, operation: Callable[[], None]) -> None:
        with suppress(AwayError):  # repeating the command repeats this, too
            self._link.call(operation)


def _experiment(client: "MlflowClient", name: str, location: str | None, on_warning: Callable[[str], None]) -> str:
    """The id of the experiment of that name, created or taken out of the trash if need be."""
    exceptions = mlflow_module().exceptions
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS)
        except exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another client of the server was faster
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
        on_warning(f"experiment {name} was in MLflow's trash; it is restored, with the runs it had")
    _check_artifacts(found, direct=location is not None)
    return found.experiment_id


def _check_artifacts(experiment: "Experiment", *, direct: bool) -> None:
    """TrackingError if the artifacts of the experiment are out of reach from here."""
    location = urlsplit(experiment.artifact_location)
    folder = Path(unquote(location.path))
    if direct and location.scheme == "mlflow-artifacts":
        raise TrackingError(
            f"experiment {experiment.name} was created through a tracking server; set MLFLOW_TRACKING_URI to that "
            "server's address, or choose another experiment name"
        )
    if direct and location.scheme == "file":
        folder.mkdir(parents=True, exist_ok=True)
    elif location.scheme == "file" and not folder.is_dir():
        raise TrackingError(
            f"experiment {experiment.name} keeps its artifacts in {folder}, which is not on this machine; choose "
            "another experiment name, and the tracking server will keep them"
        )


def _tags(spec: RunSpec) -> dict[str, str]:
    tags = {
        **spec.tags,
        RUN_KEY: spec.key,
        "mlflow.runName": spec.name,
        "mlflow.user": _user(),
        "mlflow.source.name": "cvae-pipe",
        "mlflow.source.type": "LOCAL",
    }
    if spec.parent_id:
        tags["mlflow.parentRunId"] = spec.parent_id
    if spec.description:
        tags[NOTE] = spec.description
    if commit := git_commit():
        tags |= {"mlflow.source.git.commit": commit, "git_dirty": str(git_dirty()).lower()}
    return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return str(os.getuid())


def _dataset_input(info: DatasetInfo) -> Any:
    """MLflow's entity, built by hand: its own helpers want the whole array to look at its shape."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    profile = {"num_rows": info.shape[0], "shape": list(info.shape), "classes": info.classes}
    dataset = Dataset(
        name=info.name,
        digest=info.digest[:MAX_DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": info.source}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", info.context)])
