"""Runs in one MLflow experiment: opened by their key, found again, closed if somebody left them open."""

import getpass
import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pipeline.environment import git_commit, git_dirty
from pipeline.errors import TrackingError, cause
from pipeline.store.home import Home
from pipeline.tracking.addresses import CREDENTIALS, checked_uri, embedded, is_server, scrubbed, shown, tracking_uri
from pipeline.tracking.contract import TRACEBACK, DatasetInfo, RunSpec, RunsView
from pipeline.tracking.database import database_lock, mlflow_module, opened
from pipeline.tracking.limits import TAG_SIZES
from pipeline.tracking.link import AwayError, Link, refused
from pipeline.tracking.runs import ENDED, NOTE, REASON, RUN_KEY, MlflowRun, last_heard_ms
from pipeline.tracking.views import TAG, children_filter, view_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

MAX_DIGEST_LENGTH = 36
"""Width of MLflow's column for data set digests."""
PROBE = "cvae-pipe-probe.txt"
"""A file that is written to an experiment's artifacts, and removed, to see whether that works."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Tells the interface that this is training, so that it does not begin with the pages for language models."""


class MlflowTracker:
    """A Tracker in one MLflow experiment. Explicit run ids only: no active run, no global tracking URI."""

    def __init__(self, link: Link, experiment_id: str) -> None:
        self.experiment_id = experiment_id
        self._link = link
        self._made: dict[str, set[str]] = {}
        """Runs that were made here, and the keys of those asked for below each. One of another key is not there yet, so
        that the store need not be searched for it."""

    @property
    def client(self) -> "MlflowClient":
        """MLflow's own, to look at what is recorded."""
        return self._link.client

    @property
    def link(self) -> Link:
        """The connection, with what is known of its limits."""
        return self._link

    @staticmethod
    def connect(home: Home, experiment: str, *, on_warning: Callable[[str], None]) -> "MlflowTracker":
        """A tracker for the experiment of that name, created if need be.

        TrackingError if the store is away, or does not let us write runs or artifacts there.
        """
        uri = checked_uri(home)
        client = opened(home)
        try:
            if is_server(uri):
                found = _experiment(client, experiment, None, on_warning)
            else:
                with database_lock(home, uri):
                    # Without a location of its own an experiment would keep its artifacts in the current directory.
                    folder = experiment.replace("/", "-").strip(".") or "experiment"
                    location = (home.mlruns / "artifacts" / folder).as_uri()
                    found = _experiment(client, experiment, location, on_warning)
        except (mlflow_module().exceptions.MlflowException, OSError) as error:
            raise unusable(client, error, home, experiment) from None
        check_artifacts(found, uri)
        return MlflowTracker(Link(client, uri, on_warning), found.experiment_id)

    def open_run(self, spec: RunSpec, *, reopen: bool = False) -> MlflowRun:
        try:
            if spec.parent_id == "":  # the parent could not be recorded, so there is nothing to be a child of
                raise AwayError
            return self._link.call(lambda: self._open(spec, reopen=reopen))
        except AwayError as away:
            if away.refusal and not spec.parent_id:
                raise TrackingError(
                    f"the tracking server {shown(self._link.uri)} does not let this user write runs ({away.refusal}); "
                    f"credentials are given by {CREDENTIALS}"
                ) from None
            return MlflowRun(self._link, None)

    def _open(self, spec: RunSpec, *, reopen: bool) -> MlflowRun:
        client, run = self._link.client, self._find(spec)
        if run is not None and not reopen and _is_whole(run, spec):
            return MlflowRun(self._link, run, finished=True)
        tags = _tags(spec)
        if run is not None and NOTE in run.data.tags:  # less why it ended the last time
            tags.setdefault(NOTE, run.data.tags[NOTE].partition(ENDED)[0])
        if run is None:
            # Those that every store holds; the rest follows, as far as this one does.
            short = {name: value for name, value in tags.items() if len(value) <= TAG_SIZES[-1]}
            began = None if spec.started is None else round(spec.started * 1000)
            run = client.create_run(self.experiment_id, began, tags=short, run_name=spec.name)
            self._made[run.info.run_id] = set()
            paused = None
        else:
            paused = run.info.end_time or last_heard_ms(client, run)
            client.update_run(run.info.run_id, status="RUNNING")
            if REASON in run.data.tags:
                client.delete_tag(run.info.run_id, REASON)
            if run.info.status == "FAILED":
                self._forget_traceback(run)
        # MLflow refuses to change a parameter: one that is there stays, e.g. the device the run was begun on.
        params = {k: v for k, v in spec.params.items() if k not in run.data.params}
        lacking = {k: v for k, v in tags.items() if run.data.tags.get(k) != v}
        self._link.limits.log(client, run.info.run_id, lacking, params)
        if spec.dataset and not (run.inputs and run.inputs.dataset_inputs):
            dataset = _dataset_input(spec.dataset)
            self._link.limits.attempt(
                "data sets of runs", lambda: client.log_inputs(run.info.run_id, datasets=[dataset])
            )
        return MlflowRun(self._link, run, description=tags.get(NOTE, ""), paused_ms=paused)

    def _forget_traceback(self, run: "Run") -> None:
        """A run that goes on has not failed; a store that deletes nothing keeps the file."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with suppress(mlflow_module().exceptions.MlflowException, NotImplementedError, OSError):
            get_artifact_repository(run.info.artifact_uri, tracking_uri=self._link.uri).delete_artifacts(TRACEBACK)

    def _find(self, spec: RunSpec) -> "Run | None":
        """The run of that key under that parent: a finished one if there is, else the oldest."""
        below = self._made.get(spec.parent_id or "")
        if below is not None and spec.key not in below:
            below.add(spec.key)  # before it is made: what an outage cuts off may be there all the same
            return None
        # Compared here, not in the filter: older servers have no `IS NULL`.
        found = [
            run
            for run in self._link.client.search_runs(
                [self.experiment_id], f"tags.{RUN_KEY} = '{spec.key}'", order_by=["attributes.start_time ASC"]
            )
            if run.data.tags.get("mlflow.parentRunId") == spec.parent_id
        ]
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
        query = "attributes.status = 'RUNNING'"
        if parent_id is not None:
            query += f" and tags.`mlflow.parentRunId` = '{parent_id}'"
        left = [
            run
            for run in client.search_runs([self.experiment_id], query, max_results=10_000)
            if RUN_KEY in run.data.tags and (keys is None or run.data.tags[RUN_KEY] in keys)
        ]
        for run in left:
            self._link.limits.log(client, run.info.run_id, {REASON: reason})
            client.set_terminated(run.info.run_id, "KILLED", run.info.end_time or last_heard_ms(client, run))
        return [run.info.run_id for run in left]

    def tag_children(self, parent_id: str, names: Collection[str], tags: Mapping[str, Mapping[str, str]]) -> None:
        self._send(lambda: self._tag_children(parent_id, names, tags))

    def _tag_children(self, parent_id: str, names: Collection[str], tags: Mapping[str, Mapping[str, str]]) -> None:
        client = self._link.client
        for run in client.search_runs([self.experiment_id], children_filter(parent_id), max_results=10_000):
            wanted = tags.get(run.data.tags.get(RUN_KEY, ""), {})
            changed = {name: value for name, value in wanted.items() if run.data.tags.get(name) != value}
            if changed:
                self._link.limits.log(client, run.info.run_id, changed)
            for name in names:
                if name in run.data.tags and name not in wanted:
                    client.delete_tag(run.info.run_id, name)

    def save_view(self, key: str, view: RunsView) -> None:
        self._send(lambda: self._save_view(key, view))

    def _save_view(self, key: str, view: RunsView) -> None:
        client = self._link.client
        held = client.get_experiment(self.experiment_id).tags.get(TAG + key)
        for value, lacking in view_tags(view, client.get_run(view.parent_id).info.start_time):
            if value == held:
                return
            try:
                client.set_experiment_tag(self.experiment_id, TAG + key, value)
            except mlflow_module().exceptions.MlflowException as error:
                if error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
            else:
                if lacking:
                    self._link.limits.warn(f"the view of {view.name} is without {lacking}")
                return
        self._link.limits.warn(f"the view of {view.name} is left out")

    def _send(self, operation: Callable[[], None]) -> None:
        with suppress(AwayError):  # repeating the command repeats this, too
            self._link.call(operation)


def _experiment(
    client: "MlflowClient", name: str, location: str | None, on_warning: Callable[[str], None]
) -> "Experiment":
    """The experiment of that name, created or taken out of the trash if need be, and open to us for writing."""
    exceptions = mlflow_module().exceptions
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            made = client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS)
            return client.get_experiment(made)
        except exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another client of the server was faster
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
        on_warning(f"experiment {name} was in MLflow's trash; it is restored, with the runs it had")
    for tag, value in EXPERIMENT_TAGS.items():  # asks for the same right as writing runs does
        client.set_experiment_tag(found.experiment_id, tag, found.tags.get(tag, value))
    return found


def unusable(client: "MlflowClient", error: Exception, home: Home, experiment: str) -> TrackingError:
    """Why a store cannot be used, in one line: it is away, or it does not let us in."""
    uri = tracking_uri(home)
    reason = scrubbed(cause(error), uri)
    instead = f"or unset it to use {embedded(home)}"
    answered = isinstance(error, mlflow_module().exceptions.RestException)
    if code := refused(error) or (answered and _refuses(client)):
        what = "does not know this user" if code == 401 else "does not let this user write"
        return TrackingError(
            f"the tracking server {shown(uri)} answered {code} ({reason}): it {what}, experiment {experiment}; "
            f"credentials are given by {CREDENTIALS}; another experiment by --experiment"
        )
    if is_server(uri):
        return TrackingError(
            f"no tracking server answers at {shown(uri)} ({reason}); check MLFLOW_TRACKING_URI, {instead}"
        )
    return TrackingError(f"the tracking database {shown(uri)} cannot be written ({reason}); check it")


def _refuses(client: "MlflowClient") -> int | None:
    """401 or 403 if that is what a server answers: MLflow loses the number where a proxy answers in JSON."""
    from mlflow.utils.rest_utils import http_request

    try:
        credentials = client._tracking_client.store.get_host_creds()
        search = {"host_creds": credentials, "endpoint": "/api/2.0/mlflow/experiments/search", "method": "GET"}
        answer = http_request(**search, params={"max_results": 1}, max_retries=0, raise_on_status=False)
    except (mlflow_module().exceptions.MlflowException, OSError, AttributeError):
        return None
    return answer.status_code if answer.status_code in (401, 403) else None


def check_artifacts(experiment: "Experiment", uri: str) -> None:
    """TrackingError if artifacts of the experiment cannot be written from here."""
    place = urlsplit(experiment.artifact_location)
    folder, direct = Path(unquote(place.path)), not is_server(uri)
    if direct and place.scheme == "mlflow-artifacts":
        raise TrackingError(
            f"experiment {experiment.name} was created through a tracking server; set MLFLOW_TRACKING_URI to that "
            "server's address, or choose another with --experiment"
        )
    if place.scheme in ("", "file") and not direct and not folder.is_dir():
        raise TrackingError(
            f"experiment {experiment.name} keeps its artifacts in {folder}, which is not on this machine; choose "
            "another with --experiment, or have the tracking server serve them (--artifacts-destination)"
        )
    try:
        if place.scheme == "file":
            folder.mkdir(parents=True, exist_ok=True)
        _try_to_write(experiment.artifact_location, uri)
    except Exception as error:  # of whichever library that store needs
        hint = "choose another experiment with --experiment, or mend it"
        if isinstance(error, ImportError):
            hint = "install what it needs beside cvae-pipe"
        elif refused(error):
            hint = f"credentials are given by {CREDENTIALS}"
        raise TrackingError(
            f"experiment {experiment.name} keeps its artifacts in {shown(experiment.artifact_location)}, which cannot "
            f"be written from here ({scrubbed(cause(error), uri)}); {hint}"
        ) from None


def _try_to_write(location: str, uri: str) -> None:
    """One small file there and gone again."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, PROBE)
        probe.write_text("cvae-pipe was here to see whether it may write\n", encoding="utf-8")
        repository = get_artifact_repository(location, tracking_uri=uri)
        repository.log_artifact(str(probe))
        with suppress(Exception):  # who may write but not delete keeps one such file an experiment
            repository.delete_artifacts(PROBE)


def _is_whole(run: "Run", spec: RunSpec) -> bool:
    ended = (run.info.status, run.data.tags.get(REASON, ""))
    return run.info.status == "FINISHED" or ended == spec.ended


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

    def tensor(dtype: str, *shape: int) -> str:
        return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, *shape]}}])

    profile = {
        "num_rows": info.shape[0],
        "shape": list(info.shape),
        "classes": info.classes,
        "splits": dict(info.splits),
    }
    schema = {"features": tensor("uint8", *info.shape[1:]), "targets": tensor("int64")}
    dataset = Dataset(
        name=info.name,
        digest=info.digest[:MAX_DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": info.source}),
        schema=json.dumps({"mlflow_tensorspec": schema}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", info.context)])
