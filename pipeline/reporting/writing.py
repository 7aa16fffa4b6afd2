"""The files of a report, replaced atomically."""

import hashlib
from pathlib import Path

from pipeline.reporting.blocks import Beside, File, Report
from pipeline.reporting.html import render_html
from pipeline.reporting.index import Card, write_card, write_index
from pipeline.reporting.markdown import render_markdown
from pipeline.store.files import write_atomically

NUMBERS = "metrics.json"
"""Beside a report: what it is of and its numbers as one document, for programs."""


def write_report(report: Report, folder: Path, card: Card | None = None) -> tuple[Path, Path]:
    """Write report.md, images/*.png, report.html and the files among the blocks, each atomically; the documents' paths.

    Pictures first and removals last, so that at no moment does a document refer to an image that is not there. With a
    card the report stands in the index of the folder that it is in, which is written anew.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, bytes] = {}
    for figure in report.figures:
        assert pictures.setdefault(figure.name, figure.png) == figure.png, f"two different figures named {figure.name}"
    markdown, html = folder / "report.md", folder / "report.html"
    text = render_markdown(report)
    files: dict[str, bytes] = {f"images/{name}.png": picture for name, picture in pictures.items()}
    files |= {block.name: block.content.encode() for block in report.blocks if isinstance(block, File)}
    files[markdown.name] = text.encode()
    digests = {name: _written(folder / name, content) for name, content in files.items()}
    enclosed = [file for block in report.blocks if isinstance(block, Beside) for file in block.files]
    digests |= {file.name: _written(folder / file.name, file.content()) for file in enclosed}
    digests = dict(sorted(digests.items()))
    write_atomically(html, render_html(report, digests))
    for path in images.glob("*.png"):
        if f"images/{path.name}" not in digests:
            path.unlink()
    if card is not None:
        write_card(report, folder, card)
        write_index(folder.parent)
    return markdown, html


def _written(path: Path, content: bytes) -> str:
    """Its SHA-256."""
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()
