"""A saved view of a run's children for MLflow's runs page: columns, order, charts. Knows that page's format alone.

It is the state that the page itself saves under "Views", as an experiment tag. A version of MLflow with another format
ignores it, and its runs page is as it would be without.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.tracking.contract import RunsView

TAG = "mlflow.sharedViewState."
"""Prefix of the tags that hold views; the view's key follows."""
IMAGES = "final/generated"
"""Key of the images that are shown side by side."""
COLUMNS, CARD_HEIGHT, IMAGES_HEIGHT = 2, 360, 640
NAME = "attributes.`Run Name`"
NAME_WIDTH, TAG_WIDTH, NUMBER_WIDTH = 240, 75, 120
"""Pixels: a trial's whole name, `true`, and a number beside as many others as a window of 1280 holds."""


SECTIONS = SAMPLES, TRADE_OFF, SETTINGS, EACH = (
    "Generated images",
    "Trade-off",
    "What the settings do",
    "Each setting",
)
"""Of charts, in the order in which they are worth most."""


def view_state(view: RunsView, shown: Sequence[str] = SECTIONS) -> dict[str, Any]:
    """What the page restores: whom it shows, in which order, with which columns and charts."""
    charts: list[dict[str, Any]] = []
    sections: list[dict[str, Any]] = []

    def section(name: str, *cards: dict[str, Any], columns: int = COLUMNS, height: int = CARD_HEIGHT) -> None:
        if name not in shown:
            return
        there = {"deleted": False, "isGenerated": False}
        key = _uuid(view.name, name)
        sections.append(
            {**there, "uuid": key, "name": name, "display": True, "isReordered": True}
            | {"columns": columns, "cardHeight": height}
        )
        charts.extend(
            {**there, "uuid": _uuid(view.name, name, str(i)), "metricSectionId": key, **card}
            for i, card in enumerate(cards)
        )

    section(SAMPLES, _images(), columns=1, height=IMAGES_HEIGHT)
    section(TRADE_OFF, *(_scatter(_metric(x), _metric(y)) for x, y in view.pairs))
    section(SETTINGS, _parallel(view.params, view.metrics), columns=1)
    section(EACH, *(_scatter(_param(p), _metric(m)) for m in view.metrics for p in view.params), columns=3)
    tags, params, metrics = (
        [f"{kind}.`{name}`" for name in names]
        for kind, names in (("tags", view.tags), ("params", view.params), ("metrics", view.metrics))
    )
    return {
        "searchFilter": children_filter(view.parent_id, view.split, view.having),
        "orderByKey": metrics[0],
        "orderByAsc": view.ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [*tags, *metrics, *params],
        "columnOrder": [NAME, *tags, *metrics, *params],
        "columnWidths": {NAME: NAME_WIDTH}
        | dict.fromkeys(tags, TAG_WIDTH)
        | dict.fromkeys([*metrics, *params], NUMBER_WIDTH),
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }


def view_tags(view: RunsView, created_ms: int) -> Iterator[tuple[str, str]]:
    """The tag's value - the name that the list of views shows, and the state - and what it lacks, ever shorter."""
    for n in range(len(SECTIONS), -1, -1):
        state = json.dumps(view_state(view, SECTIONS[:n]))
        envelope = {"name": view.name, "createdAt": created_ms, "updatedAt": created_ms, "state": state}
        yield json.dumps(envelope), ", ".join(SECTIONS[n:])


def children_filter(parent_id: str, split: str | None = None, having: str = "") -> str:
    """MLflow's search for the children of a run: of one split, and those that carry a tag, if these are given."""
    wanted = [f"tags.`mlflow.parentRunId` = '{parent_id}'"]
    wanted += [f"tags.split = '{split}'"] if split else []
    wanted += [f"tags.`{having}` LIKE '%'"] if having else []
    return " and ".join(wanted)


def _images() -> dict[str, Any]:
    # Ten runs are the most that the page takes. Their names say what they tried; every param would be a page of text.
    return {"type": "IMAGE", "imageKeys": [IMAGES], "step": 0, "runsCountToCompare": 10, "showRunParams": False}


def _scatter(x: dict[str, str], y: dict[str, str]) -> dict[str, Any]:
    return {"type": "SCATTER", "xaxis": x, "yaxis": y, "runsCountToCompare": 100}


def _parallel(params: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    # The lines are coloured by the last axis: that of the metric the runs are ordered by.
    axes = [*metrics[1:], metrics[0]]
    return {"type": "PARALLEL", "selectedParams": list(params), "selectedMetrics": axes, "showAllRuns": True}


def _metric(key: str) -> dict[str, str]:
    return {"key": key, "type": "METRIC"}


def _param(key: str) -> dict[str, str]:
    return {"key": key, "type": "PARAM"}


def _uuid(*parts: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(parts)))
