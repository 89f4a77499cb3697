"""Losses of unsupervised and weakly supervised registration.

Images are (N, 1, D, H, W), displacements (N, 3, D, H, W) in voxels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad, relu

from lightcrcf.network.force import window_mean

__all__ = [
    "bending", "determinant", "dice", "diffusion", "folding", "lncc", "local_contrast", "mean_squared_error",
    "volume_change", "window_mean",
]  # fmt: skip


def lncc(
    fixed: Tensor,
    moved: Tensor,
    *,
    window: int = 9,
    weight: Tensor | None = None,
    epsilon: float = 1e-5,
    mean: Callable[[Tensor, int], Tensor] = window_mean,
    by_deviation: bool = False,
) -> Tensor:
    """Return one minus the mean squared local normalised cross-correlation, in [0, 1].

    `cc(x) = cov(f, m)^2 / (var(f) var(m))` over the cube of `window` voxels about x.

    Args:
        fixed, moved: (N, 1, D, H, W), with intensities in about [0, 1].
        window: odd edge length in voxels.
        weight: (N, 1, D, H, W) weights of voxels; 1 by default.
        epsilon: added to the product of variances, so that flat regions count as uncorrelated.
        mean: implementation of `window_mean`.
        by_deviation: whether cubes count by the standard deviation of the fixed image in them, as in the refinement,
            so that noise in flat tissue does not count as much as the edges of a structure.

    Example:
        >>> image = torch.rand(1, 1, 9, 9, 9, generator=torch.Generator().manual_seed(0))
        >>> float(lncc(image, 2 * image + 1, window=5, epsilon=1e-9)) < 0.1
        True
    """
    sums = mean(torch.cat([fixed, moved, fixed * fixed, moved * moved, fixed * moved], dim=1), window // 2)
    mean_f, mean_m, square_f, square_m, product = torch.split(sums, 1, dim=1)
    covariance = product - mean_f * mean_m
    variance_f = (square_f - mean_f * mean_f).clamp_min(0)
    variance_m = (square_m - mean_m * mean_m).clamp_min(0)
    cc = covariance * covariance / (variance_f * variance_m + epsilon)
    if by_deviation:
        deviation = variance_f.sqrt()
        weight = deviation if weight is None else weight * deviation
    average: Tensor = cc.mean() if weight is None else (cc * weight).sum() / weight.sum().clamp_min(1.0)
    return 1.0 - average


def local_contrast(images: Tensor, *, mean: Callable[[Tensor, int], Tensor] = window_mean) -> Tensor:
    """Return the standard deviation over cubes of 3 voxels, relative to its maximum: edges and texture.

    It does not depend on which side of an edge is brighter.

    Args:
        images: (N, 1, D, H, W).
        mean: implementation of `window_mean`.

    Example:
        >>> edge = torch.tensor([0.0, 0, 0, 1, 1, 1]).view(1, 1, 1, 1, 6).expand(1, 1, 6, 6, 6)
        >>> local_contrast(edge)[0, 0, 3, 3].round(decimals=4).tolist()
        [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    """
    around = pad(images, (1,) * 6, mode="replicate")  # avoids an edge at the border of a crop
    means = mean(torch.cat([around, around * around], dim=1), 1)[:, :, 1:-1, 1:-1, 1:-1]
    first, square = torch.split(means, 1, dim=1)
    deviation = (square - first * first).clamp_min(0).sqrt()
    return deviation / deviation.amax(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1e-6)


def mean_squared_error(fixed: Tensor, moved: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return the mean of (fixed - moved)^2 over all voxels, or weighted by `weight`."""
    error = (fixed - moved) ** 2
    return error.mean() if weight is None else (error * weight).sum() / weight.sum().clamp_min(1.0)


def dice(fixed: Tensor, moved: Tensor) -> Tensor:
    """Return one minus the mean soft Dice overlap of label maps.

    Args:
        fixed, moved: (N, K, D, H, W) in [0, 1], one channel per label.

    Source:
        Milletari et al., V-Net, 3DV 2016, with sums instead of sums of squares.

    Example:
        >>> half = torch.zeros(1, 1, 2, 2, 2); half[:, :, 0] = 1
        >>> round(float(dice(half, torch.ones(1, 1, 2, 2, 2))), 4)
        0.3333
    """
    overlap = (fixed * moved).sum(dim=(2, 3, 4))
    total = (fixed + moved).sum(dim=(2, 3, 4))
    return 1.0 - (2.0 * overlap / total.clamp_min(1e-3)).mean()


def diffusion(displacement: Tensor) -> Tensor:
    """Mean squared forward difference of the displacement, averaged over the three axes (no unit).

    Example:
        >>> ramp = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 3, 4, 4, 4)
        >>> round(float(diffusion(ramp)), 4)
        0.3333
    """
    return torch.stack([displacement.diff(dim=axis).square().mean() for axis in (2, 3, 4)]).mean()


def bending(displacement: Tensor) -> Tensor:
    """Mean squared second difference of the displacement, summed over all pairs of axes and divided by three.

    An affine costs nothing, and what varies from voxel to voxel most.

    Example:
        >>> parabola = torch.arange(4.0).square().view(1, 1, 4, 1, 1).expand(1, 3, 4, 4, 4)
        >>> round(float(bending(parabola)), 4)
        1.3333
    """
    first = {axis: displacement.diff(dim=axis) for axis in (2, 3, 4)}
    weights = {(2, 2): 1, (3, 3): 1, (4, 4): 1, (2, 3): 2, (2, 4): 2, (3, 4): 2}
    parts = [weight * first[a].diff(dim=b).square().mean() for (a, b), weight in weights.items()]
    return torch.stack(parts).sum() / 3


def folding(displacement: Tensor, *, margin: float = 0.1) -> Tensor:
    """Return the mean of max(0, margin - det(I + du/dx)) by forward differences; zero unless a voxel nearly folds."""
    return relu(margin - determinant(displacement)).mean()


def volume_change(displacement: Tensor, *, least: float = 0.1) -> Tensor:
    """Return the mean of (J + 1/J) / 2 - 1, J = det(I + du/dx), which near 1 is half of log(J) squared.

    It does not prefer shrinking to growing. Determinants below `least` count as `least`; they are left to `folding`.

    Source:
        Leow et al., IEEE Transactions on Medical Imaging 2007; the refinement evens out the same penalty.

    Example:
        >>> ramp = 0.25 * torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 3, 4, 4, 4)
        >>> round(float(volume_change(ramp)), 4)
        0.025
    """
    volumes = determinant(displacement).clamp_min(least)
    return (0.5 * (volumes + 1 / volumes) - 1).mean()


def determinant(displacement: Tensor) -> Tensor:
    """Return det(I + du/dx) by forward differences: (N, 3, D, H, W) to (N, D - 1, H - 1, W - 1)."""
    u = displacement[:, :, :-1, :-1, :-1]
    dx = displacement[:, :, 1:, :-1, :-1] - u
    dy = displacement[:, :, :-1, 1:, :-1] - u
    dz = displacement[:, :, :-1, :-1, 1:] - u
    a, b, c = dx[:, 0] + 1, dx[:, 1], dx[:, 2]
    d, e, f = dy[:, 0], dy[:, 1] + 1, dy[:, 2]
    g, h, i = dz[:, 0], dz[:, 1], dz[:, 2] + 1
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
