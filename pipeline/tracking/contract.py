"""What a run is to the rest of the program, and what a tracker does with it. Knows no MLflow, no store, no files."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

Status = Literal["FINISHED", "FAILED", "KILLED"]
TRACEBACK = "traceback.txt"
"""The file of a run that failed for a bug of ours; it goes when the run is opened once more."""


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
    """Of the images, number first, e.g. (55000, 28, 28), or (55000, 3, 32, 32) of colour."""
    classes: int
    splits: Mapping[str, int] = field(default_factory=dict)
    """Images by split, e.g. train 55000, val 5000, test 10000."""


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
    started: float | None = None
    """Unix seconds, of a run that is recorded afterwards; None is now."""
    ended: tuple[Status, str] | None = None
    """Status and reason of a run without a result: one that ended like this is whole, as a FINISHED one is."""


@dataclass(frozen=True)
class ServedModel:
    """A trained generator, ready to be registered."""

    weights: Path
    """A safetensors file."""
    architecture: Mapping[str, Any]
    """The settings of the model, and `classes`."""
    shape: tuple[int, int, int]
    """(channels, height, width) of its images."""
    class_names: tuple[str, ...]
    prior: Path | None = None
    """A safetensors file of the mixtures that z is drawn from: weights, means, roots; None for N(0, I)."""


@dataclass(frozen=True)
class RunsView:
    """A table and charts of a run's children, for the runs page of the interface."""

    name: str
    parent_id: str
    split: str
    """Children of this split alone: numbers of two splits do not belong on one axis."""
    params: tuple[str, ...]
    """What varies."""
    metrics: tuple[str, ...]
    """What is compared; the first orders the runs."""
    ascending: bool
    """Whether the first metric is better when lower."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Metrics against each other, as x and y."""
    tags: tuple[str, ...] = ()
    """Tags worth a column."""
    having: str = ""
    """Children that carry this tag alone."""


class TrackedRun(Protocol):
    """An open run. Every method may be repeated with the same facts: what is there already is not logged again."""

    id: str
    """MLflow's run id; "" if the store was away when the run was opened."""
    finished: bool
    """Was whole when it was opened, e.g. FINISHED: there is nothing to log."""
    incomplete: bool
    """Something did not reach the store: `close("FINISHED")` will not be recorded as that."""

    def together(self) -> AbstractContextManager[object]:
        """What is logged inside is sent at the end, in as few requests as hold it; and then the run is closed, if it
        was closed inside. Nothing of it is sent if the block is left by an exception. May be nested."""

    def log_epoch(self, step: int, metrics: Mapping[str, float]) -> None:
        """One point on each curve, in one request; a step a curve already has is left out."""

    def log_epochs(self, epochs: Mapping[int, Mapping[str, float]]) -> None:
        """The same for several steps."""

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Final numbers, in one request: at the end of a key's curve, at step 0 where it has none; no number twice."""

    def log_image(self, key: str, image: 'UInt8[np.ndarray, "H W *C"]', step: int) -> None:
        """An image, grey or of colour, for the run's slider of that key; replaces the one of the same step."""

    def log_table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """A table that MLflow can compare across runs, e.g. `per_class.json`; replaces the one of that name."""

    def log_text(self, text: str, path: str) -> None:
        """A text artifact; replaces the one at that path."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """A copy of a file as an artifact; replaces the one of that name."""

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def set_description(self, markdown: str) -> None: ...

    def register_model(self, name: str, model: ServedModel, *, tags: Mapping[str, str], description: str) -> None:
        """The run's model as a version of a registered model, and that version as its champion; once per run."""

    def watched(self) -> AbstractContextManager[None]:
        """While something is at work inside, the machine's load is told as well, where MLflow is asked for that."""

    def log_model(self, model: ServedModel) -> None:
        """The run's model among its artifacts, as it would be registered: `runs:/<id>/model`."""

    def close(self, status: Status, reason: str = "", *, ended: float | None = None) -> None:
        """End the run; the reason becomes a tag, and the description's end.

        It ended when it `ended` (Unix seconds), else now; one that went on after a pause ends that much earlier, so
        that its duration is working time.
        """


class Tracker(Protocol):
    """Where runs are recorded."""

    experiment_id: str
    """MLflow's id of the experiment, for addresses."""

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

    def tag_children(self, parent_id: str, names: Collection[str], tags: Mapping[str, Mapping[str, str]]) -> None:
        """Give each child of a run, by its key, exactly these of the tags called `names`.

        Other tags stay. A finished child is tagged, too: what is said of it may change when others come.
        """

    def save_view(self, key: str, view: RunsView) -> None:
        """Offer a view of a run's children in the interface, in place of the one of that key."""
