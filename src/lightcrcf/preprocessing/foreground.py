"""What of a volume is tissue, and what kind of image it seems to be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.hounsfield import is_ct
from lightcrcf.volumes.volume import Volume

__all__ = [
    "HEAD_AND_BRAIN",
    "Content",
    "Thinned",
    "background_value",
    "border_values",
    "content",
    "foreground",
    "intensity_range",
    "is_skull_stripped",
    "litres",
    "lowest",
    "thin_out",
]

Kind = Literal["skull-stripped brain", "whole head or body", "small crop", "other"]
HEAD_AND_BRAIN: frozenset[Kind] = frozenset(("skull-stripped brain", "whole head or body"))
"""What two images show of which the one may lie in the other."""

# A constant value makes up most of the border of a masked image; noise, even where it rounds to zero, does not leave
# the darker tissue so thin: with noise, the voxels between the background and the threshold are many.
_CONSTANT_BORDER = 0.5
_FAINT_PER_BRIGHT = 0.22
_CROP_LITRES = 0.5
# Otsu's threshold separates a few extreme voxels (a cyst, metal, a bladder in PET, one voxel of 1e9) from all others.
# Where the same threshold among the others finds so many times more tissue, it is the one that was meant; in images
# without such voxels, of nine anatomies, it finds up to 2.6 times as much.
_HIDDEN, _ROUNDS = 4.0, 9
_FEW = 1e-3  # of all voxels: no more are found as long as these are a thousand times as strong as all others
# The brightest that an intensity range reaches, in terms of the 75th percentile of the foreground: in images of nine
# anatomies the 98th percentile reached 2.8, the fluid of fat-suppressed abdomens.
_BRIGHTEST = 3.0
_BRAIN_LITRES = (0.4, 2.3)
# Voxels at either end whose values may be any, a division by nearly zero; and how many voxels tell the others.
_STRAY_PERCENT, _SAMPLES = 0.1, 200_000
_THIN = 100_000  # voxels by which what an image shows is judged


@dataclass(frozen=True)
class Content:
    """What an image seems to show. It is a guess from volumes alone, good enough to choose defaults and to warn.

    Args:
        foreground_litres: volume of what is not background (everything in a small crop that fills its grid).
        background_fraction_exact: share of voxels that equal the border's constant value, 0 if there is none.
        masked: whether everything outside the anatomy was set to one value, so that the background says nothing.
        kind: "skull-stripped brain" (masked, 0.4 to 2.3 litres), "small crop" (a field of view below half a litre),
            "whole head or body" (more than 2.3 litres) or "other".
        ct: whether it is in Hounsfield units.
    """

    foreground_litres: float
    background_fraction_exact: float
    masked: bool
    kind: Kind
    ct: bool = False


def background_value(data: NDArray[Any]) -> tuple[float, float]:
    """The most common value on the six faces of `data`, and its share of them."""
    values, shares = border_values(data)
    best = int(shares.argmax())
    return float(values[best]), float(shares[best])


def border_values(data: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The values on the six faces of `data` in ascending order, and the share of each."""
    faces = np.concatenate([np.take(data, (0, -1), axis=a).ravel() for a in range(3)])
    values, counts = np.unique(faces, return_counts=True)
    return values, counts / faces.size


