"""What runs are called: after what differs from the defaults, or as somebody said; tags and notes. Needs no torch.

A run's name says its data set, its model and the settings that are not the data set's defaults (`digits-cvae-e5-h200`);
it is written down with the run, so that defaults that change later rename nothing. Names, tags and notes that people
give stand beside the run, under its key: they are no part of what the run is.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.digests import digest
from pipeline.config.flags import DAILY
from pipeline.config.reading import IDENTITY, build_config, read_toml, usual_config
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError, CvaePipeError
from pipeline.stages.graph import run_key
from pipeline.store.files import read_json
from pipeline.store.home import Home

LETTERS = {
    "model.arch": "",
    "model.likelihood": "",
    "train.beta": "beta",
    "model.latent_dim": "z",
    "model.hidden": "h",
    "train.learning_rate": "lr",
    "train.schedule": "",
    "train.epochs": "e",
    "train.batch_size": "b",
    "train.warmup_epochs": "warmup",
    "sampling.prior": "",
    "panel.judges": "judges",
    "train.seed": "s",
}
"""What stands before the value of a setting in a name, in the order of the name."""
LONGEST = 80
"""Characters of a name, less the hash of what it has no room for."""
CHOSEN = "best"
"""Where a name is asked for it means the choice of the latest study; so nothing is called that any more."""
HASH = 4
"""Hex digits for the settings that a name does not spell out."""


@dataclass(frozen=True)
class Label:
    """What somebody called a run."""

    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def __bool__(self) -> bool:
        return bool(self.name or self.tags or self.note)


def label_of(home: Home, key: str) -> Label:
    """What a run was called; nothing where nobody called it anything."""
    path = home.store.path("label", key) / "label.json"
    return Label(**read_json(path)) if path.exists() else Label()


def put_label(home: Home, key: str, label: Label) -> Label:
    """Call a run something, keeping what is not said anew; what it is called now."""
    held = label_of(home, key)
    now = Label(label.name or held.name, {**held.tags, **label.tags}, label.note or held.note)
    if now != held:
        from pipeline.store.files import write_json

        home.store.build("label", key, lambda work: write_json(work / "label.json", asdict(now)), force=True)
    return now


def checked_label(name: str | None, tags: Mapping[str, str], note: str | None) -> Label:
    """A label that can be one; ConfigError if it can't."""
    if name is not None:
        refuse_reserved(name)
        fits = 1 <= len(name) <= 100 and len(name.encode()) <= 200
        if not fits or name.startswith(("@", ".", "-")) or any(c in name for c in "/\\\0\n"):
            raise ConfigError(
                f"--name is {name!r}; it names a folder: 1 to 100 characters, no slash, not beginning with @, . or -"
            )
    for tag in tags:
        if not re.fullmatch(r"[\w][\w.\- ]{0,99}", tag):
            raise ConfigError(f"--tag {tag!r} has no name MLflow takes; write letters, digits, - _ . and spaces")
        if tag.startswith("mlflow.") or tag in OURS:
            raise ConfigError(f"--tag {tag} is a tag that cvae-pipe or MLflow keeps itself; choose another name")
    return Label(name or "", dict(tags), note or "")


def refuse_reserved(name: str) -> None:
    """ConfigError for a name that means something else wherever it is typed."""
    if name == CHOSEN:
        raise ConfigError(f"--name {CHOSEN} means the choice of the latest study; choose another name")


OURS = frozenset({"kind", "dataset", "model", "split", "run_key", "reason", "study", "trial", "git_dirty"})
"""Tags that the tracker sets."""


def parse_tags(entries: list[str] | None) -> dict[str, str]:
    """--tag key=value entries."""
    tags = {}
    for entry in entries or ():
        name, equals, value = entry.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--tag {entry} has no value; write --tag key=value, e.g. --tag paper=yes")
        tags[name.strip()] = value.strip()
    return tags


