"""A report as a value, and its two renderings: markdown with images beside it, and one self-contained html file.

Knows words, tables and PNG bytes. Does not know where they came from (MLflow, Optuna, the store), draws nothing and
parses nothing. Every text is taken literally: markup in a study or class name shows as text in both renderings. A text
that has a page form of its own (`__html__`: a link, a number with its source) is a plain `str` to everything else.
"""

import base64
import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.store import write_atomically

GALLERY_COLUMNS = 4
"""Pictures side by side in markdown: four 280-pixel grids fill the width of a repository page."""
TILE_VALUES = 4
"""What markdown says of a picture on a wall besides its name; tables have the rest."""


class Link(str):
    """A text that leads to a place in the page, e.g. to `#trial-7`; in markdown it is the text alone."""

    target: str

    def __new__(cls, text: str, target: str) -> "Link":
        made = super().__new__(cls, text)
        made.target = target
        return made

    def __html__(self) -> Markup:
        return Markup('<a href="{}">{}</a>').format(self.target, escape(str(self)))


@dataclass(frozen=True)
class Text:
    """One paragraph."""

    kind: ClassVar[str] = "text"
    text: str
    lead: bool = False
    """Whether it is what a reader came for, and stands out."""


@dataclass(frozen=True)
class Facts:
    """Names and values, in the order given; for the handful of numbers that a reader came for."""

    kind: ClassVar[str] = "facts"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows of text under column names."""

    kind: ClassVar[str] = "table"
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    highlight: frozenset[int] = frozenset()
    """Indices of the rows to stand out, e.g. the Pareto front; the caption should say what they have in common."""

    @property
    def align(self) -> tuple[str, ...]:
        """Per column "right" where every filled cell is a number (with its unit or interval), else "left"."""
        cells = list(zip(*self.rows, strict=True)) or [()] * len(self.columns)
        return tuple("right" if _numeric(column) else "left" for column in cells)


@dataclass(frozen=True)
class Figure:
    """One picture. Figures of one name in one report are one file, so they must have the same bytes."""

    kind: ClassVar[str] = "figure"
    name: str
    """File stem: letters, digits, dots, dashes and underscores."""
    png: bytes
    alt: str
    """What the picture shows, for those who do not see it."""
    caption: str = ""

    def __post_init__(self) -> None:
        assert re.fullmatch(r"\w[\w.-]{0,99}", self.name, re.ASCII), f"{self.name!r} is no file stem"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in CSS pixels (1/96 inch); a PNG that names no resolution has one image pixel in each."""
        width, height = struct.unpack(">II", self.png[16:24])
        resolution = self.png.find(b"pHYs", 0, self.png.find(b"IDAT"))  # before the pixels: PNG specification, 5.6
        if resolution < 0:
            return width, height
        per_metre = struct.unpack(">I", self.png[resolution + 4 : resolution + 8])[0]
        scale = 96 / 0.0254 / per_metre
        return round(width * scale), round(height * scale)

    @property
    def data_uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Code:
    """Preformatted text, e.g. the command that reproduces a run."""

    kind: ClassVar[str] = "code"
    text: str
    language: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, to be compared; as many in a row as there is room for."""

    kind: ClassVar[str] = "gallery"
    items: tuple[Figure, ...]
    caption: str = ""


@dataclass(frozen=True)
class File:
    """A file beside the documents, e.g. a table as CSV; the html carries its bytes as a download."""

    kind: ClassVar[str] = "file"
    name: str
    content: str
    label: str

    @property
    def data_uri(self) -> str:
        return f"data:text/plain;charset=utf-8;base64,{base64.b64encode(self.content.encode()).decode()}"


@dataclass(frozen=True)
class Tile:
    """One picture of a wall, with what is known of it."""

    anchor: str
    """Its id in the page: links lead to it."""
    title: str
    values: tuple[tuple[str, str], ...]
    """Names and texts. What is a `sources.Number` can be sorted and filtered by."""
    picture: Figure | None = None
    note: str = ""
    """What to say beside the title: that it is the choice, or why there is no picture."""
    marked: bool = False


@dataclass(frozen=True)
class Wall:
    """Pictures of one layout, to be sorted, filtered, enlarged, and compared by twos to fours: the image wall."""

    kind: ClassVar[str] = "wall"
    tiles: tuple[Tile, ...]
    reference: Tile | None = None
    """A picture of the same layout that stays in sight whatever is filtered, e.g. real images."""
    mark: str = ""
    """What the marked tiles have in common, e.g. "Pareto front"; empty where none is marked."""
    pinned: tuple[str, ...] = ()
    """Anchors of the tiles that are side by side from the start."""
    caption: str = ""

    def __post_init__(self) -> None:
        anchors = [tile.anchor for tile in self.everything]
        assert len(set(anchors)) == len(anchors), "two tiles of one anchor"

    @property
    def everything(self) -> tuple[Tile, ...]:
        return (*((self.reference,) if self.reference else ()), *self.tiles)

    @property
    def names(self) -> tuple[str, ...]:
        """What the tiles can be sorted and filtered by: the values that are numbers in one of them."""
        numbers = (name for tile in self.tiles for name, text in tile.values if hasattr(text, "value"))
        return tuple(dict.fromkeys(numbers))


Block = Text | Facts | Table | Figure | Code | Gallery | File | Wall


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it. A section without blocks is left out of the renderings."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """All there is to say, in the order of reading."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    @property
    def figures(self) -> Iterator[Figure]:
        """Every figure, those in galleries and on walls included, in the order of reading."""
        for block in self.blocks:
            if isinstance(block, Figure):
                yield block
            elif isinstance(block, Gallery):
                yield from block.items
            elif isinstance(block, Wall):
                yield from (tile.picture for tile in block.everything if tile.picture is not None)

    @property
    def blocks(self) -> Iterator[Block]:
        """Every block, in the order of reading."""
        for section in self.sections:
            yield from section.blocks


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


