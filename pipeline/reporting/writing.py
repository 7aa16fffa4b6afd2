"""The files of a report, replaced atomically."""

from pathlib import Path

from pipeline.reporting.blocks import File, Report
from pipeline.reporting.html import render_html
from pipeline.reporting.markdown import render_markdown
from pipeline.store.files import write_atomically


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write report.md, images/*.png, report.html and the files among the blocks, each atomically; the documents' paths.

    Pictures first and removals last, so that at no moment does a document refer to an image that is not there.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, bytes] = {}
    for figure in report.figures:
        assert pictures.setdefault(figure.name, figure.png) == figure.png, f"two different figures named {figure.name}"
    for name, picture in pictures.items():
        write_atomically(images / f"{name}.png", picture)
    for block in report.blocks:
        if isinstance(block, File):
            write_atomically(folder / block.name, block.content)
    markdown, html = folder / "report.md", folder / "report.html"
    write_atomically(markdown, render_markdown(report))
    write_atomically(html, render_html(report))
    for path in images.glob("*.png"):
        if path.stem not in pictures:
            path.unlink()
    return markdown, html
