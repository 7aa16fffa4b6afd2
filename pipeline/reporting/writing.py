"""The files of a report, replaced atomically."""

import hashlib
from pathlib import Path

from pipeline.reporting.blocks import File, Report
from pipeline.reporting.html import render_html
from pipeline.reporting.index import Card, write_card, write_index
from pipeline.reporting.markdown import render_markdown
from pipeline.store.files import write_atomically


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
    for name, content in files.items():
        write_atomically(folder / name, content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    write_atomically(html, render_html(report, digests))
    for path in images.glob("*.png"):
        if path.stem not in pictures:
            path.unlink()
    if card is not None:
        write_card(report, folder, card)
        write_index(folder.parent)
    return markdown, html
