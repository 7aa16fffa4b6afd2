"""The page over all reports of a home: what each is, its answer, its face. Reads the cards that reports leave.

A report leaves `card.json` beside its page; the index is made of these, with relative links, so that the folder of
reports can be put on any web server, or opened from disk.
"""

import base64
import hashlib
import html
import io
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from filelock import FileLock
from markupsafe import Markup

from pipeline.reporting.blocks import Facts, Report, Table, Text
from pipeline.reporting.html import asset, templates
from pipeline.store.files import read_json, write_atomically, write_json

Kind = Literal["study", "run", "ablation", "comparison", "report"]
CARD = "card.json"
INDEX = "index.html"
FACE = 120
"""Pixels of the side of a thumbnail."""
LONGEST = 240
"""Characters of an answer."""
FACTS = 3
"""Facts that stand for the answer of a report which leads with none."""


@dataclass(frozen=True)
class Card:
    """What a report is listed by, beside what it says itself."""

    kind: Kind
    dataset: str
    date: str
    """When what it is about was finished: UTC, ISO 8601."""
    face: Path | None = None
    """The picture that stands for it: a stored grid."""


@dataclass(frozen=True)
class Entry:
    """A line of the index."""

    folder: str
    kind: str
    title: str
    answer: str
    dataset: str
    date: str
    face: str
    """A data URI; "" where there is no picture."""

    @property
    def link(self) -> str:
        return f"{quote(self.folder)}/report.html"

    @property
    def day(self) -> str:
        return self.date.replace("T", " ")[:16]


def write_card(report: Report, folder: Path, card: Card) -> None:
    """What the index will say of a report, beside its page."""
    write_json(
        folder / CARD,
        {
            "kind": card.kind,
            "title": report.title,
            "answer": answer_of(report),
            "dataset": card.dataset,
            "date": card.date,
            "face": thumbnail(card.face) if card.face is not None else "",
        },
    )


def answer_of(report: Report) -> str:
    """What a reader came for, in a line: the leading sentence, the first facts, the verdicts, or what it is about."""
    blocks = list(report.blocks)
    lead = [str(block.text) for block in blocks if isinstance(block, Text) and block.lead]
    facts = [f"{name} {value}" for block in blocks if isinstance(block, Facts) for name, value in block.pairs]
    tables = [block for block in blocks if isinstance(block, Table) and "verdict" in block.columns]
    claims = [": ".join(row) for table in tables for row in table.rows]
    line = " ".join((lead[0] if lead else ", ".join(facts[:FACTS]) or "; ".join(claims) or report.subtitle).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…"


def thumbnail(path: Path) -> str:
    """The upper left of a sheet of images, half as high, as a data URI: a whole sheet made small shows nothing."""
    from PIL import Image

    with Image.open(path) as image:
        side = max(1, min(image.size) // 2)
        ways = Image.Resampling.NEAREST if side < FACE else Image.Resampling.LANCZOS
        small = image.convert("L").crop((0, 0, side, side)).resize((FACE, FACE), ways)
        buffer = io.BytesIO()
        small.quantize(16).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def write_index(reports: Path) -> Path:
    """Write <reports>/index.html anew, of every report that is there; the newest first."""
    reports.mkdir(parents=True, exist_ok=True)
    path = reports / INDEX
    with FileLock(reports / ".index.lock"):  # of two that write at once, the later knows both
        write_atomically(path, render_index(entries(reports)))
    return path


def refresh_index(reports: Path) -> None:
    """The same where reports have come or gone, and there is one or something for one."""
    if (reports / INDEX).exists() or any(reports.glob("*/report.html")):
        write_index(reports)


def entries(reports: Path) -> list[Entry]:
    """Every report of a folder, the newest first."""
    found = [_entry(page.parent) for page in sorted(reports.glob("*/report.html"))]
    return sorted(found, key=lambda entry: entry.date, reverse=True)


def render_index(found: list[Entry]) -> str:
    """One html file that needs nothing else; its policy forbids every request, and every script but ours."""
    script = asset("index.js")
    return str(
        templates()
        .get_template("index.html.j2")
        .render(
            entries=found,
            kinds=list(dict.fromkeys(entry.kind for entry in found)),
            style=Markup(asset("report.css") + asset("index.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _entry(folder: Path) -> Entry:
    card: Mapping[str, Any] = {}
    if (folder / CARD).exists():
        try:
            card = read_json(folder / CARD)
            face = str(card["face"])
            safe = face if re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/=]+", face) else ""
            kind, title, answer, dataset, date = (str(card[n]) for n in ("kind", "title", "answer", "dataset", "date"))
            return Entry(folder.name, kind, title, answer, dataset, date, safe)
        except (ValueError, KeyError, TypeError, OSError):
            pass  # torn, or of another version: the page itself says enough
    return _of_page(folder)


def _of_page(folder: Path) -> Entry:
    """The entry of a report without a card: what its page says."""
    with open(folder / "report.html", encoding="utf-8", errors="replace") as page:
        text = page.read(200_000)

    def first(pattern: str) -> str:
        found = re.search(pattern, text, re.DOTALL)
        return html.unescape(re.sub(r"<[^>]+>", "", found[1])).strip() if found else ""

    written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((folder / "report.html").stat().st_mtime))
    title = first(r"<h1[^>]*>(.*?)</h1>") or folder.name
    about = first(r"</h1>\s*<p[^>]*>(.*?)</p>")
    kinds = {"trials.csv": "study", "cells.csv": "ablation", "config.toml": "run"}
    kind = next((k for file, k in kinds.items() if (folder / file).exists()), "comparison")
    return Entry(folder.name, kind, title, about[:LONGEST], first(r"\bon ([a-z][a-z0-9-]+)[,:;]"), written, "")
