"""The numbers of a written report against the store: each derived anew from the source it carries. Writes nothing."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pipeline.errors import CvaePipeError, ElsewhereError, ReportError, StudyError
from pipeline.reporting.citation import Source, derive, written
from pipeline.reporting.html import unbroken
from pipeline.runs.comparison import PAIRED, compare_runs, paired_value
from pipeline.runs.outcome import Outcome, load_outcome
from pipeline.runs.stored import run_parts
from pipeline.store.files import sha256
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH
from sweeps.analysis.summary import Summary, summarise
from sweeps.study.config import stored_config
from sweeps.study.reading import every_study_name, stored_study


@dataclass(frozen=True)
class Cited:
    """A number as it stands in a page."""

    section: str
    text: str
    value: str
    source: Source


@dataclass(frozen=True)
class Drift:
    """A number that is not what the store says."""

    where: str
    shown: str
    stored: str
    """The number as it would be written now, or why there is none."""


@dataclass(frozen=True)
class Verification:
    """What came of it."""

    report: str
    numbers: int
    drifted: tuple[Drift, ...]
    damaged: tuple[str, ...] = ()
    """What is not as it was written: the page, files beside it, results in the store that the numbers rest on."""

    @property
    def sound(self) -> bool:
        return not self.drifted and not self.damaged

    def document(self) -> dict[str, Any]:
        return asdict(self)


def verify(home: Home, path: Path) -> Verification:
    """Every number of a report.html, or of the folder it is in, derived anew; ReportError for a file that is none,
    ElsewhereError for one of other homes."""
    path = path / "report.html" if path.is_dir() else path
    store = _Store(home)
    numbers = read_numbers(path)
    of_runs = [number for number in numbers if number.source.runs]
    if not any(store.knows(number.source) for number in of_runs or numbers):
        raise ElsewhereError(
            f"{path} was made elsewhere: none of its {len(numbers)} numbers is of a run or study of this home "
            f"({home.root}), so there is nothing here to check it against; set CVAE_PIPE_HOME to the home it is of"
        )
    drifted = [drift for number in numbers if (drift := store.drift(number))]
    damaged = [*_changed(path), *store.damaged(numbers)]
    return Verification(str(path), len(numbers), tuple(drifted), tuple(damaged))


def _changed(path: Path) -> Iterator[str]:
    """The page, and files that were written with it, that are not as they were written; a page alone is a page."""
    page = path.read_text(encoding="utf-8")
    if not unbroken(page):
        yield f"{path.name} has been changed since it was written"
    written = re.findall(r'<meta name="cvae-pipe-file" content="([0-9a-f]{64}) ([^"]+)">', page)
    files = {path.parent / html.unescape(name): digest for digest, name in written}
    if not any(file.exists() for file in files):
        return
    for file, digest in files.items():
        if not file.is_file():
            yield f"{file.relative_to(path.parent)} is gone"
        elif sha256(file) != digest:
            yield f"{file.relative_to(path.parent)} has been changed since it was written"


def read_numbers(path: Path) -> list[Cited]:
    """The numbers of a report that carry a source, in the order of reading."""
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} cannot be read as a report ({error}); name a report.html") from None
    reader = _Reader()
    reader.feed(page)
    if not reader.ours:
        raise ReportError(f"{path} is no report of cvae-pipe; name a report.html")
    if not reader.numbers:
        raise ReportError(f"{path} names no source of any number; write it anew with `cvae-pipe report NAME`")
    return reader.numbers


class _Reader(HTMLParser):
    """Collects the <data> elements that carry a source."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[Cited] = []
        self.ours = False
        self._section, self._heading = "", False
        self._open: tuple[dict[str, str], list[str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "meta" and attributes.get("name") == "generator":
            self.ours = attributes.get("content") == "cvae-pipe"
        elif tag == "h2":
            self._section, self._heading = "", True
        elif tag == "data" and "data-key" in attributes:
            self._open = (attributes, [])

    def handle_data(self, data: str) -> None:
        if self._heading:
            self._section += data
        if self._open:
            self._open[1].append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "h2":
            self._heading = False
        elif tag == "data" and self._open:
            attributes, text = self._open
            number = Cited(
                self._section, "".join(text), attributes.get("value", ""), Source.from_attributes(attributes)
            )
            self.numbers.append(number)
            self._open = None


class _Store:
    """What the numbers are derived from; each run and study is read once."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._studies = every_study_name(home)
        self._outcome = cache(self._load)
        self._study = cache(self._summarise)
        self._comparison = cache(
            lambda first, second: compare_runs(home, [self._outcome(first), self._outcome(second)])
        )

    def knows(self, source: Source) -> bool:
        """Whether any run of a number, or its study, is here."""
        return source.study in self._studies or any(map(self._is_here, source.runs))

    def _is_here(self, run: str) -> bool:
        return bool(re.fullmatch("[0-9a-f]+", run)) and self._home.store.path("run", run).exists()

    def damaged(self, numbers: Sequence[Cited]) -> list[str]:
        """What the runs of these numbers consist of, if it is not what was written: by the hash of every file."""
        store, found = self._home.store, []
        runs = dict.fromkeys(run for number in numbers for run in number.source.runs if self._is_here(run))
        parts = [("run", run) for run in runs]
        parts += [part for run in runs if store.has("run", run) for part in run_parts(self._home, run).items()]
        for stage, key in dict.fromkeys(parts):
            if broken := store.damaged(stage, key, thoroughly=True):
                found.append(f"{stage} {key[:KEY_LENGTH]} in the store is damaged: {', '.join(broken)}")
        return found

    def drift(self, number: Cited) -> Drift | None:
        """Why a number is not what the store says; None if it is. Its machine-readable value must say the same."""
        where = f"{number.section}: {number.source}"
        try:
            value = self._derive(number.source)
            stored = written(value, number.source.form)
            if number.text == stored == written(float(number.value), number.source.form):
                return None
        except (CvaePipeError, OSError, ValueError, KeyError) as error:
            stored = str(error)
        return Drift(where, number.text, stored)

    def _derive(self, source: Source) -> float:
        if source.study:
            return self._study(source.study).quantity(source.key)
        if source.aggregate in PAIRED:
            first, second = source.runs
            return paired_value(self._comparison(first, second), source.key, source.aggregate)
        outcomes: Sequence[Outcome] = [self._outcome(key) for key in source.runs]
        return derive(source, outcomes)

    def _load(self, key: str) -> Outcome:
        if not self._is_here(key):
            raise ReportError(f"run {key} is not in the store")
        return load_outcome(self._home, key)

    def _summarise(self, name: str) -> Summary:
        try:
            study = stored_study(self._home, name)
        except StudyError as error:
            raise ReportError(str(error)) from None
        return summarise(self._home, study, stored_config(study))
