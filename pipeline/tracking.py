"""Runs in MLflow: parameters, metric curves, images, tables, statuses. The only MLflow import.

Knows MLflow and where its store is. Does not know stages, studies or models. A run is found by its key: opening the
same specification twice opens one run, and logging the same facts twice leaves them there once. MLflow is a
projection of the stage store, so a tracking server that goes away stops nothing; what it missed is replayed later.
"""

import getpass
import importlib.metadata
import json
import logging
import math
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar
from urllib.parse import quote, unquote, urlencode, urlsplit

from filelock import FileLock
from jaxtyping import UInt8

from pipeline.errors import TrackingError
from pipeline.store import Home

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

T = TypeVar("T")
Status = Literal["FINISHED", "FAILED", "KILLED"]

RUN_KEY = "run_key"
"""Tag that makes a run findable: the digest of its configuration."""
REASON = "reason"
"""Tag that says why a run is FAILED or KILLED."""
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https")

RETRY_SECONDS = 30.0
"""After a store did not answer, leave it alone this long: an outage costs a sweep one timeout in half a minute."""
CONNECT_SECONDS, ANSWER_SECONDS = 2, 10
"""How long an HTTP request waits for a connection and for its answer. MLflow's own 120 s, seven times with growing
pauses, would hold a sweep for minutes."""
MAX_DIGEST_LENGTH = 36
"""Width of MLflow's column for data set digests."""


@dataclass(frozen=True)
class DatasetInfo:
    """The data a run used, as MLflow's Dataset column shows it."""

    name: str
    digest: str
    context: str
    """What for, e.g. "train"."""
    source: str
    """Where from: a path or an address."""
    shape: tuple[int, ...]
    """Of the images, number first, e.g. (55000, 28, 28)."""
    classes: int


@dataclass(frozen=True)
class RunSpec:
    """One run: `key` and `parent_id` say which, the rest describes it."""

    name: str
    key: str
    params: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    parent_id: str | None = None
    description: str = ""
    """Markdown, shown above the run."""
    dataset: DatasetInfo | None = None


class TrackedRun(Protocol):
    """An open run. Every method may be repeated with the same facts: what is there already is not logged again."""

    id: str
    """MLflow's run id; "" if the store was away when the run was opened."""
    finished: bool
    """Was FINISHED when it was opened: there is nothing to log."""
    incomplete: bool
    """Something did not reach the store: `close("FINISHED")` will not be recorded as that."""

    def log_epoch(self, step: int, metrics: Mapping[str, float]) -> None:
        """One point on each curve, in one request; a step a curve already has is left out."""

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Final numbers, at step 0, in one request; a number that is already there is left out."""

    def log_image(self, key: str, image: 'UInt8[np.ndarray, "H W"]', step: int) -> None:
        """A grey image for the run's slider of that key; replaces the one of the same step."""

    def log_table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """A table that MLflow can compare across runs, e.g. `per_class.json`; replaces the one of that name."""

    def log_text(self, text: str, path: str) -> None:
        """A text artifact; replaces the one at that path."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """A copy of a file as an artifact; replaces the one of that name."""

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def set_description(self, markdown: str) -> None: ...

    def close(self, status: Status, reason: str = "") -> None:
        """End the run; the reason becomes a tag."""


class Tracker(Protocol):
    """Where runs are recorded."""

    def open_run(self, spec: RunSpec, *, reopen: bool = False) -> TrackedRun:
        """The run of that key under that parent: a finished one as it is, an unfinished one continued, or a new one.

        `reopen` continues a finished one too: a study that was given more trials.
        """

    def mark_interrupted(
        self, *, parent_id: str | None = None, keys: Collection[str] | None = None, reason: str = "interrupted"
    ) -> list[str]:
        """Close as KILLED what a killed process left RUNNING, and return the run ids.

        Only children of `parent_id` and only runs with one of `keys`, where given. The caller knows that no other
        process is writing them.
        """


# ---------------------------------------------------------------------------------------------------- the store


def tracking_uri(home: Home) -> str:
    """MLFLOW_TRACKING_URI, or the SQLite file of the home; a relative SQLite path becomes absolute."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home.mlruns / 'mlflow.db'}"
    path = uri.removeprefix("sqlite:///")
    if path != uri and path and not path.startswith("/"):
        return f"sqlite:///{Path(path).absolute()}"
    return uri


