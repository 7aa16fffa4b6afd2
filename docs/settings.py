"""Writes docs/SETTINGS.md and docs/GLOSSARY.md from the code: `make rooms` runs it, a test holds them to it."""

from pathlib import Path
from typing import Any

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


OWN = RunConfig().with_settings({"data.dataset": "./letters", "data.content": "0" * 64})
OF_OWN_IMAGES = {f"data.{key}" for key in ("size", "fit", "channels", "skip_broken", "content", "images")}
"""What is allowed of somebody's own images alone."""


def page() -> str:
    """The whole document."""
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


def changes(name: str) -> str:
    """The first stage whose key is another when the setting is."""
    before = OWN if name in OF_OWN_IMAGES else RunConfig()
    after = another(before, name)
    return next((stage.name for stage in STAGES if stage.key(before, "test") != stage.key(after, "test")), "")


def another(config: RunConfig, name: str) -> RunConfig:
    """The configuration with another value of that setting, one that is allowed."""
    value, kind = config.flat()[name], setting_type(name)
    tries: list[Any] = [not value] if kind is bool else []
    if kind is str:
        tries = [part.strip() for part in documented()[name].allowed.removeprefix("one of ").split(",")]
        tries += ["32", "1" * 64]  # a size, a hash
    elif kind in (int, float) and not tries:
        tries = [value + 1, value / 2, value * 2, value - 1]
    elif not tries:
        tries = [[*value, 7]]
    for candidate in tries:
        if candidate == value:
            continue
        try:
            return config.with_settings({name: kind(candidate) if kind in (int, float) else candidate})
        except ConfigError:
            continue
    raise AssertionError(f"no other value of {name} is allowed")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    PAGE.with_name("GLOSSARY.md").write_text(markdown(), encoding="utf-8")