# ---- names made of settings ------------------------------------------------------------------------------------------


def differences(config: RunConfig) -> dict[str, Any]:
    """The settings that are not what the data set's defaults are; how things run is none of them."""
    usual = usual_config(config).flat()
    return {
        name: value
        for name, value in config.flat().items()
        if value != usual[name] and name.partition(".")[0] not in ("runtime", "gates") and name not in IDENTITY
    }


def described(config: RunConfig, split: str) -> str:
    """Data set, model, what is no default: the same for equal configurations alone, whatever their number.

    Settings that people change daily are spelled out; of all others together there is a short hash.
    """
    own = differences(config)
    if config.model.kind == "ae":
        own.pop("train.beta", None)
    for name in ("model.kind", "model.arch", "model.likelihood"):  # the title says them
        own.pop(name, None)
    data = _word(config.data.name) or "data"
    parts = [data, *config.model.title.split()]
    for name, letters in LETTERS.items():
        if name in own:
            parts.append(f"{letters}{_word(_text(own[name]))}")
            if not _is_spelled_out(own[name]):
                continue  # the hash knows it
            del own[name]
    if config.audit.enabled and own.pop("audit.enabled", None):
        parts.append("audit")
    if split != "test":
        parts.append(split)
    hidden: dict[str, Any] = dict(own)
    if config.data.own:
        hidden["data.content"] = config.data.content
    name = "-".join(parts)
    if len(name) > LONGEST:
        hidden["name"] = name
        name = name[:LONGEST].rstrip("-.")
    return f"{name}-{digest(hidden)[:HASH]}" if hidden else name


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_spelled_out(value: Any) -> bool:
    return not isinstance(value, float) or float(_text(value)) == value


def _word(text: str) -> str:
    """A text as a part of a file name."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.")


def run_name(config: RunConfig, key: str) -> str:
    """What a run was called before names were written down: data set, model, two settings, the start of its key."""
    beta = "" if config.model.kind == "ae" else f"-beta{config.train.beta:.3g}"
    return f"{config.data.name}-{config.model.kind}{beta}-z{config.model.latent_dim}-{key[:8]}"


def name_for(home: Home, config: RunConfig, split: str) -> str:
    """The name of a run: that of the stored one, else that which it will be stored under.

    Where a report of that name is of something else, the start of the run's key is added.
    """
    key = run_key(config, split)
    if name := label_of(home, key).name:
        return name
    if home.store.has("run", key):
        return own_name(home, key, config)
    name = described(config, split)
    folder = home.reports / name
    return f"{name}-{key[:8]}" if folder.exists() and not _is_of(folder, key, split) else name


def own_name(home: Home, key: str, config: RunConfig) -> str:
    """The name that a stored run was given when it was made."""
    try:
        return str(read_json(home.store.path("run", key) / "run.json")["name"])
    except (OSError, ValueError, KeyError):  # older than names, or damaged
        return run_name(config, key)


def _is_of(folder: Path, key: str, split: str) -> bool:
    """Whether the report in that folder is of that run."""
    try:
        return run_key(build_config(read_toml(folder / "config.toml")), split) == key
    except CvaePipeError:
        return False


LABELLED = {flag.setting: flag.option.removeprefix("--").replace("-", " ") for flag in DAILY}


def setting_words(settings: Mapping[str, Any], most: int = 4) -> str:
    """Settings in a few words, as lists and candidates show them: epochs 5, hidden 200."""
    if content := settings.get("data.content"):
        others = {name: value for name, value in settings.items() if name not in IDENTITY}
        settings = {"images": content[:HASH], **others}
    settings = dict(sorted(settings.items(), key=lambda item: item[0] not in LABELLED))  # the daily ones first
    said = [f"{LABELLED.get(name, name)} {_shown(value)}" for name, value in list(settings.items())[:most]]
    more = f" and {len(settings) - most} more" if len(settings) > most else ""
    return ", ".join(said) + more


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