def prepare_store(home: Home) -> None:
    """Create the database behind `tracking_uri(home)` if there is none; TrackingError if it cannot be opened.

    Under a lock, because MLflow's migrations fail when two processes run them at once.
    """
    uri = _checked_uri(home)
    if not _is_server(uri):
        with _database_lock(home, uri):
            _open_database(uri)


def _checked_uri(home: Home) -> str:
    uri = tracking_uri(home)
    scheme = uri.partition(":")[0].partition("+")[0] if ":" in uri else ""
    if scheme in ("", "file"):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI is {uri}, a directory, and MLflow no longer writes those; "
            f"use sqlite:///{home.mlruns / 'mlflow.db'}, a server's http address, or unset it"
        )
    if scheme not in (*DATABASES, *SERVERS) or not uri.partition("://")[2].strip("/"):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI is {_shown(uri)}; it must begin with one of "
            f"{', '.join(f'{s}://' for s in (*SERVERS, *DATABASES))}; unset it to use {home.mlruns / 'mlflow.db'}"
        )
    return uri


def _is_server(uri: str) -> bool:
    return uri.partition(":")[0] in SERVERS


def _shown(uri: str) -> str:
    """The address without the password it may carry."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _database_lock(home: Home, uri: str) -> FileLock:
    folder = _sqlite_path(uri).parent if uri.startswith("sqlite:") else home.mlruns
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(
            f"{folder} cannot be made ({error.strerror}); set MLFLOW_TRACKING_URI or CVAE_PIPE_HOME"
        ) from None
    return FileLock(folder / ".mlflow.lock")


def _sqlite_path(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def _open_database(uri: str) -> "MlflowClient":
    """A client of the database, which is created if it is a SQLite file that is not there. Hold the lock."""
    import sqlalchemy

    client_of = _mlflow().MlflowClient
    try:
        if uri.startswith("sqlite:") and not _sqlite_path(uri).exists():
            _create_sqlite(_sqlite_path(uri))
        # MLflow tries a database that does not answer ten times over 100 s; ask once before it does.
        patience = {} if uri.startswith("sqlite:") else {"connect_timeout": CONNECT_SECONDS + 1}
        engine = sqlalchemy.create_engine(uri, connect_args=patience)
        sqlalchemy.inspect(engine).get_table_names()
        engine.dispose()
        return client_of(tracking_uri=uri)
    except Exception as error:
        hint = (
            f"run `{sys.executable} -m mlflow db upgrade {_shown(uri)}`" if "out-of-date" in str(error) else "check it"
        )
        raise TrackingError(f"the tracking database {_shown(uri)} cannot be opened ({_cause(error)}); {hint}") from None


def _create_sqlite(path: Path) -> None:
    """Migrate a fresh file aside and rename it: a kill during the seconds this takes leaves no half-made database."""
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    _mlflow().MlflowClient(tracking_uri=f"sqlite:///{aside}")
    os.replace(aside, path)


@cache
def _mlflow() -> ModuleType:
    """The mlflow package, with patience, prints and logs set for this process alone: no environment is touched.

    MLFLOW_HTTP_REQUEST_TIMEOUT, MLFLOW_HTTP_REQUEST_MAX_RETRIES and MLFLOW_LOGGING_LEVEL still win if they are set.
    """
    # Usage reports to the vendor are off unless somebody asks for them. MLflow reads this one while it is imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow 3.17's tables use what SQLAlchemy 2.1 deprecates
        import mlflow
        import mlflow.environment_variables as settings
        import mlflow.store.tracking.sqlalchemy_store
    settings.MLFLOW_HTTP_REQUEST_TIMEOUT.default = (CONNECT_SECONDS, ANSWER_SECONDS)
    # One retry, at once: it is for connections that the server closed while we trained.
    settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES.default = 1
    settings.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.default = True
    settings.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.default = False
    if not settings.MLFLOW_LOGGING_LEVEL.is_set():
        # What matters is raised, or given to on_warning.
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return mlflow


def _cause(error: BaseException) -> str:
    """The innermost reason of an error, on one line."""
    while (inner := error.__cause__ or error.__context__ or getattr(error, "reason", None)) and isinstance(
        inner, BaseException
    ):
        error = inner
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


# ------------------------------------------------------------------------------------------------ the connection


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back to the end of the block; a second one passes at once.

    An MLflow call cut in mid-transaction keeps its lock on the database, and then the run cannot be closed either.
    """
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread alone
        yield
        return
    held: list[int] = []
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def hold(number: int, frame: object) -> None:
        if held:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        held.append(number)

    for number in before:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held[:1]:
            signal.raise_signal(number)


