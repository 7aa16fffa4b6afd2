"""What a searched setting depends on: a search in which it could make no difference, or leaves trials without a score.

Asked when a study begins; one that was begun is read back as it is.
"""

from pipeline.errors import StudyError
from sweeps.study.config import StudyConfig
from sweeps.study.space import Searched


def check_searched(study: StudyConfig) -> None:
    """StudyError for a setting that no trial of this study would feel, or that some could not be scored under."""
    searched = {d.setting: d for d in study.space}
    for setting, needs, value in (
        ("model.conv_channels", "model.arch", "conv"),
        ("model.learned_prior", "model.kind", "cvae"),
        ("model.condition_encoder", "model.kind", "cvae"),
        ("sampling.components", "sampling.prior", "mixture"),
    ):
        if setting in searched and value not in _values(study, searched, needs):
            other = needs.partition(".")[2]
            raise StudyError(
                f"--space {searched[setting].name} makes no difference: it is for {other} {value}, and {other} is "
                f"{study.base.flat()[needs]} in every trial; set it by --set {needs}={value}, or search it too"
            )
    fitted = [d.name for setting, d in searched.items() if setting.startswith("sampling.")]
    if fitted and not any(objective.name.endswith("_expost") for objective in study.objectives):
        raise StudyError(
            f"--space {fitted[0]} makes no difference to {', '.join(o.name for o in study.objectives)}: they are of z "
            "from N(0, I); choose --objective .._expost, which are of z from the fitted prior"
        )
    if "model.kind" in searched:
        _check_kinds(study, _values(study, searched, "model.kind"))


def _check_kinds(study: StudyConfig, kinds: tuple[str, ...]) -> None:
    if "ae" in kinds:
        raise StudyError("--space kind takes vae and cvae: an ae has neither a prior to sample from nor an ELBO")
    labelled = [objective.name for objective in study.objectives if objective.needs_labels]
    if "vae" in kinds and labelled:
        raise StudyError(
            f"--space kind cannot be searched for objective {labelled[0]}: a vae takes no label; choose "
            "objectives that both have, e.g. --objective neg_elbo"
        )


def _values(study: StudyConfig, searched: dict[str, Searched], setting: str) -> tuple[str, ...]:
    """What a named setting is in the trials."""
    return searched[setting].ends if setting in searched else (str(study.base.flat()[setting]),)
