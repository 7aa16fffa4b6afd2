"""One run in MLflow: curves, numbers, images, tables, files. What is there already is not logged again."""

import json
import math
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking.contract import ServedModel, Status
from pipeline.tracking.database import mlflow_module
from pipeline.tracking.limits import TAG_SIZES, fitted
from pipeline.tracking.link import AwayError, Link
from pipeline.tracking.registry import FOLDER, package, register
from pipeline.tracking.system import system_metrics

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN_KEY = "run_key"
"""Tag that makes a run findable: the digest of its configuration."""
REASON = "reason"
"""Tag that says why a run is FAILED or KILLED."""
NOTE = "mlflow.note.content"
"""Tag that holds a run's description."""
MOST_ENTRIES = 1000
"""Numbers, tags and parameters in one request: MLflow's own limit."""
TABLES_TAG = "mlflow.loggedArtifacts"
"""Tag that names a run's tables: without it the interface does not look for them."""
THUMBNAIL = 320
"""Pixels: the largest side of the copies of images that the interface shows beside each other."""
ENDED = "\n\nended "
"""Begins the line of a description that says why the run is not FINISHED."""


Point = tuple[str, int, float]
"""A metric's key, step and value."""


@dataclass
class _Held:
    """What is to be sent together."""

    folder: Path
    """Files, at their place among the run's artifacts."""
    points: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    end: Callable[[], None] | None = None
    """How the run is closed after it."""