class _AwayError(Exception):
    """The store does not answer, or did not a moment ago."""


class _Link:
    """The way to the store: passes calls on, warns once when it is cut, and then leaves it alone for a while."""

    def __init__(self, client: "MlflowClient", uri: str, on_warning: Callable[[str], None]) -> None:
        self.client = client
        self.uri = uri
        self.on_warning = on_warning
        self._retry_at = -math.inf
        self._warned = False

    def call(self, operation: Callable[[], T]) -> T:
        """The operation's result; _AwayError if the store is away, or was less than RETRY_SECONDS ago."""
        if time.monotonic() < self._retry_at:
            raise _AwayError
        try:
            with uninterrupted():
                return operation()
        except Exception as error:
            if not _is_outage(error):
                raise
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._warn(error)
            raise _AwayError from error

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            self.on_warning(
                f"tracking {'server' if _is_server(self.uri) else 'database'} {_shown(self.uri)} stopped answering "
                f"({_cause(error)}); the run goes on, repeat the command later to replay what it missed"
            )


def _is_outage(error: Exception) -> bool:
    """Whether the outside world is to blame, rather than what was asked or a run that somebody deleted.

    Requests' exceptions and full disks are OSErrors.
    """
    if isinstance(error, _mlflow().exceptions.MlflowException):
        return error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
    return isinstance(error, OSError)


# ----------------------------------------------------------------------------------------------------- the runs


class MlflowRun:
    """A TrackedRun in MLflow."""

    def __init__(self, link: _Link, run: "Run | None", *, finished: bool = False) -> None:
        self.id: str = run.info.run_id if run else ""
        self.finished = finished
        self.incomplete = run is None
        self._link = link
        self._started_ms: int = run.info.start_time if run else 0
        self._logged_keys: set[str] = set(run.data.metrics) if run else set()
        self._curves: dict[str, dict[int, float]] = {}
        self._has_images = False
        self._lost = run is None

    def log_epoch(self, step: int, metrics: Mapping[str, float]) -> None:
        self._send(lambda: self._log(step, {k: v for k, v in metrics.items() if step not in self._curve(k)}))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        self._send(
            lambda: self._log(0, {k: v for k, v in metrics.items() if not _same(_loggable(v), self._curve(k).get(0))})
        )

    def log_image(self, key: str, image: 'UInt8[np.ndarray, "H W"]', step: int) -> None:
        from PIL import Image

        # What MLflow's own log_image writes, but under a name that is the same every time: there, two files of one
        # key and step are two images, and replaying a run must not double them.
        stem = f"{key.replace('/', '~')}+step+{step}+timestamp+{self._started_ms}+{_uuid_of(key, step)}"
        picture = Image.fromarray(image)
        scale = 256 / max(picture.size)
        small = picture.resize((max(1, int(picture.width * scale)), max(1, int(picture.height * scale))))
        with tempfile.TemporaryDirectory() as folder:
            picture.save(Path(folder, f"{stem}.png"))
            small.save(Path(folder, f"{stem}+compressed.webp"))
            self._send(lambda: self._link.client.log_artifacts(self.id, folder, "images"))
        if not self._has_images:  # without this tag the UI does not look for images
            self._has_images = True
            self.set_tags({"mlflow.loggedImages": "True"})

    def log_table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        # The file and the tag of MLflow's own log_table, which would append to a table of that name.
        rows = [[_json_value(v) for v in row] for row in zip(*columns.values(), strict=True)]
        self.log_text(json.dumps({"columns": list(columns), "data": rows}, allow_nan=False), name)
        self._send(lambda: self._announce_table(name))

    def _announce_table(self, name: str) -> None:
        tags = self._link.client.get_run(self.id).data.tags
        tables = json.loads(tags.get("mlflow.loggedArtifacts", "[]"))
        entry = {"path": name, "type": "table"}
        if entry not in tables:
            self._log_tags({"mlflow.loggedArtifacts": json.dumps([*tables, entry])})

    def log_text(self, text: str, path: str) -> None:
        self._send(lambda: self._link.client.log_text(self.id, text, path))

    def log_file(self, path: Path, folder: str = "") -> None:
        assert path.is_file(), path  # else the link would take it for an outage
        self._send(lambda: self._link.client.log_artifact(self.id, str(path), folder or None))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._send(lambda: self._log_tags(tags))

    def set_description(self, markdown: str) -> None:
        self.set_tags({"mlflow.note.content": markdown})

    def close(self, status: Status, reason: str = "") -> None:
        if self.finished:
            return
        if self.incomplete and status == "FINISHED":
            status, reason = "KILLED", "the tracking store missed a part of this run; repeat the command to replay it"

        def end() -> None:
            if reason:
                self._log_tags({REASON: reason})
            self._link.client.set_terminated(self.id, status)

        self._send(end)

    def _send(self, operation: Callable[[], None]) -> None:
        """Do it, or remember that it was not done."""
        if self._lost:
            self.incomplete = True
            return
        try:
            self._link.call(operation)
        except _AwayError:
            self.incomplete = True
        except _mlflow().exceptions.MlflowException:
            if not self._is_deleted():
                raise
            self._lost = self.incomplete = True
            self._link.on_warning(f"run {self.id} was deleted from the tracking store; nothing more is logged to it")

    def _is_deleted(self) -> bool:
        exceptions = _mlflow().exceptions
        try:
            return self._link.client.get_run(self.id).info.lifecycle_stage == "deleted"
        except exceptions.MlflowException as error:
            return error.error_code == "RESOURCE_DOES_NOT_EXIST"

    def _curve(self, key: str) -> dict[int, float]:
        """What the store holds of a metric, step -> value; read once, and only from a run that had it when opened."""
        if key not in self._curves:
            history = self._link.client.get_metric_history(self.id, key) if key in self._logged_keys else []
            self._curves[key] = {m.step: m.value for m in sorted(history, key=lambda m: m.timestamp)}
        return self._curves[key]

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        batch = [Metric(key, _loggable(value), now, step) for key, value in metrics.items()]
        self._link.client.log_batch(self.id, metrics=batch, synchronous=True)
        for metric in batch:
            self._curve(metric.key)[step] = metric.value

    def _log_tags(self, tags: Mapping[str, str]) -> None:
        _log_tags(self._link.client, self.id, tags)


