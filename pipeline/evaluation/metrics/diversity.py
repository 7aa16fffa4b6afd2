"""How varied a set of images is, compared with nothing but itself. Knows pixels and kernels; no judge.

Each score is shown beside its value on as many real images: on its own it has no target.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class PixelPCA:
    """The leading principal components of training images: pixels without their noise, centred."""

    mean: Float[Tensor, " D"]
    components: Float[Tensor, "P D"]
    """Orthonormal rows, by falling variance; the entry of largest size in each is positive."""

    @staticmethod
    def fit(images_flat: Float[Tensor, "N D"], components: int = 50) -> "PixelPCA":
        """The first `components` directions of the images, or as many as their rank allows; of images with more than
        EXACT_PIXELS values by subspace iteration, whose cost grows with D and not with its cube."""
        mean = images_flat.mean(0, dtype=torch.float64)
        if images_flat.shape[1] > EXACT_PIXELS:
            return PixelPCA(mean.to(images_flat.dtype), _leading(images_flat, mean.to(images_flat.dtype), components))
        # Summed in parts: the float64 copy of 60,000 MNIST images alone would be 376 MB.
        scatter = sum((part.double() - mean).T @ (part.double() - mean) for part in images_flat.split(4096))
        values, vectors = torch.linalg.eigh(torch.as_tensor(scatter))
        rank = int((values > values[-1] * 1e-10).sum())
        rows = vectors.T.flip(0)[: min(components, rank)]  # (P, D)
        return PixelPCA(mean.to(images_flat.dtype), _signed(rows).to(images_flat.dtype))

    def project(self, images: Float[Tensor, "N ..."]) -> Float[Tensor, "N P"]:
        """Coordinates of images in the components, in pixel units."""
        return (images.flatten(1) - self.mean) @ self.components.T


EXACT_PIXELS = 1024
"""Values of an image up to which the whole covariance is decomposed: 32 x 32 of grey."""
SUBSPACE_STEPS, OVERSAMPLED = 6, 10


def _signed(rows: Float[Tensor, "P D"]) -> Float[Tensor, "P D"]:
    return rows * rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()


def _leading(images: Float[Tensor, "N D"], mean: Float[Tensor, " D"], components: int) -> Float[Tensor, "P D"]:
    """The first principal components by randomised subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4);
    the same for the same images."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(images.shape[1], components + OVERSAMPLED, generator=generator).to(images)
    basis = torch.linalg.qr(start).Q
    for _ in range(SUBSPACE_STEPS):
        grown = sum((part - mean).T @ ((part - mean) @ basis) for part in images.split(1024))
        basis = torch.linalg.qr(torch.as_tensor(grown)).Q
    inner = sum(((part - mean) @ basis).double().T @ ((part - mean) @ basis).double() for part in images.split(1024))
    values, vectors = torch.linalg.eigh(torch.as_tensor(inner))
    rank = int((values > values[-1] * 1e-7).sum())
    rows = (basis.double() @ vectors).T.flip(0)[: min(components, rank)]
    return _signed(rows).to(images.dtype)


def vendi_score_of_kernel(kernel: Float[Tensor, "n n"]) -> float:
    """exp(entropy of the eigenvalues of K / n): the effective number of distinct items (Friedman & Dieng 2023).

    1 (n copies) .. n (no two alike), up is more varied; K positive semidefinite with a diagonal of ones.
    """
    return _exp_entropy(torch.linalg.eigvalsh(kernel.double() / len(kernel)))


def vendi_score(features: Float[Tensor, "n d"]) -> float:
    """Vendi score with the cosine kernel: linear on rows scaled to unit norm, 1 .. min(n, d) (Friedman & Dieng 2023).

    Meant for centred PCA pixels; on a classifier's penultimate features it saturates. Compare only at one n.
    """
    rows = F.normalize(features.double(), dim=1)
    # X X^T and X^T X have the same non-zero eigenvalues: the smaller of the two is solved.
    kernel = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    return _exp_entropy(torch.linalg.eigvalsh(kernel / len(rows)))


def vendi_ratio(generated: Float[Tensor, "n d"], real: Float[Tensor, "n d"]) -> float:
    """Vendi score of generated over that of as many real images; above 0, about 1 for equal variety."""
    return vendi_score(generated) / vendi_score(real)


def _exp_entropy(values: Tensor) -> float:
    values = values.clamp_min(0)
    return (-values.xlogy(values).sum()).exp().item()


def pairwise_l2(images: Float[Tensor, "n ..."], *, pairs: int = 2000, generator: torch.Generator) -> float:
    """Mean Euclidean distance of random pairs of different images, in pixel units, 0 .. sqrt(D); up is more varied."""
    left, right = _random_pairs(images.flatten(1), pairs, generator)
    return (left - right).norm(dim=1).mean().item()


def pairwise_ssim(images: Float[Tensor, "n *C H W"], *, pairs: int = 2000, generator: torch.Generator) -> float:
    """Mean structural similarity of random pairs of different images in [0, 1], -1 .. 1; down is more varied.

    SSIM with a Gaussian window of sigma 1.5 (Wang et al. 2004), the mean over channels, as a measure of variety in
    Odena et al. 2017, 4.2.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds to import

    images = images.view(len(images), -1, *images.shape[-2:])
    left, right = _random_pairs(images, pairs, generator)  # (pairs, C, H, W)
    parts = [
        structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
        for a, b in zip(left.split(64), right.split(64), strict=True)  # small parts stay in the cache
    ]
    return torch.cat([torch.as_tensor(part).reshape(-1) for part in parts]).mean().item()


def _random_pairs(images: Tensor, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Uniform pairs i != j, drawn with replacement; a CPU generator, for the same pairs on every device."""
    n = len(images)
    i = torch.randint(n, (pairs,), generator=generator)
    j = (i + torch.randint(1, n, (pairs,), generator=generator)) % n
    return images[i.to(images.device)], images[j.to(images.device)]