def lowest(data: NDArray[Any]) -> float:
    """The least finite value, or where it lies further below nearly all others than they apart, theirs; 0 for none.

    Example:
        >>> data = np.arange(10000.0).reshape(10, 25, 40)
        >>> data[3, 4, 5] = -1e9
        >>> round(lowest(data)) in range(30)
        True
        >>> lowest(np.abs(data))
        0.0
    """
    finite = data[np.isfinite(data)]
    if not finite.size:
        return 0.0
    least = float(finite.min())
    some = finite[:: max(1, finite.size // _SAMPLES)].astype(np.float64)
    low, high = (float(value) for value in np.percentile(some, (_STRAY_PERCENT, 100 - _STRAY_PERCENT)))
    return low if low - least > high - low > 0 else least


def foreground(data: NDArray[Any]) -> NDArray[np.bool_]:
    """True where there is tissue rather than air or padding.

    An image that was masked (constant border, few faint voxels) keeps every voxel that differs from the constant.
    Otherwise Otsu's threshold on the square root of the intensity separates noise from tissue; the square root
    keeps bright fat from pulling the threshold into the tissue.

    Args:
        data: (D, H, W), any numeric type; values that are not finite are background.

    Returns:
        (D, H, W) bool; all False for a constant image.

    Source:
        Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 1979.

    Example:
        >>> data = np.zeros((6, 7, 8)); data[2:5, 2:5, 2:6] = 9
        >>> int(foreground(data).sum())
        36
    """
    finite = np.isfinite(data)
    whole = bool(finite.all())
    value, share = background_value(data if whole else np.where(finite, data, 0))
    base = value if share >= _CONSTANT_BORDER else lowest(data)
    apart: NDArray[Any] = (data if whole else np.where(finite, data, base)) - base
    np.abs(apart, out=apart)
    strength: NDArray[np.float32] = np.sqrt(apart, dtype=np.float32, out=apart if apart.dtype == np.float32 else None)
    some = np.asarray(strength > 0)
    if not some.any():
        return np.zeros(data.shape, dtype=np.bool_)
    bright = _bright(strength, some)
    faint = np.count_nonzero(some) - np.count_nonzero(bright)
    masked = share >= _CONSTANT_BORDER and faint < _FAINT_PER_BRIGHT * np.count_nonzero(bright)
    return some if masked else bright


def _bright(strength: NDArray[np.float32], some: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where `strength` is above Otsu's threshold, found anew among the rest as long as few extreme voxels decide it."""
    threshold = _otsu(strength, some)
    bright = np.asarray(strength > threshold)
    for _ in range(_ROUNDS):
        count = np.count_nonzero(bright)
        threshold = _otsu(np.minimum(strength, np.float32(threshold)), some)
        more = np.asarray(strength > threshold)
        found = np.count_nonzero(more)
        if found < _HIDDEN * count and not found == count < _FEW * strength.size:
            break
        bright = more
    return bright


def intensity_range(tissue: NDArray[Any], dark: float, bright: float) -> tuple[float, float]:
    """Two percentiles of the foreground, the upper one limited so that a bright lesion leaves the tissue its contrast.

    Args:
        tissue: (N,) intensities of the foreground.
        dark, bright: the percentiles.

    Returns:
        the intensities; the upper one is at most three times as far from the lower one as the 75th percentile is.

    Example:
        >>> tissue = np.arange(1000.0)
        >>> tissue[-50:] = 1e6  # 5 % are a lesion
        >>> [round(value) for value in intensity_range(tissue, 0.5, 98)]
        [5, 2238]
    """
    low, middle, high = (float(value) for value in np.percentile(tissue, (dark, 75.0, bright)))
    return low, min(high, low + _BRIGHTEST * (middle - low)) if middle > low else high


def _otsu(values: NDArray[np.float32], some: NDArray[np.bool_]) -> float:
    """The threshold that maximises the variance between two classes; `some` is where the values are not zero."""
    counts, edges = np.histogram(values[some], bins=256, range=(values.min(), values.max()))
    counts[0] += values.size - np.count_nonzero(some)  # in a bare brain the most
    centres = (edges[:-1] + edges[1:]) / 2
    low = np.cumsum(counts)[:-1].astype(np.float64)
    high = values.size - low
    first = np.cumsum(counts * centres)
    mean_low = first[:-1] / np.maximum(low, 1)
    mean_high = (first[-1] - first[:-1]) / np.maximum(high, 1)
    return float(edges[1 + int(np.argmax(low * high * (mean_high - mean_low) ** 2))])


def litres(mask: NDArray[np.bool_], grid: Grid) -> float:
    """Volume of the True voxels of `mask` on `grid`.

    Example:
        >>> round(litres(np.ones((10, 10, 10), bool), Grid((10, 10, 10), np.diag([10.0, 10.0, 10.0, 1.0]))), 6)
        1.0
    """
    return float(np.count_nonzero(mask) * abs(np.linalg.det(grid.affine[:3, :3])) * 1e-6)


@dataclass(frozen=True, eq=False)
class Thinned:
    """An image at about 100 000 voxels, by which what it shows is judged.

    Args:
        data: (D, H, W) block means.
        grid: theirs.
        tissue: where they are foreground.
    """

    data: NDArray[np.float32]
    grid: Grid
    tissue: NDArray[np.bool_]

    @classmethod
    def of(cls, volume: Volume) -> Thinned:
        """Thin `volume` out.

        Raises:
            InputError: if the volume is constant.
        """
        data, grid = thin_out(volume, voxels=_THIN)
        tissue = foreground(data)
        if not tissue.any():
            raise InputError(
                volume.source,
                expected="an image with some contrast",
                got="one value everywhere",
                remedy="check the file",
            )
        return cls(data, grid, tissue)

    @cached_property
    def content(self) -> Content:
        """What it seems to show."""
        value, share = background_value(self.data)
        exact = float(np.mean(self.data == value)) if share >= _CONSTANT_BORDER else 0.0
        masked = exact > 0 and bool((self.tissue == (self.data != value)).all())
        view = litres(np.ones_like(self.tissue), self.grid)
        crop = view < _CROP_LITRES
        inside = view if crop and not masked else litres(self.tissue, self.grid)
        kind: Kind = "small crop" if crop else _kind(inside, masked)
        return Content(inside, exact, masked, kind, is_ct(self.data))


def content(volume: Volume) -> Content:
    """What `volume` seems to show, judged at about 100 000 voxels.

    Raises:
        InputError: if the volume is constant.
    """
    return Thinned.of(volume).content


def _kind(inside: float, masked: bool) -> Kind:
    if masked and _BRAIN_LITRES[0] <= inside <= _BRAIN_LITRES[1]:
        return "skull-stripped brain"
    return "whole head or body" if inside > _BRAIN_LITRES[1] else "other"


def is_skull_stripped(volume: Volume) -> bool:
    """True if `volume` looks like a brain on a constant background; see `Content`."""
    return content(volume).kind == "skull-stripped brain"


def thin_out(volume: Volume, *, voxels: int | None = None, spacing_mm: float = 0.0) -> tuple[NDArray[np.float32], Grid]:
    """Block means of `volume` with at most about `voxels` voxels, or about `spacing_mm` apart, and their grid."""
    grid = volume.grid
    if voxels is not None:
        spacing_mm = float((grid.size * np.prod(grid.spacing_mm) / voxels) ** (1 / 3))
    f0, f1, f2 = (max(1, min(n, round(spacing_mm / s))) for n, s in zip(grid.shape, grid.spacing_mm, strict=True))
    data = block_mean(volume.data, (f0, f1, f2))
    step = np.diag([f0, f1, f2, 1.0])
    step[:3, 3] = (f0 - 1) / 2, (f1 - 1) / 2, (f2 - 1) / 2
    return data, Grid((data.shape[0], data.shape[1], data.shape[2]), grid.affine @ step)
