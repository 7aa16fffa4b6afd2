"""The model of a finished run, ready to be asked for images: loaded from the store whole or not at all.

What is asked is checked here, in words; the images are made by `models.generation`. Trains nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.data.picture import read_image
from pipeline.errors import ConfigError, DamageError
from pipeline.evaluation.inside import OFFSETS, base_code, traversals
from pipeline.evaluation.metrics.latent import ACTIVE_VARIANCE
from pipeline.grids import as_pictures
from pipeline.models.architecture import Architecture
from pipeline.models.generation import class_codes, class_images, image_turn, label_turns, read_labels, restyled
from pipeline.models.priors import STANDARD, Prior
from pipeline.runs.generated import Generated
from pipeline.runs.outcome import Outcome
from pipeline.runs.requests import STEPS, check_prior, check_request, class_names, label_index, label_indices
from pipeline.stages.context import Context
from pipeline.stages.graph import PRIOR, TRAIN
from pipeline.stages.prepare import prepare
from pipeline.stages.prior import fitted_prior
from pipeline.stages.train import train
from pipeline.store.files import read_json
from pipeline.store.home import Home

TRAVERSED = 10
"""Most latent dimensions that are traversed unless they are named."""


@dataclass(frozen=True)
class Generator:
    """A trained model with the prior that z is drawn from."""

    run: str
    """The run's name."""
    model: Architecture
    prior: Prior
    prior_name: str
    shape: tuple[int, int, int]
    """(channels, height, width)."""
    class_names: tuple[str, ...]
    dims: tuple[int, ...]
    """Latent dimensions, the most active first."""

    # ---- what is asked for

    def label(self, label: int | str) -> int:
        """The index of a class by its name, else by its index; ConfigError if there is none."""
        return label_index(self.class_names, label)

    def labels(self, texts: list[str]) -> list[int]:
        """Classes as they are typed: a name, an index, a range 0..9, several with commas between, or all of them."""
        return label_indices(self.class_names, texts)

    def of_labels(self, labels: list[int], n: int, *, seed: int = 0, temperature: float = 1.0) -> Generated:
        """`n` images of each class: the same for a class whatever the others and the number; z from the prior."""
        self._require_prior()
        check_request(n * max(1, len(labels)), n=n, seed=seed, temperature=temperature)
        x, y = class_images(self.model, self.prior, labels, n, seed=seed, temperature=temperature)
        names = self.class_names if self.model.conditional else ("any",)
        return self._generated(
            "labels",
            x,
            columns=n,
            labels=y.tolist(),
            rows=[names[c] for c in labels],
            seed=seed,
            temperature=temperature,
        )

    def between_labels(
        self, first: int, second: int, n: int = 1, *, steps: int = STEPS, seed: int = 0, temperature: float = 1.0
    ) -> Generated:
        """`n` rows, each one z (of the first class) decoded while the label turns into the second."""
        self._require_labels("an interpolation of labels")
        check_request(n * steps, n=n, seed=seed, temperature=temperature, steps=steps)
        z = class_codes(self.model, self.prior, first, n, seed=seed, temperature=temperature)
        x = label_turns(self.model, z, first, second, steps=steps)
        rows = [f"{self.class_names[first]} to {self.class_names[second]}"] * n
        return self._generated("labels-turning", x, columns=steps, rows=rows, seed=seed, temperature=temperature)

    def between_images(
        self, first: Path, second: Path, *, labels: tuple[int, int] | None = None, steps: int = STEPS
    ) -> Generated:
        """The first image, `steps` images decoded on the straight line between the codes of both, the second image.

        Their labels are the model's own reading where they are not given, and turn into each other.
        """
        check_request(steps, steps=steps)
        x = torch.stack([self.image(first), self.image(second)])
        y = self._labels_of(x, labels)
        turned = image_turn(self.model, x, y, steps=steps).cpu()
        rows = [" to ".join(self._names(y.tolist()))]
        return self._generated("images-turning", torch.cat([x[:1], turned, x[1:]]), columns=steps + 2, rows=rows)

    def style_of(self, image: Path, labels: list[int], *, label: int | None = None) -> Generated:
        """The image, then the images of its style: encoded with its label, decoded with each of `labels`."""
        self._require_labels("a style")
        x = self.image(image)[None]
        y = int(self._labels_of(x, None if label is None else (label,))[0])
        decoded = restyled(self.model, x, y, labels).cpu()
        return self._generated(
            "style",
            torch.cat([x, decoded]),
            columns=len(labels) + 1,
            labels=[y, *labels],
            rows=[f"style of a {self.class_names[y]}"],
        )

    def traversal(self, label: int = 0, dims: list[int] | None = None) -> Generated:
        """A row per latent dimension (by default the most active ones), it alone moved from -3 to 3 standard deviations
        of the prior N(0, I); the rest at 0."""
        if not self.model.stochastic:
            raise ConfigError("a traversal starts at the centre of the prior, and an ae has none; train a vae or cvae")
        latent = self.model.latent_dim
        for dim in dims or ():
            if not 0 <= dim < latent:
                raise ConfigError(f"--dims names {dim}; the model has the latent dimensions 0 to {latent - 1}")
        moved = dims or list(self.dims[:TRAVERSED])
        base, unit = base_code(torch.zeros(1, latent), stochastic=True)
        x = traversals(self.model, base, unit, moved, label)
        y = [label] * len(x)
        return self._generated("traversal", x, columns=len(OFFSETS), labels=y, rows=[f"z[{d}]" for d in moved])

    # ---- what it takes

    def image(self, path: Path) -> Float[Tensor, " D"]:
        """A user's image as the model takes it: flat, in [0, 1]; ConfigError if it has another size."""
        return torch.from_numpy(read_image(path, self.shape)).flatten()

    def reading(self, image: Path) -> str:
        """The name of the class that the model takes an image for."""
        return self._names(read_labels(self.model, self.image(image)[None]).tolist())[0]

    def _labels_of(self, x: Float[Tensor, "B D"], labels: tuple[int, ...] | None) -> Tensor:
        if not self.model.conditional:
            return torch.zeros(len(x), dtype=torch.long)
        return read_labels(self.model, x) if labels is None else torch.tensor(labels)

    def _names(self, labels: list[int]) -> list[str]:
        return [self.class_names[c] for c in labels] if self.model.conditional else ["image"] * len(labels)

    def _require_prior(self) -> None:
        if not self.model.stochastic:
            raise ConfigError(f"{self.run} is an ae, which has no prior to draw z from; generate with a cvae or vae")

    def _require_labels(self, what: str) -> None:
        if not self.model.conditional:
            raise ConfigError(f"{what} needs a cvae; {self.run} takes no label")

    def _generated(
        self,
        form: str,
        x: Float[Tensor, "N D"],
        *,
        columns: int,
        rows: list[str],
        labels: list[int] | None = None,
        **facts: Any,
    ) -> Generated:
        return Generated(
            images=as_pictures(x.cpu(), self.shape).contiguous().numpy(),
            columns=columns,
            labels=None if labels is None or not self.model.conditional else tuple(labels),
            rows=tuple(rows),
            class_names=self.class_names,
            facts={"run": self.run, "form": form, "prior": self.prior_name, **facts},
        )