class MlflowRun:
    """A TrackedRun in MLflow."""

    def __init__(
        self,
        link: Link,
        run: "Run | None",
        *,
        finished: bool = False,
        description: str = "",
        paused_ms: int | None = None,
    ) -> None:
        """`paused_ms`: when it ended the last time, less its pauses, of a run that goes on."""
        self.id: str = run.info.run_id if run else ""
        self.finished = finished
        self.incomplete = run is None
        self._link = link
        self._started_ms: int = run.info.start_time if run else 0
        self._logged_keys: set[str] = set(run.data.metrics) if run else set()
        self._curves: dict[str, dict[int, float]] = {}
        self._has_images = False
        self._tables: list[dict[str, str]] = json.loads(run.data.tags.get(TABLES_TAG, "[]")) if run else []
        self._description = description
        self._held: _Held | None = None
        self._artifact_uri: str = run.info.artifact_uri if run else ""
        self._repository: Any = None
        self._lost = run is None
        self._paused_ms, self._opened_ms = paused_ms, _now_ms()

    def log_epoch(self, step: int, metrics: Mapping[str, float]) -> None:
        self.log_epochs({step: metrics})

    def log_epochs(self, epochs: Mapping[int, Mapping[str, float]]) -> None:
        with self.together() as held:
            self._send(
                lambda: self._hold(
                    held,
                    [(k, n, v) for n, row in epochs.items() for k, v in row.items() if n not in self._curve(k)],
                )
            )

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        def hold() -> None:
            # The interface's tables and its order show the value of a key's last step, so a final number of a key that
            # has a curve goes there; all others to step 0, from where they are drawn as bars and not as lines.
            at = [(key, max(self._curve(key), default=0), value) for key, value in metrics.items()]
            self._hold(held, [(k, n, v) for k, n, v in at if not _same(_loggable(v), self._curve(k).get(n))])

        with self.together() as held:
            self._send(hold)

    def log_image(self, key: str, image: 'UInt8[np.ndarray, "H W *C"]', step: int) -> None:
        from PIL import Image, ImageOps

        # What MLflow's own log_image writes, but under a name that is the same every time: there, two files of one
        # key and step are two images, and replaying a run must not double them.
        stem = f"{key.replace('/', '~')}+step+{step}+timestamp+{self._started_ms}+{_uuid_of(key, step)}"
        picture = Image.fromarray(image)
        # By a whole factor: the edges of small images' pixels stay sharp.
        small = ImageOps.scale(picture, max(1, THUMBNAIL // max(picture.size)), Image.Resampling.NEAREST)
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        with self.together() as held:
            folder = held.folder / "images"
            folder.mkdir(exist_ok=True)
            picture.save(folder / f"{stem}.png")
            # The least effort: of pixels as plain as these, as small as the most would make it, in a tenth of the time.
            small.save(folder / f"{stem}+compressed.webp", lossless=True, method=0, quality=0)
            if not self._has_images:  # without this tag the UI does not look for images
                self._has_images = True
                self.set_tags({"mlflow.loggedImages": "True"})

    def log_table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        # The file and the tag of MLflow's own log_table, which would append to a table of that name.
        rows = [[_json_value(v) for v in row] for row in zip(*columns.values(), strict=True)]
        entry = {"path": name, "type": "table"}
        with self.together():
            self.log_text(json.dumps({"columns": list(columns), "data": rows}, allow_nan=False), name)
            if entry not in self._tables:
                self._tables.append(entry)
                self.set_tags({TABLES_TAG: json.dumps(self._tables)})

    def log_text(self, text: str, path: str) -> None:
        with self.together() as held:
            file = held.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def log_file(self, path: Path, folder: str = "") -> None:
        assert path.is_file(), path  # else the link would take it for an outage
        self._send(lambda: self._link.client.log_artifact(self.id, str(path), folder or None))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        with self.together() as held:
            held.tags.update(tags)

    def set_description(self, markdown: str) -> None:
        self._description = markdown
        self.set_tags({NOTE: markdown})

    def register_model(self, name: str, model: ServedModel, *, tags: Mapping[str, str], description: str) -> None:
        assert model.weights.is_file(), model.weights  # else the link would take it for an outage
        try:
            self._send(lambda: register(self._link, self.id, name, model, tags=tags, description=description))
        except mlflow_module().exceptions.MlflowException as error:  # e.g. a server that has no registry
            self._link.on_warning(f"the model of run {self.id} could not be registered ({self._link.said(error)})")

    @contextmanager
    def together(self) -> Iterator[_Held]:
        if self._held is not None:
            yield self._held
            return
        with tempfile.TemporaryDirectory(prefix="cvae-pipe-") as folder:
            self._held = held = _Held(Path(folder))
            try:
                yield held
                self._flush(held)
            except BaseException:
                self._forget(held.points)
                raise
            finally:
                self._held = None
            if held.end:
                held.end()

    def _flush(self, held: _Held) -> None:
        """Files first, then numbers and tags in one request: tags say which files there are."""
        if any(held.folder.iterdir()):
            self._send(lambda: self._artifacts().log_artifacts(str(held.folder)))
        if (held.points or held.tags) and not self._send(lambda: self._log_batches(held.points, held.tags)):
            self._forget(held.points)

    def watched(self) -> AbstractContextManager[None]:
        return system_metrics("" if self.finished else self.id, self._link.uri, self._link.on_warning)

    def log_model(self, model: ServedModel) -> None:
        assert model.weights.is_file(), model.weights  # else the link would take it for an outage
        with self.together() as held:
            package(model, held.folder / FOLDER)

    def close(self, status: Status, reason: str = "", *, ended: float | None = None) -> None:
        if self.finished:
            return
        if self._held is None:
            self._end(status, reason, ended)
            return
        # Of a size that any server takes: its own may not be known yet, and what is cut must not be the end.
        self._held.tags |= self._end_tags(status, reason, min(self._link.limits.tag_sizes[0], TAG_SIZES[1]))
        self._held.end = lambda: self._end(status, "", ended)

    def _end(self, status: Status, reason: str, ended: float | None) -> None:
        if self.incomplete and status == "FINISHED":
            status, reason = "KILLED", "the tracking store missed a part of this run; repeat the command to replay it"

        def ends() -> None:
            self._log_tags(self._end_tags(status, reason, self._link.limits.tag_sizes[0]))
            self._link.client.set_terminated(self.id, status, end_ms)

        end_ms = round(ended * 1000) if ended is not None else self._end_ms()
        self._send(ends)

    def _end_tags(self, status: Status, reason: str, size: int) -> dict[str, str]:
        if not reason:
            return {}
        end = f"{ENDED}{status}: {reason}"
        return {REASON: reason, NOTE: fitted({NOTE: self._description}, size - len(end))[NOTE] + end}

    def _end_ms(self) -> int:
        """Now, or of a run that was taken up again so much earlier that its pauses do not count."""
        now = _now_ms()
        return now if self._paused_ms is None else min(now, self._paused_ms + now - self._opened_ms)

    def _send(self, operation: Callable[[], None]) -> bool:
        """Do it, or remember that it was not done; whether it was."""
        if self._lost:
            self.incomplete = True
            return False
        try:
            self._link.call(operation)
        except AwayError:
            self.incomplete = True
            return False
        except mlflow_module().exceptions.MlflowException:
            if not self._is_deleted():
                raise
            self._lost = self.incomplete = True
            self._link.on_warning(f"run {self.id} was deleted from the tracking store; nothing more is logged to it")
            return False
        return True

    def _is_deleted(self) -> bool:
        exceptions = mlflow_module().exceptions
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

    def _artifacts(self) -> Any:
        """Where the run keeps its files. The client would ask for the run again to know."""
        if self._repository is None:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            self._repository = get_artifact_repository(self._artifact_uri, tracking_uri=self._link.uri)
        return self._repository

    def _hold(self, held: _Held, points: Sequence[Point]) -> None:
        held.points += points
        for key, step, value in points:
            self._curve(key)[step] = _loggable(value)

    def _forget(self, points: Sequence[Point]) -> None:
        """Take nothing for granted of these curves: they are read anew when they are needed."""
        for key, _, _ in points:
            self._curves.pop(key, None)
            self._logged_keys.add(key)

    def _log_batches(self, points: Sequence[Point], tags: Mapping[str, str]) -> None:
        """In one request, or as few as hold them."""
        metrics = _metrics(points)
        last = max(0, len(metrics) - 1) // MOST_ENTRIES * MOST_ENTRIES
        if len(metrics) - last + len(tags) > MOST_ENTRIES:
            last = len(metrics)
        for start in range(0, last, MOST_ENTRIES):
            batch = metrics[start : start + MOST_ENTRIES]
            self._link.client.log_batch(self.id, metrics=batch, synchronous=True)
        self._link.limits.log(self._link.client, self.id, tags, metrics=metrics[last:])

    def _log_tags(self, tags: Mapping[str, str]) -> None:
        self._link.limits.log(self._link.client, self.id, tags)


def _metrics(points: Sequence[Point]) -> list[Any]:
    """MLflow's entities, as of now. Of two values at one step the interface shows the one of the later time: so the
    final number of a curve is later than the point that it comes after."""
    from mlflow.entities import Metric

    now, before = _now_ms(), Counter[tuple[str, int]]()
    metrics = []
    for key, step, value in points:
        metrics.append(Metric(key, _loggable(value), now + before[key, step], step))
        before[key, step] += 1
    return metrics


def last_heard_ms(client: "MlflowClient", run: "Run") -> int:
    """When something was last told of a run that nobody closed: the newest point of one of its curves, else its start.
    Milliseconds."""
    curve = min((key for key in run.data.metrics if key.startswith("train/")), default="")
    history = client.get_metric_history(run.info.run_id, curve) if curve else []
    return max((point.timestamp for point in history), default=run.info.start_time)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


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
