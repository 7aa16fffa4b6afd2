"""A report as markdown with images beside it."""

import re
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote

from pipeline.reporting.blocks import Beside, Block, Code, Facts, Figure, File, Gallery, Report, Table, Text, Tile, Wall

GALLERY_COLUMNS = 4
"""Pictures side by side in markdown: four 280-pixel grids fill the width of a repository page."""

TILE_VALUES = 4
"""What markdown says of a picture on a wall besides its name; tables have the rest."""


def render_markdown(report: Report) -> str:
    """GitHub-flavoured markdown; pictures are relative links to images/<name>.png."""
    about = _list([(name, value, "") for name, value in report.about])
    parts = [f"# {escape_markdown(report.title)}", _paragraph(report.subtitle), about]
    for section in report.sections:
        if section.blocks:
            parts += [f"## {escape_markdown(section.title)}", *map(_markdown, section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape_markdown(text: str) -> str:
    """`text` on one line, so that GitHub-flavoured markdown shows it as it is, in a paragraph or in a table cell."""
    line = " ".join(text.split())
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"[\\`*\[\]|~$]|(?<!\S)#", r"\\\g<0>", line)
    # An underscore inside a word is no markup, and latent_dim is easier to read than latent\_dim.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)


def _markdown(block: Block) -> str:
    match block:
        case Text(text):
            return f"> **Beware.** {_paragraph(text)}" if block.caution else _paragraph(text)
        case Facts():
            return _list(block.noted)
        case Table():
            return _markdown_table(block)
        case Figure():
            return _with_caption(_image_link(block), block.caption)
        case Code(text, language):
            longest = max((len(run) for run in re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}{re.sub(r'[^a-z0-9+-]', '', language.lower())}\n{text}\n{fence}"
        case Gallery(items, caption):
            return _with_caption(_markdown_gallery(items), caption)
        case File(name, _, label):
            return f"[{escape_markdown(label)}]({quote(name)})"
        case Beside(files, caption):
            links = [f"[{escape_markdown(file.label)}]({quote(file.name)})" for file in files]
            return f"{escape_markdown(caption)}\n\n{' · '.join(links)}"
        case Wall():
            return _markdown_wall(block)


def _list(facts: Iterable[tuple[str, str, str]]) -> str:
    """A line for each name, value and note."""
    return "\n".join(
        f"- **{escape_markdown(name)}**: {escape_markdown(value)}{f' ({escape_markdown(note)})' * bool(note)}"
        for name, value, note in facts
    )


def _paragraph(text: str) -> str:
    """Escaped text that cannot be taken for a list or an underline where a line starts."""
    return re.sub(r"^([-+=]|\d+(?=[.)]))", _escape_start, escape_markdown(text))


def _escape_start(found: re.Match[str]) -> str:
    mark = found.group()
    return f"{mark[:-1]}&#{ord(mark[-1])};"


def _markdown_table(table: Table) -> str:
    rule = [{"right": "---:", "left": ":---"}[side] for side in table.align]
    rows = [
        [f"**{cell}**" if cell and index in table.highlight else cell for cell in map(escape_markdown, row)]
        for index, row in enumerate(table.rows)
    ]
    return _with_caption(_lines([list(map(escape_markdown, table.columns)), rule, *rows]), table.caption)


def _markdown_gallery(items: tuple[Figure, ...]) -> str:
    """A table that holds captions and pictures by turns; its head is the first row of captions."""
    width = min(GALLERY_COLUMNS, len(items))
    lines: list[list[str]] = []
    for start in range(0, len(items), width or 1):
        row = items[start : start + width]
        blank = [""] * (width - len(row))
        lines += [[escape_markdown(item.caption) for item in row] + blank, [*map(_image_link, row), *blank]]
    return _lines([*lines[:1], [":---:"] * width, *lines[1:]]) if lines else ""


def _markdown_wall(wall: Wall) -> str:
    """The pictures as a gallery, and under it what there is no picture of."""
    shown = [replace(tile.picture, caption=_tile_caption(tile)) for tile in wall.everything if tile.picture is not None]
    rest = [f"- {escape_markdown(f'{tile.title}: {tile.note}')}" for tile in wall.tiles if tile.picture is None]
    return "\n\n".join(
        part for part in (_with_caption(_markdown_gallery(tuple(shown)), wall.caption), "\n".join(rest)) if part
    )


def _tile_caption(tile: Tile) -> str:
    known = [f"{name} {text}" for name, text in tile.values[:TILE_VALUES]]
    return " · ".join([tile.title, *([tile.note] if tile.note else []), *known])


def _lines(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _image_link(figure: Figure) -> str:
    return f"![{escape_markdown(figure.alt)}](images/{figure.name}.png)"


def _with_caption(body: str, caption: str) -> str:
    words = escape_markdown(caption)
    return f"{body}\n\n*{words}*" if words else body
