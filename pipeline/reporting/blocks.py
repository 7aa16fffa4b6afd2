"""A report as a value: blocks of text, tables, pictures, a wall. Knows words and PNG bytes; not where they came from.

Every text is taken literally: markup in a study or class name shows as text in both renderings. A text that has a page
form of its own (`__html__`: a link, a number with its source) is a plain `str` to everything else.
"""

import base64
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup, escape


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
    caution: bool = False
    """Whether it limits what the numbers mean, and stands out."""


@dataclass(frozen=True)
class Facts:
    """Names and values, in the order given; for the handful of numbers that a reader came for."""

    kind: ClassVar[str] = "facts"
    pairs: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    """What each is read against, in small print; none, or one for every pair."""

    def __post_init__(self) -> None:
        assert len(self.notes) in (0, len(self.pairs)), "a note for every fact, or none at all"

    @property
    def noted(self) -> tuple[tuple[str, str, str], ...]:
        """Name, value and note."""
        return tuple((*pair, note) for pair, note in zip(self.pairs, self.notes or [""] * len(self.pairs), strict=True))


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
    apart: bool = False
    """Whether the html leads to the file instead: too large to be carried."""

    @property
    def data_uri(self) -> str:
        return f"data:text/plain;charset=utf-8;base64,{base64.b64encode(self.content.encode()).decode()}"


@dataclass(frozen=True)
class Enclosed:
    """A file that is opened from a page when somebody asks for it."""

    name: str
    """Relative to the page."""
    label: str
    content: Callable[[], bytes]
    """Made when it is written: there may be many."""


@dataclass(frozen=True)
class Beside:
    """Links to files beside the documents."""

    kind: ClassVar[str] = "beside"
    files: tuple[Enclosed, ...]
    caption: str


@dataclass(frozen=True)
class Tile:
    """One picture of a wall, with what is known of it."""

    anchor: str
    """Its id in the page: links lead to it."""
    title: str
    values: tuple[tuple[str, str], ...]
    """Names and texts. What is a `citation.Number` can be sorted and filtered by."""
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


Block = Text | Facts | Table | Figure | Code | Gallery | File | Beside | Wall


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
    about: tuple[tuple[str, str], ...] = ()
    """What was run, when, how long, on what: names and words under the title."""

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


_NUMBER = re.compile(
    r"[<>≈~±]?\s*[-+−]?(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?"  # 1,234  .98  -3e-4
    r"(\s*(%|±|\[|\(|/|–|\.\.|\*).*|\s+(nats|ms|s|min|h|bytes|[kMG]i?B)(/\w+)?)?",  # an interval, a total, or a unit
    re.IGNORECASE,
)

_BLANK = {"", "-", "–", "—", "nan", "n/a", "none"}


def _numeric(cells: tuple[str, ...]) -> bool:
    """Whether all cells that are not blank are numbers, and there is one."""
    filled = [cell.strip() for cell in cells if cell.strip().lower() not in _BLANK]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)
