"""A report as one self-contained html file."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.evaluation.glossary import entry_of, words
from pipeline.reporting.blocks import Report, Section

SEAL = '<meta name="cvae-pipe-sha256" content="{}">'
"""In the head of a page: the hash of the page with this left empty."""
SEALED = re.compile(re.escape(SEAL).replace(r"\{\}", "([0-9a-f]*)"))


def sealed(page: str) -> str:
    """A page with its own hash in it, so that whatever is changed later is seen: a number, a picture, a caption."""
    return page.replace(SEAL.format(""), SEAL.format(hashlib.sha256(page.encode()).hexdigest()), 1)


def unbroken(page: str) -> bool:
    """Whether a page is as it was sealed; one without a seal is of an older version, and nothing is known of it."""
    found = SEALED.search(page)
    if found is None:
        return True
    bare = page.replace(found[0], SEAL.format(""), 1)
    return hashlib.sha256(bare.encode()).hexdigest() == found[1]


def render_html(report: Report, beside: Mapping[str, str] = MappingProxyType({})) -> str:
    """One html file that needs nothing else: pictures as data URIs, style and script inline.

    `beside`: the files that are written with it -> their SHA-256, which the page keeps.

    Its content security policy forbids every request, and every script but ours (known by its hash), so that a
    report can be opened without a second thought.
    """
    script = asset("report.js") + asset("wall.js")
    page = (
        templates()
        .get_template("report.html.j2")
        .render(
            seal=Markup(SEAL.format("")),
            beside=beside,
            report=report,
            sections=[(anchor, section) for anchor, section in _anchored(report)],
            style=Markup(asset("report.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    words = _glossary(page)
    page = page.replace(WORDS_LINK, '<li><a href="#words">Words</a></li>' if words else "", 1)
    return sealed(page.replace(WORDS, words, 1))


@cache
def templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["kept"] = _kept
    environment.filters["plain"] = str  # a text without the page form it may have: for attributes
    return environment


def _breakable(name: str) -> Markup:
    """Escaped, and with leave to go on to the next line inside val/conditional_accuracy; a page form stays as it is. A
    word of the glossary leads to its entry."""
    if hasattr(name, "__html__"):
        return escape(name)
    whole = re.sub(r" (?=[↑↓]$)", "\u00a0", name)  # an arrow stays with its name
    broken = Markup("<wbr>").join(re.split(r"(?<=[/_])(?=\w)", whole))
    word = entry_of(name)
    if not word:
        return broken
    return Markup('<a class="word" href="#{}" title="{}">{}</a>').format(_word_anchor(word), words()[word], broken)


LONGEST_KEPT = 16
"""Characters of a word that a table keeps in one piece; a longer one, such as a long class name, is broken anywhere."""


def _kept(cell: str) -> str:
    """The class, after others, of a cell whose words stay whole, however many columns there are."""
    return " kept" if max(map(len, re.split(r"[\s/_]", str(cell)))) <= LONGEST_KEPT else ""


WORDS, WORDS_LINK = "<!-- words -->", "<!-- words-link -->"
"""In the template, where the entries of the words go that a page has, and what leads to them."""


def _word_anchor(word: str) -> str:
    return f"word-{list(words()).index(word)}"


def _glossary(page: str) -> str:
    """The entries of the glossary that a page leads to, as a section; nothing where it leads to none."""
    entry = Markup('<div id="{}"><dt>{}</dt><dd>{}</dd></div>')
    used = [
        entry.format(anchor, word, text)
        for word, text in words().items()
        if f'href="#{(anchor := _word_anchor(word))}"' in page
    ]
    if not used:
        return ""
    body = "\n".join(used)
    return f'<section id="words"><h2>Words</h2>\n<dl class="words">\n{body}\n</dl></section>'


def asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _anchored(report: Report) -> Iterator[tuple[str, Section]]:
    """The sections that say something, each with an id of its own made from its title."""
    taken: set[str] = {"top", "contents", "words"}
    for number, section in enumerate(report.sections, start=1):
        if section.blocks:
            slug = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")[:40]
            anchor = slug if slug and slug not in taken else f"section-{number}"
            taken.add(anchor)
            yield anchor, section