# --- html ---------------------------------------------------------------------------------------------------------


def render_html(report: Report) -> str:
    """One html file that needs nothing else: pictures as data URIs, style and script inline.

    Its content security policy forbids every request, and every script but ours (known by its hash), so that a
    report can be opened without a second thought.
    """
    script = _asset("report.js") + _asset("wall.js")
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            report=report,
            sections=[(anchor, section) for anchor, section in _anchored(report)],
            style=Markup(_asset("report.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["plain"] = str  # a text without the page form it may have: for attributes
    return environment


def _breakable(name: str) -> Markup:
    """Escaped, and with leave to go on to the next line inside val/conditional_accuracy; a page form stays as it is."""
    if hasattr(name, "__html__"):
        return escape(name)
    return Markup("<wbr>").join(re.split(r"(?<=[/_])(?=\w)", name))


def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _anchored(report: Report) -> Iterator[tuple[str, Section]]:
    """The sections that say something, each with an id of its own made from its title."""
    taken: set[str] = {"top", "contents"}
    for number, section in enumerate(report.sections, start=1):
        if section.blocks:
            slug = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")[:40]
            anchor = slug if slug and slug not in taken else f"section-{number}"
            taken.add(anchor)
            yield anchor, section


# --- markdown -----------------------------------------------------------------------------------------------------


def render_markdown(report: Report) -> str:
    """GitHub-flavoured markdown; pictures are relative links to images/<name>.png."""
    parts = [f"# {escape_markdown(report.title)}", _paragraph(report.subtitle)]
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
            return _paragraph(text)
        case Facts(pairs):
            return "\n".join(f"- **{escape_markdown(name)}**: {escape_markdown(value)}" for name, value in pairs)
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
        case Wall():
            return _markdown_wall(block)


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


# --- tables -------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(
    r"[<>≈~±]?\s*[-+−]?(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?"  # 1,234  .98  -3e-4
    r"(\s*(%|±|\[|\(|/|–|\.\.).*|\s+(nats|ms|s|min|h|bytes|[kMG]i?B)(/\w+)?)?",  # an interval, a total, or a unit
    re.IGNORECASE,
)
_BLANK = {"", "-", "–", "—", "nan", "n/a", "none"}


def _numeric(cells: tuple[str, ...]) -> bool:
    """Whether all cells that are not blank are numbers, and there is one."""
    filled = [cell.strip() for cell in cells if cell.strip().lower() not in _BLANK]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)
