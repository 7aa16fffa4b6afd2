"""Any model of the protocol trains, saves, resumes and scores; what it computes its gradient by is its own affair."""

import torch
from torch import nn
from torch.nn.functional import one_hot

from pipeline.config.sections import TrainConfig
from pipeline.models.sampling import conditional_samples
from pipeline.training.adam import Adam
from pipeline.training.fit import fit
from pipeline.training.state import Training, load_training, save_training

CONFIG = TrainConfig(epochs=3, batch_size=128, seed=1)


class Convolutional(nn.Module):
    """Two strided convolutions and their transposes; the label as extra inputs of the decoder."""

    stochastic = conditional = True

    def __init__(self, side: int, classes: int, latent_dim: int) -> None:
        super().__init__()
        self.side, self.classes, self.latent_dim = side, classes, latent_dim
        width = 8 * (side // 4) ** 2
        self.down = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1), nn.SiLU(), nn.Conv2d(8, 8, 4, 2, 1), nn.SiLU(), nn.Flatten()
        )
        self.codes = nn.Linear(width, 2 * latent_dim)
        self.grow = nn.Linear(latent_dim + classes, width)
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1))

    def encode(self, x, y):
        return self.codes(self.down(x.view(-1, 1, self.side, self.side))).chunk(2, dim=-1)

    def decode(self, z, y):
        return self.decode_mixture(z, one_hot(y, self.classes).to(z.dtype))

    def decode_mixture(self, z, weights):
        grown = self.grow(torch.cat([z, weights], -1)).view(-1, 8, self.side // 4, self.side // 4)
        return self.up(grown).flatten(1)


def begun() -> Training:
    torch.manual_seed(0)
    model = Convolutional(8, 10, 3)
    return Training(model, Adam.start([p.detach() for p in model.parameters()]), torch.Generator().manual_seed(3))


def test_a_convolutional_model_trains_and_an_interrupted_training_ends_in_the_same_bits(digits, tmp_path):
    whole = begun()
    records = list(fit(whole, digits, CONFIG))
    assert records[-1].metrics["val/neg_elbo"] < records[0].metrics["val/neg_elbo"]

    halted = begun()
    next(iter(fit(halted, digits, CONFIG)))
    save_training(halted, tmp_path / "checkpoint")
    resumed = begun()
    load_training(resumed, tmp_path / "checkpoint")
    list(fit(resumed, digits, CONFIG))
    assert all(a.equal(b) for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))


def test_it_draws_images_of_every_class():
    images, labels = conditional_samples(begun().model, per_class=2, seed=0)
    assert images.shape == (20, 64)
    assert labels.tolist() == sorted([*range(10)] * 2)
