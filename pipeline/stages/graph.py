"""The table of stages: what each is called, what its key is made of, when it applies, who builds it. Needs no torch.

    prepare ──> judge ──> reference(split) ──┬───────────────┐
      │ └─────> train ──> evaluate(split)    v               v
      │            ├────────────────────> score(split)   audit(split)      score, evaluate, prior ──> expost(split)
      │            ├─────────────────────────────────────────^
      │            ├──> prior ──> expost(split), panel(split), copying(split), audit(split), inside(split)
      │            ├────────────────────> inside(split) <── judge
      │            └────────────────────> copying(split)
      └──> surroundings(split) ─────────────────^

    Recipes, each when it is asked for: train ──> denoise(split), prepare ──> anomalies(split), which trains its own.

Asking for a stage builds whatever is missing before it, like a make target, and says what it did. A new stage is a
function in a file of its own and a row here: a run, a sweep, `--force` and the lines on stderr read this table.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from pipeline.config.digests import digest
from pipeline.config.settings import RunConfig

Parts = Callable[[RunConfig, str], tuple[Any, ...]]


def _always(config: RunConfig, split: str) -> bool:
    return True


def _with_labels(config: RunConfig, split: str) -> bool:
    return config.model.kind == "cvae"


def _with_prior(config: RunConfig, split: str) -> bool:
    return config.model.kind != "ae"


def _with_fitted_prior(config: RunConfig, split: str) -> bool:
    return config.sampling.prior != "standard" and config.model.kind != "ae"


def _when_asked(config: RunConfig, split: str) -> bool:
    """Of a recipe: no run has it by itself, and none is another run for having it."""
    return False


def _split_name(config: RunConfig, split: str) -> str:
    return split


@dataclass(frozen=True)
class Stage:
    """One stage of a run."""

    name: str
    version: int
    """Raised when the stage's code changes its results: old results then simply stop being found."""
    made_of: Parts
    """What the key is made of besides name and version: the keys before it, the sections it reads, the split."""
    built_by: str
    """module:function that is given (ctx, split, trained); loaded when asked for."""
    when: Callable[[RunConfig, str], bool] = _always
    """Whether it applies to a configuration opened on a split."""
    label: Callable[[RunConfig, str], str] = _split_name
    """What is said of it in parentheses."""
    in_run: bool = True
    """Whether a run consists of it, rather than building it on the way to another."""
    in_run_key: Literal["always", "when it applies", "never"] = "never"
    """Whether having it makes a run another run."""
    shared: bool = False
    """Whether it belongs to the data set rather than to a model: `run --force` leaves it alone."""
    resumable: bool = False
    """Whether it goes on from what an interrupted build has left."""

    def key(self, config: RunConfig, split: str = "") -> str:
        """SHA-256 (hex) that names its result in the store."""
        return digest(self.name, self.version, *self.made_of(config, split))

    def title(self, config: RunConfig, split: str) -> str:
        """What people are told of, e.g. "score (test)"."""
        label = self.label(config, split)
        return f"{self.name} ({label})" if label else self.name

    @property
    def build(self) -> Callable[..., Any]:
        """The function that builds it."""
        module, _, function = self.built_by.partition(":")
        return getattr(import_module(module), function)


PREPARE = Stage(
    "prepare",
    1,
    lambda c, s: (c.data.anywhere,),
    "pipeline.stages.prepare:prepare",
    label=lambda c, s: c.data.name,
    in_run=False,
    shared=True,
)
JUDGE = Stage(
    "judge",
    1,
    lambda c, s: (PREPARE.key(c), c.judge),
    "pipeline.stages.judge:judge",
    when=_with_labels,
    label=lambda c, s: "",
    in_run=False,
    shared=True,
)
REFERENCE = Stage(
    "reference",
    2,
    lambda c, s: (JUDGE.key(c), c.score, s),
    "pipeline.stages.reference:reference",
    when=_with_labels,
    in_run=False,
    shared=True,
)
TRAIN = Stage(
    "train",
    2,
    lambda c, s: (PREPARE.key(c), c.model, c.train),
    "pipeline.stages.train:train",
    label=lambda c, s: f"{c.model.title}, {c.train.epochs} epochs",
    in_run=False,
    resumable=True,
)
EVALUATE = Stage(
    "evaluate",
    1,
    lambda c, s: (TRAIN.key(c), c.evaluate, s),
    "pipeline.stages.evaluate:evaluate",
    in_run_key="always",
)
SCORE = Stage(
    "score",
    1,
    lambda c, s: (TRAIN.key(c), REFERENCE.key(c, s)),
    "pipeline.stages.score:score",
    when=_with_labels,
    in_run_key="always",
)
PRIOR = Stage(
    "prior",
    1,
    lambda c, s: (TRAIN.key(c), c.sampling),
    "pipeline.stages.prior:fitted_prior",
    when=_with_fitted_prior,
    label=lambda c, s: c.sampling.prior,
    in_run=False,
)


def _prior_key(config: RunConfig) -> tuple[str, ...]:
    """The fitted prior's key, where there is one: what a stage gives under N(0, I) alone keeps the key it had."""
    return (PRIOR.key(config),) if _with_fitted_prior(config, "") else ()


