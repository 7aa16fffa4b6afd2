"""What a terminal or file cannot show, as a plain look-alike: an arrow as ^ or v, never as an escape. Knows streams."""

import codecs
import unicodedata
from typing import TextIO

NAME = "lookalike"
"""Of the way in which Python handles such characters, in `str.encode` and of a stream."""
LOOKALIKES = {
    "↑": "^",
    "↓": "v",
    "→": "->",
    "←": "<-",
    "±": "+/-",
    "−": "-",
    "–": "-",
    "—": "-",
    "×": "x",
    "·": "*",
    "•": "*",
    "≈": "~",
    "≤": "<=",
    "≥": ">=",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "…": "...",
    "█": "#",
    "▀": "#",
    "━": "-",
    "╸": "-",
    "╺": "-",
    "β": "beta",
    "μ": "mu",
    "σ": "sigma",
    "Δ": "delta",
    "ß": "ss",
    "ø": "o",
    "Ø": "O",
    "æ": "ae",
    "Æ": "AE",
}
"""Other characters lose their accents; what has no look-alike at all is a question mark."""


def lookalike(character: str) -> str:
    """A character in ASCII."""
    if character in LOOKALIKES:
        return LOOKALIKES[character]
    if 0x2500 <= ord(character) <= 0x257F:  # lines of a table
        return "|" if "VERTICAL" in unicodedata.name(character) else "-"
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or ("" if unicodedata.combining(character) else "?")


def _handle(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(lookalike, error.object[error.start : error.end])), error.end


codecs.register_error(NAME, _handle)


def show_lookalikes(*streams: TextIO) -> None:
    """From now on these streams write look-alikes for what their encoding has not."""
    for stream in streams:
        if hasattr(stream, "reconfigure"):  # a notebook's, or a test's, may be something else
            stream.reconfigure(errors=NAME)
