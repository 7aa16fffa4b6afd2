"""Names cut to the room that there is for them, and put in a row. Knows text."""

from collections.abc import Sequence

NAME_LENGTH = 40
"""Characters of a name, e.g. of a class, in sentences, captions and tables."""


def shortened(text: str, longest: int = NAME_LENGTH) -> str:
    """`text` on one line of at most `longest` characters: of a longer one the beginning and the end, since names of one
    kind often begin alike."""
    line = " ".join(str(text).split())
    if len(line) <= longest:
        return line
    begin = longest // 2
    return line[:begin] + "…" + line[len(line) - (longest - 1 - begin) :]


def listed(names: Sequence[str]) -> str:
    """One, two and three."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