EXPOST = Stage(
    "expost",
    2,
    lambda c, s: (*((SCORE.key(c, s),) if _with_labels(c, s) else ()), EVALUATE.key(c, s), PRIOR.key(c)),
    "pipeline.stages.expost:expost",
    when=_with_fitted_prior,
    label=lambda c, s: f"{s}, {c.sampling.prior} prior",
    in_run_key="when it applies",
)
PANEL = Stage(
    "panel",
    1,
    lambda c, s: (SCORE.key(c, s), c.panel, *_prior_key(c)),
    "pipeline.stages.panel:panel",
    when=lambda c, s: c.panel.judges > 1 and _with_labels(c, s),
    label=lambda c, s: f"{s}, {c.panel.judges} judges",
    in_run_key="when it applies",
)
SURROUNDINGS = Stage(
    "surroundings",
    2,
    lambda c, s: (PREPARE.key(c), s),
    "pipeline.stages.copying:held_out_surroundings",
    when=_with_prior,
    in_run=False,
    shared=True,
)
COPYING = Stage(
    "copying",
    1,
    lambda c, s: (TRAIN.key(c), SURROUNDINGS.key(c, s), c.score, *_prior_key(c)),
    "pipeline.stages.copying:copying",
    when=_with_prior,
    in_run_key="when it applies",
)
AUDIT = Stage(
    "audit",
    3,
    # The same suite whether asked for by `run` or by `audit`.
    lambda c, s: (TRAIN.key(c), REFERENCE.key(c, s), dataclasses.replace(c.audit, enabled=True), *_prior_key(c)),
    "pipeline.stages.audit:audit",
    when=lambda c, s: c.audit.enabled and s == "test" and _with_labels(c, s),
    in_run_key="when it applies",
)
CALIBRATION = Stage(
    "calibration",
    3,
    lambda c, s: (REFERENCE.key(c, s),),
    "pipeline.stages.reference:calibration",
    when=_with_labels,
)
INSIDE = Stage(
    "inside",
    1,
    lambda c, s: (TRAIN.key(c), *((JUDGE.key(c), c.score, *_prior_key(c)) if _with_labels(c, s) else ()), s),
    "pipeline.stages.inside:inside",
    when=lambda c, s: s == "test",  # a sweep's trials are many, and nobody looks inside of each
)
DENOISE = Stage(
    "denoise",
    1,
    lambda c, s: (TRAIN.key(c), c.denoise, s),
    "pipeline.stages.denoise:denoise",
    when=_when_asked,
    label=lambda c, s: f"{s}, noise {c.denoise.level / 100:g}",
    in_run=False,
)
ANOMALIES = Stage(
    "anomalies",
    1,
    lambda c, s: (PREPARE.key(c), c.model, c.train, c.anomalies, s),
    "pipeline.stages.anomalies:anomalies",
    when=_when_asked,
    label=lambda c, s: f"{s}, class {c.anomalies.held_out} held out",
    in_run=False,
    resumable=True,
)

DENSITY = "prior.safetensors"
"""Of the stage `prior`: weights, means and roots of its `ClassMixtures`."""
REAL_GRID = "real.png"
"""Where `calibration` keeps real images in the layout of the generated ones."""

STAGES = (
    *(PREPARE, JUDGE, REFERENCE, SURROUNDINGS, TRAIN),
    *(EVALUATE, SCORE, PRIOR, EXPOST, PANEL, COPYING, AUDIT, CALIBRATION, INSIDE),
    *(DENOISE, ANOMALIES),  # recipes: no run has them unless they are asked for
)
"""In the order in which a run has them."""


def run_key(config: RunConfig, split: str) -> str:
    """One key for one run: equal configurations opened on the same split are the same run."""
    always = [s for s in STAGES if s.in_run_key == "always"]
    asked = [s for s in STAGES if s.in_run_key == "when it applies" and s.when(config, split)]
    asked.sort(key=lambda s: s.name)
    return digest("run", *(s.key(config, split) for s in (*always, *asked)))


def parts_of_run(config: RunConfig, split: str) -> list[Stage]:
    """What a run consists of beyond its training, in order."""
    return [s for s in STAGES if s.in_run and s.when(config, split)]


RUNG_VERSION = 2
RECORDED = ("neg_elbo",)
"""Scores that the epoch's own record holds: at a rung, all others need the model."""
FITTED = "_expost"
"""Ends the names of scores under the prior fitted to the model's codes."""


def rung_key(config: RunConfig, split: str, epoch: int, names: Sequence[str]) -> str:
    """The key of the scores of these names at a rung, which is no row of the table: its key holds an epoch."""
    sampled = [name for name in names if name not in RECORDED]
    sampling = [config.sampling] if any(name.endswith(FITTED) for name in sampled) else []
    judged_by = [REFERENCE.key(config, split)] if config.model.kind == "cvae" else []
    return digest("rung", RUNG_VERSION, TRAIN.key(config), *judged_by, epoch, sampled, *sampling)


def judge_part(kind: str) -> str:
    """What one of the two judges is called in the store: a result of its own, under the key of both."""
    return f"{JUDGE.name}_{kind}"