def _log_tags(
    client: "MlflowClient", run_id: str, tags: Mapping[str, str], params: Mapping[str, Any] | None = None
) -> None:
    from mlflow.entities import Param, RunTag

    client.log_batch(
        run_id,
        params=[Param(k, str(v)) for k, v in (params or {}).items()],
        tags=[RunTag(k, v) for k, v in tags.items()],
        synchronous=True,
    )


def _loggable(value: float) -> float:
    """nan for infinities too: SQLite would hold them as 1.8e308, and one such point flattens a whole chart."""
    return float(value) if math.isfinite(value) else math.nan


def _same(a: float, b: float | None) -> bool:
    return b is not None and (a == b or (math.isnan(a) and math.isnan(b)))


def _json_value(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value  # NumPy and torch scalars
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _uuid_of(key: str, step: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key}@{step}"))


# ---------------------------------------------------------------------------------------------------- the tracker


class MlflowTracker:
    """A Tracker in one MLflow experiment. Explicit run ids only: no active run, no global tracking URI."""

    def __init__(self, link: _Link, experiment_id: str) -> None:
        self.experiment_id = experiment_id
        self._link = link

    @property
    def uri(self) -> str:
        return self._link.uri

    @staticmethod
    def connect(home: Home, experiment: str, *, on_warning: Callable[[str], None]) -> "MlflowTracker":
        """A tracker for the experiment of that name, created if need be; TrackingError if the store is away."""
        uri = _checked_uri(home)
        if _is_server(uri):
            client = _mlflow().MlflowClient(tracking_uri=uri)
            try:
                experiment_id = _experiment(client, experiment, None, on_warning)
            except (_mlflow().exceptions.MlflowException, OSError) as error:
                raise TrackingError(
                    f"no tracking server answers at {_shown(uri)} ({_cause(error)}); check MLFLOW_TRACKING_URI, "
                    f"or unset it to use {home.mlruns / 'mlflow.db'}"
                ) from None
        else:
            with _database_lock(home, uri):
                client = _open_database(uri)
                # Without a location of its own an experiment would keep its artifacts under the current directory.
                location = (home.mlruns / "artifacts" / experiment).as_uri()
                experiment_id = _experiment(client, experiment, location, on_warning)
        return MlflowTracker(_Link(client, uri, on_warning), experiment_id)

    def open_run(self, spec: RunSpec, *, reopen: bool = False) -> MlflowRun:
        try:
            if spec.parent_id == "":  # the parent could not be recorded, so there is nothing to be a child of
                raise _AwayError
            return self._link.call(lambda: self._open(spec, reopen=reopen))
        except _AwayError:
            return MlflowRun(self._link, None)

    def _open(self, spec: RunSpec, *, reopen: bool) -> MlflowRun:
        client, run = self._link.client, self._find(spec)
        if run is not None and run.info.status == "FINISHED" and not reopen:
            return MlflowRun(self._link, run, finished=True)
        tags = _tags(spec)
        if run is None:
            run = client.create_run(self.experiment_id, tags=tags, run_name=spec.name)
        else:
            client.update_run(run.info.run_id, status="RUNNING")
            if REASON in run.data.tags:
                client.delete_tag(run.info.run_id, REASON)
        # MLflow refuses to change a parameter: one that is there stays, e.g. the device the run was begun on.
        params = {k: v for k, v in spec.params.items() if k not in run.data.params}
        _log_tags(client, run.info.run_id, tags, params)
        if spec.dataset and not run.inputs.dataset_inputs:
            client.log_inputs(run.info.run_id, datasets=[_dataset_input(spec.dataset)])
        return MlflowRun(self._link, run)

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
        except _AwayError:
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
            _log_tags(client, run_id, {REASON: reason})
            client.set_terminated(run_id, "KILLED")
        return left


def _experiment(client: "MlflowClient", name: str, location: str | None, on_warning: Callable[[str], None]) -> str:
    """The id of the experiment of that name, created or taken out of the trash if need be."""
    exceptions = _mlflow().exceptions
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=location)
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
        tags["mlflow.note.content"] = spec.description
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


