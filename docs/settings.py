"""Writes docs/SETTINGS.md, docs/GLOSSARY.md and the table of docs/PYTHON.md from the code: `make rooms` runs it, a test
holds them to it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.cli import answers
from pipeline.config.documented import documented, section_sentence, shown
from pipeline.config.settings import SECTIONS, RunConfig, setting_type
from pipeline.errors import ConfigError
from pipeline.evaluation.glossary import markdown
from pipeline.stages.graph import STAGES

PAGE = Path(__file__).with_name("SETTINGS.md")
HEAD = """# Settings

Every setting of a run, made from [pipeline/config/sections.py](../pipeline/config/sections.py) by `make rooms`.
`cvae-pipe config` shows the same with your own values, and where each comes from.

**Precedence**, the later one wins: default, preset of the data set, `--config` file, flag or `--set`. A flag and
`--set` that give one setting two values are refused; so are names that there are not.

**Changes** names the first stage whose result is another with another value; what builds on it is made anew too. Where
it says nothing, the setting is no part of any result: how things run, or a bound checked whenever a judge is used.
"""


ENVELOPE = "<!-- envelope -->", "<!-- /envelope -->"


def with_envelope(text: str) -> str:
    """docs/PYTHON.md with the table of what every JSON document has."""
    begins, ends = ENVELOPE
    before, _, rest = text.partition(begins)
    return f"{before}{begins}\n{answers.markdown_table()}\n{ends}{rest.partition(ends)[2]}"


def page() -> str:
    """The whole document of the settings."""
    parts = [HEAD]
    for section in SECTIONS:
        parts += [f"## [{section}]\n", f"{section_sentence(section)}\n"]
        parts += ["| setting | default | allowed | changes | meaning |", "|---|---|---|---|---|"]
        for one in documented().values():
            if one.name.startswith(f"{section}."):
                others = "".join(f"; {data}: {shown(value)}" for data, value in one.presets.items())
                flag = f"<br>`{one.option}`" if one.option else ""
                default = f"{shown(one.default)}{others}"
                cells = (f"`{one.name}`{flag}", default, one.allowed, changes(one.name), one.sentence)
                parts.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        parts.append("")
    return "\n".join(parts)


OWN = RunConfig().with_settings({"data.dataset": "/images", "data.content": "0" * 64, "data.images": 1000})
"""Images of one's own: some settings are of these alone."""


def changes(name: str) -> str:
    """The first stage whose key is another when the setting is."""
    for before in (RunConfig(), OWN):
        for after in others(before, name):
            for stage in STAGES:
                if stage.key(before, "test") != stage.key(after, "test"):
                    return stage.name
    return ""


def others(config: RunConfig, name: str) -> Iterator[RunConfig]:
    """The configuration with other values of that setting, those that are allowed."""
    value, kind = config.flat()[name], setting_type(name)
    tries: list[Any] = [[7]]
    if kind is bool:
        tries = [not value]
    elif kind is str:
        tries = [
            *(part.strip() for part in documented()[name].allowed.removeprefix("one of ").split(",")),
            "32",
            "1" * 64,
        ]
    elif kind in (int, float):
        tries = [value + 1, value / 2, value * 2, value - 1]
    for candidate in tries:
        if candidate != value:
            with suppress(ConfigError):
                yield config.with_settings({name: kind(candidate) if kind in (int, float) else candidate})


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    PAGE.with_name("GLOSSARY.md").write_text(markdown(), encoding="utf-8")
    python = PAGE.with_name("PYTHON.md")
    python.write_text(with_envelope(python.read_text(encoding="utf-8")), encoding="utf-8")
