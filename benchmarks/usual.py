"""The loop one would write: a conditional VAE trained as PyTorch's own VAE example trains its VAE."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor


class Images(Dataset):  # type: ignore[type-arg]
    """Images that become tensors one by one, by way of PIL, as torchvision's MNIST with ToTensor does it."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images.numpy(), labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return to_tensor(Image.fromarray(self.images[i])), self.labels[i]


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


def train_usual(images: Tensor, labels: Tensor, *, epochs: int, batch_size: int, learning_rate: float) -> float:
    """Mean training loss of the last epoch, nats per image."""
    model = UsualCVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    loader = DataLoader(Images(images, labels), batch_size=batch_size, shuffle=True)
    total = 0.0
    for _ in range(epochs):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            reconstructed, mu, logvar = model(x, y)
            bce = F.binary_cross_entropy(reconstructed, x.view(-1, model.pixels), reduction="sum")
            loss = bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            (loss / len(x)).backward()
            total += loss.item()
            optimizer.step()
    return total / len(labels)
