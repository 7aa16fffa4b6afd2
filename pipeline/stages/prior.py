"""The stage `prior`: the density that z is drawn from, fitted on a trained model's codes of all training images."""

from pathlib import Path

from safetensors.torch import load_file

from pipeline.errors import ConfigError
from pipeline.evaluation.priors import FittedPrior, fit_prior
from pipeline.evaluation.thresholds import cut
from pipeline.models.priors import ClassMixtures
from pipeline.stages.context import Context
from pipeline.stages.graph import DENSITY, PRIOR
from pipeline.stages.prepare import prepare
from pipeline.stages.train import Trained, train
from pipeline.store.files import read_json, write_json
from pipeline.store.tensors import save_tensors


def fitted_prior(ctx: Context, trained: Trained | None = None) -> FittedPrior:
    """The prior that a model is scored under besides N(0, I); what was asked for and cut is said. For a vae or cvae."""
    config = ctx.config
    if not PRIOR.when(config, ""):
        raise ConfigError(
            f"a prior is fitted for --model vae or cvae and --prior gaussian or mixture; they are {config.model.kind} "
            f"and {config.sampling.prior}"
        )
    trained = trained or train(ctx)

    def make(work: Path) -> None:
        fitted = fit_prior(trained.model, prepare(ctx), config.sampling)
        density = fitted.density
        tensors = {"weights": density.weights, "means": density.means, "roots": density.roots}
        save_tensors({name: tensor.contiguous() for name, tensor in tensors.items()}, work / DENSITY)
        write_json(work / "facts.json", fitted.facts)

    folder = ctx.build(PRIOR, make)
    fitted = FittedPrior(ClassMixtures(**load_file(folder / DENSITY)), read_json(folder / "facts.json"))
    said = cut(fitted.facts)
    if said and said not in ctx.told:
        ctx.told.add(said)
        ctx.say(f"prior: {said}")
    return fitted
