"""What one would write: a conditional VAE trained as PyTorch's own VAE example trains its VAE, and Optuna around it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from pipeline.config.sections import DataConfig
from pipeline.data.splits import PreparedData, stratified_mask


def usual_data(data: PreparedData, root: Path) -> tuple[Dataset, Dataset]:
    """torchvision's MNIST with ToTensor: the same training and validation images as `data`, in the same order."""
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    config = DataConfig()
    mnist = MNIST(str(root), train=True, transform=ToTensor())
    generator = torch.Generator().manual_seed(config.split_seed)
    is_val = stratified_mask(mnist.targets, round(config.val_fraction * len(mnist)), generator)
    train, val = (mask.nonzero().squeeze(1) for mask in (~is_val, is_val))
    assert torch.equal(mnist.data[train], data.train.images)
    return Subset(mnist, train.tolist()), Subset(mnist, val.tolist())


class UsualCVAE(nn.Module):
    """784-400-20 and back, with the label beside x and z."""

    def __init__(self, pixels: int = 784, classes: int = 10, hidden: int = 400, latent: int = 20) -> None:
        super().__init__()
        self.pixels, self.classes = pixels, classes
        self.fc1 = nn.Linear(pixels + classes, hidden)
        self.fc21 = nn.Linear(hidden, latent)
        self.fc22 = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent + classes, hidden)
        self.fc4 = nn.Linear(hidden, pixels)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c = F.one_hot(y, self.classes).float()
        h = F.relu(self.fc1(torch.cat([x.view(-1, self.pixels), c], 1)))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(torch.cat([z, c], 1))))), mu, logvar


@dataclass(frozen=True)
class UsualEpoch:
    """Means over images, nats."""

    train_loss: float
    val_neg_elbo: float


def terms(model: UsualCVAE, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """bce and kl, summed over the batch."""
    reconstructed, mu, logvar = model(x, y)
    bce = F.binary_cross_entropy(reconstructed, x.view(-1, model.pixels), reduction="sum")
    return bce, -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def train_usual(
    train: Dataset,
    val: Dataset,
    *,
    epochs: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    beta: float = 1.0,
    latent: int = 20,
    device: str = "cpu",
) -> Iterator[UsualEpoch]:
    """One epoch after the other; loss.item() each step, as people print it."""
    model = UsualCVAE(latent=latent).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    loader = DataLoader(train, batch_size=batch_size, shuffle=True)
    for _ in range(epochs):
        total, images = 0.0, 0
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            bce, kl = terms(model, x, y)
            loss = (bce + beta * kl) / len(x)
            loss.backward()
            total += loss.item() * len(x)
            images += len(x)
            optimizer.step()
        yield UsualEpoch(total / images, usual_neg_elbo(model, val, device))


@torch.no_grad()
def usual_neg_elbo(model: UsualCVAE, val: Dataset, device: str) -> float:
    """bce + kl at weight 1 on the validation images."""
    total, images = 0.0, 0
    for x, y in DataLoader(val, batch_size=64):
        total += float(sum(terms(model, x.to(device), y.to(device))))
        images += len(x)
    return total / images


def usual_sweep(train: Dataset, val: Dataset, folder: Path, *, trials: int, epochs: int) -> float:
    """Optuna's `optimize` around the loop, one log_metric per value to a run of its own; the best val neg_elbo."""
    import mlflow
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'usual.db'}")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("usual", (folder / "artifacts").as_uri()))

    def objective(trial: optuna.Trial) -> float:
        params = {
            "beta": trial.suggest_float("beta", 0.1, 10, log=True),
            "latent": trial.suggest_int("latent", 2, 64, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        }
        with mlflow.start_run():
            mlflow.log_params(params)
            epoch = UsualEpoch(0.0, 0.0)
            for step, epoch in enumerate(train_usual(train, val, epochs=epochs, **params)):  # type: ignore[arg-type]
                mlflow.log_metric("train_loss", epoch.train_loss, step=step)
                mlflow.log_metric("val_neg_elbo", epoch.val_neg_elbo, step=step)
        return epoch.val_neg_elbo

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=trials)
    return study.best_value
