"""What a store cannot hold: texts shortened, parts left out, and one warning. Knows sizes and errors; no runs.

MLflow's servers refuse a tag of more than 5,000 characters (8,000 in newer ones) and a parameter of more than 500
(6,000), and older ones lack whole calls. Sizes are learned from what is refused: a server does not say them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.tracking.database import mlflow_module

TAG_SIZES, PARAM_SIZES = (8000, 5000, 250), (6000, 500, 250)
"""Characters, by what servers there are and were."""
CUT = "\n\n(shortened)"
TOO_OLD = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED")


class Limits:
    """What one store holds, as far as it is known: learned by trying, said once."""

    def __init__(self, on_warning: Callable[[str], None]) -> None:
        self.tag_sizes: tuple[int, ...] = TAG_SIZES
        self.param_sizes: tuple[int, ...] = PARAM_SIZES
        self._on_warning = on_warning
        self._warned = False

    def warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            self._on_warning(f"the tracking store cannot hold everything: {what}; results and reports have it all")

    def log(
        self,
        client: Any,
        run_id: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any] | None = None,
        metrics: Sequence[Any] = (),
    ) -> None:
        """Tags, parameters and MLflow's metrics of a run, in one request where the store takes it."""
        texts = {key: str(value) for key, value in (params or {}).items()}
        kept, cut = fitted(tags, self.tag_sizes[0]), fitted(texts, self.param_sizes[0])
        try:
            _send(client, run_id, kept, cut, metrics)
        except mlflow_module().exceptions.MlflowException as error:
            longer = _long(kept, self.tag_sizes) + _long(cut, self.param_sizes)
            if error.error_code != "INVALID_PARAMETER_VALUE" or not longer:
                raise
            # Of the same time: those that arrived before what was refused are not there twice.
            _send(client, run_id, {}, {}, metrics)
            kept, self.tag_sizes = self._ladder(lambda some: _send(client, run_id, some, {}), tags, self.tag_sizes)
            cut, self.param_sizes = self._ladder(lambda some: _send(client, run_id, {}, some), texts, self.param_sizes)
        for kind, before, after in (("tag", tags, kept), ("parameter", texts, cut)):
            changed = [key for key in before if before[key] != after.get(key)]
            if changed:
                how = "is shortened" if changed[0] in after else "is left out"
                self.warn(f"{kind} {changed[0]} of {len(before[changed[0]])} characters {how}")

    def _ladder(
        self, send: Callable[[dict[str, str]], None], values: Mapping[str, str], sizes: tuple[int, ...]
    ) -> tuple[dict[str, str], tuple[int, ...]]:
        """What arrived, and the sizes that are left to try: the first is the one that was taken."""
        while True:
            some = fitted(values, sizes[0])
            try:
                send(some)
            except mlflow_module().exceptions.MlflowException as error:
                if error.error_code != "INVALID_PARAMETER_VALUE" or not _long(some, sizes):
                    raise
                sizes = sizes[1:]
            else:
                return some, sizes

    def attempt(self, what: str, operation: Callable[[], None]) -> None:
        """An operation that an older server may not know: then it is left out."""
        try:
            operation()
        except mlflow_module().exceptions.MlflowException as error:
            if error.error_code not in TOO_OLD:
                raise
            self.warn(f"its MLflow knows no {what}")


def fitted(values: Mapping[str, str], size: int) -> dict[str, str]:
    """The values, long ones cut to `size` characters; JSON, which a cut would break, is left out."""
    return {
        key: value if len(value) <= size else value[: size - len(CUT)] + CUT
        for key, value in values.items()
        if len(value) <= size or value[:1] not in "[{"
    }


def _long(values: Mapping[str, str], sizes: tuple[int, ...]) -> list[str]:
    """Those that the next size would shorten."""
    return [value for value in values.values() if len(sizes) > 1 and len(value) > sizes[1]]


def _send(
    client: Any, run_id: str, tags: Mapping[str, str], params: Mapping[str, str], metrics: Sequence[Any] = ()
) -> None:
    from mlflow.entities import Param, RunTag

    if tags or params or metrics:
        client.log_batch(
            run_id,
            metrics=metrics,
            params=[Param(k, v) for k, v in params.items()],
            tags=[RunTag(k, v) for k, v in tags.items()],
            synchronous=True,
        )