def load_generator(home: Home, outcome: Outcome, *, prior: str | None = None) -> Generator:
    """The model and the prior of a finished run. `prior`, where given, is another one than it is scored under, fitted
    now if need be. DamageError if its weights are gone or are not what was written."""
    config, asked = outcome.config, prior
    check_prior(asked)
    scored = config.sampling.prior if outcome.fitted else "standard"
    name = asked or scored
    again = f"repeat the command that made {outcome.name}"
    _require_whole(home, TRAIN.name, TRAIN.key(config), f"the weights of {outcome.name}", again)
    device = config.runtime.device  # of where it was trained, which need not be here
    here = "cpu" if device == "cuda" and not torch.cuda.is_available() else device
    ctx = Context(config.with_settings({"sampling.prior": name, "runtime.device": here}), home)
    if name != "standard" and config.model.kind == "ae":
        raise ConfigError(f"{outcome.name} is an ae, which has no prior")
    trained = train(ctx)
    density: Prior = STANDARD
    if name != "standard":
        if name == scored:
            _require_whole(home, PRIOR.name, PRIOR.key(ctx.config), f"the prior of {outcome.name}", again)
        density = fitted_prior(ctx, trained).density
    return Generator(
        run=outcome.name,
        model=trained.model,
        prior=density,
        prior_name=name,
        shape=tuple(outcome.facts["shape"]),
        class_names=class_names(home, outcome),
        dims=_active_dims(outcome, ctx, trained.model),
    )


def _require_whole(home: Home, stage: str, key: str, what: str, again: str) -> None:
    if not (home.store.path(stage, key)).exists():
        raise DamageError(f"{what} are not in the store; {again}")
    if broken := home.store.damaged(stage, key, thoroughly=True):
        raise DamageError(f"{what} are damaged ({', '.join(broken)}); {again}")


def _active_dims(outcome: Outcome, ctx: Context, model: Architecture) -> tuple[int, ...]:
    """By falling variance of the mean over images, those in use alone: as a run's report has them."""
    if outcome.inside is not None:
        variance = torch.tensor(read_json(outcome.inside / "inside.json")["variance_per_dim"])
    else:
        val = prepare(ctx).val
        with torch.inference_mode():
            variance = model.encode(val.as_float(), val.labels)[0].double().var(0).cpu()
    order = variance.argsort(descending=True, stable=True)
    return tuple(order[: max(1, int((variance > ACTIVE_VARIANCE).sum()))].tolist())
