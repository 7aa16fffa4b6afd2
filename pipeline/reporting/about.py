"""What the head of a report says: what was run, when, how long, on what. Stored facts in words; measures nothing."""

from collections.abc import Iterable, Sequence

from pipeline.config.settings import RunConfig
from pipeline.runs.names import differences, setting_words
from pipeline.runs.outcome import Outcome

Pairs = tuple[tuple[str, str], ...]


def about_run(outcome: Outcome) -> Pairs:
    """Of one run."""
    return (
        ("settings", own_settings(outcome.config)),
        ("data", data_words(outcome)),
        ("finished", f"{day(outcome.finished)}, {duration(outcome.seconds)} of training and scoring"),
        *ran_on([outcome]),
    )


def own_settings(config: RunConfig, leave_out: Iterable[str] = ()) -> str:
    """Every setting that is not the data set's default, less those that the report is about anyway."""
    hidden = set(leave_out)
    own = {name: value for name, value in differences(config).items() if name not in hidden}
    default = f"defaults of {config.data.name}"
    return f"{setting_words(own, most=len(own))}; all others the {default}" if own else f"the {default}"


def data_words(outcome: Outcome) -> str:
    """The data set and the sizes of its splits."""
    images = outcome.facts["images"]
    return (
        f"{outcome.config.data.name}: {images['train']:,} training, {images['val']:,} validation and "
        f"{images['test']:,} test images of {outcome.facts['classes']} classes"
    )


def ran_on(outcomes: Sequence[Outcome]) -> Pairs:
    """The machines, versions and code of some runs, each named once; runs of before they were recorded say nothing."""
    machines = list(dict.fromkeys(o.facts["machine"] for o in outcomes if "machine" in o.facts))
    code = list(dict.fromkeys(f"cvae-pipe {o.facts['code']}" for o in outcomes if "code" in o.facts))
    versions = list(dict.fromkeys(o.facts["versions"] for o in outcomes if "versions" in o.facts))
    said = "; ".join([*machines, *versions, *code])
    return (("ran on", said),) if said else ()


def day(finished: str) -> str:
    """2026-11-30T23:19:05Z as people read it."""
    return f"{finished[:16].replace('T', ' ')} UTC" if finished else "not recorded"


def duration(seconds: float) -> str:
    """A time in the unit that people would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