# ---------------------------------------------------------------------------------------------------- surroundings


def _git(*arguments: str) -> str | None:
    """What git prints about the repository of this package, or else of the current directory."""
    for folder in (Path(__file__).parent, Path.cwd()):
        try:
            answer = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if answer.returncode == 0:
            return answer.stdout.strip()
    return None


@cache
def git_commit() -> str | None:
    """The commit of the code at hand; None outside a repository, or before its first commit."""
    return _git("rev-parse", "--verify", "HEAD")


@cache
def git_dirty() -> bool:
    """Whether tracked files differ from that commit."""
    return bool(_git("status", "--porcelain", "--untracked-files=no"))


def code_version() -> str:
    """The code at hand in words: the package's version, and its commit where there is a repository."""
    version, commit = _version("cvae-pipe") or "not installed", git_commit()
    return f"{version}, commit {commit[:12]}{' with changes' if git_dirty() else ''}" if commit else version


PACKAGES = (
    "cvae-pipe",
    "torch",
    "torchvision",
    "numpy",
    "mlflow",
    "optuna",
    "pandas",
    "scipy",
    "scikit-learn",
    "torchmetrics",
    "safetensors",
    "matplotlib",
    "seaborn",
    "ray",
)


def environment_text() -> str:
    """Python, platform and the versions of the packages that decide results, a line each, for `environment.txt`."""
    lines = [f"python {platform.python_version()}", f"platform {platform.platform()}"]
    lines += [f"{package} {version}" for package in PACKAGES if (version := _version(package))]
    return "\n".join(lines) + "\n"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


# ---------------------------------------------------------------------------------------------------------- the UI


def ui_base(home: Home, host: str = "127.0.0.1", port: int = 5055) -> str:
    """Address of MLflow's UI: that of the tracking server if there is one, else of the server `ui_command` starts."""
    uri = tracking_uri(home)
    return uri.rstrip("/") if _is_server(uri) else f"http://{host}:{port}"


def ui_command(home: Home, host: str = "127.0.0.1", port: int = 5055) -> list[str]:
    """The command that serves the UI on the home's store; run it with `ui_environment()`, after `prepare_store`.

    Empty if MLFLOW_TRACKING_URI is a server: that is the UI.
    """
    uri = tracking_uri(home)
    if _is_server(uri):
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
