"""Pairs of volumes with a known true transform, for target registration errors in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.matrices import rotation_about_axes
from lightcrcf.preprocessing.foreground import foreground
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes import Volume, read

__all__ = ["KnownPair", "deformed_copy", "make_pair", "phantom", "template"]

Float = NDArray[np.float64]

_TEMPLATE = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_MARGIN_MM = 12.0
_FIELD_SPACING_MM, _BIAS_SPACING_MM = 3.0, 12.0
_FIELD_WAVELENGTHS_MM = (50.0, 110.0)
_FIELD_RMS_MM = 2.6  # of each component: about 4 mm in all
_TRE_STEP = 3  # every third voxel along each axis: some 60,000 points in a brain


@dataclass(frozen=True, eq=False)
class KnownPair:
    """Two volumes with labels, and the true transform between them.

    Args:
        fixed, moving: images.
        fixed_labels, moving_labels: 1 for mostly grey matter, 2 for mostly white matter.
        truth: from *moving* points to fixed points, as the moving volume was generated.
        subject: description of the volumes.
    """

    fixed: Volume
    moving: Volume
    fixed_labels: Volume
    moving_labels: Volume
    truth: Chain
    subject: str

    def targets(self) -> tuple[Float, Float]:
        """Return (N, 3) points of the fixed foreground, RAS mm, and their true positions in the moving volume."""
        mask = np.zeros(self.fixed.grid.shape, dtype=bool)
        mask[::_TRE_STEP, ::_TRE_STEP, ::_TRE_STEP] = True
        points = self.fixed.grid.world(np.argwhere(mask & foreground(self.fixed.data)))
        return points, self.truth.inverse_points(points)

    def errors_mm(self, chain: Chain) -> dict[str, Float]:
        """Return (N,) target registration errors in mm of the moving volume.

        Args:
            chain: from fixed to moving points, as a registration finds it.

        Returns:
            By stage: "before" registration, "affine" for the affine of the chain, "deformable" for all of it.
        """
        points, true = self.targets()
        found = {
            "before": points,
            "affine": Chain(chain.before, None, chain.after).points(points),
            "deformable": chain.points(points),
        }
        return {stage: np.linalg.norm(at - true, axis=1) for stage, at in found.items()}


def make_pair(*, seed: int = 7) -> KnownPair:
    """Return the MNI152 template (with nilearn installed) or a phantom, and a deformed, rotated, noisy copy of it."""
    image, labels, subject = template() or phantom()
    return deformed_copy(image, labels, subject, seed=seed)


def template() -> tuple[Volume, Volume, str] | None:
    """Return the skull-stripped MNI152 T1 template at 1 mm and its tissues from nilearn; None without nilearn."""
    spec = find_spec("nilearn")  # finds the folder; importing nilearn would take seconds
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    if folder is None or not (folder / _TEMPLATE.format("t1")).is_file():
        return None
    t1, gray, white = (read(folder / _TEMPLATE.format(kind)) for kind in ("t1", "gm", "wm"))
    half = 128  # the maps are tissue fractions scaled to 255
    labels = np.where(white.data >= half, 2, np.where(gray.data >= half, 1, 0)).astype(np.uint8)
    return t1, Volume(labels, t1.grid, "MNI152 tissues", t1.header), "the MNI152 T1 template"


def phantom(spacing_mm: float = 1.0) -> tuple[Volume, Volume, str]:
    """Generate a folded, two-tissue, brain-sized ellipsoid with ventricles on a black background, from sine waves."""
    extent = np.array([160.0, 192.0, 150.0])
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -extent / 2
    d, h, w = (round(n / spacing_mm) for n in extent)
    grid = Grid((d, h, w), affine)
    points = _places(grid)
    radius = np.linalg.norm(points / np.array([66, 82, 60], np.float32), axis=-1)
    rng = np.random.default_rng(11)
    folds = _waves(points, rng, (14.0, 26.0), count=24)
    brain = radius + 0.02 * folds < 1.0
    white = brain & (radius + 0.12 * folds < 0.82)
    fluid = np.linalg.norm((np.abs(points) - (9, 0, 4)) / (6, 26, 9), axis=-1) < 1.0
    values = (
        60.0 * brain + 50.0 * white - 75.0 * (fluid & white) + 4.0 * brain * _waves(points, rng, (9.0, 15.0), count=12)
    )
    labels = np.where(white & ~fluid, 2, np.where(brain & ~white, 1, 0)).astype(np.uint8)
    image = Volume(np.clip(values * 2, 0, 255).astype(np.uint8), grid, "phantom")
    return image, Volume(labels, grid, "phantom tissues"), "a generated phantom (pip install nilearn for a brain)"


def deformed_copy(image: Volume, labels: Volume, subject: str, *, seed: int) -> KnownPair:
    """Simulate a scan of another subject: deformed, rotated, scaled, with another gamma, bias field and noise.

    The copy has its own grid, with permuted axes and another spacing.
    """
    rng = np.random.default_rng(seed)
    field = _smooth_field(image.grid, rng)
    truth = Chain(_pose().inverse(), field, Affine.identity())
    onto = _other_grid(image, _pose())
    copy = truth.resample(Volume(image.data.astype(np.float32), image.grid), onto, "linear")
    moving = _as_scanned(copy, rng)
    fixed = Volume(image.data, image.grid, "fixed", image.header)
    return KnownPair(fixed, moving, labels, truth.resample(labels, onto, "nearest"), truth, subject)


def _smooth_field(grid: Grid, rng: np.random.Generator) -> DisplacementField:
    coarse = _coarse(grid, _FIELD_SPACING_MM)
    components = [_FIELD_RMS_MM * _waves(_places(coarse), rng, _FIELD_WAVELENGTHS_MM, count=10) for _ in range(3)]
    return DisplacementField.from_world_mm(coarse, np.stack(components, axis=-1))


def _coarse(grid: Grid, spacing_mm: float) -> Grid:
    """Return a grid of the same extent with another spacing."""
    d, h, w = (int(n) + 1 for n in np.ceil(grid.spacing_mm * grid.shape / spacing_mm))
    return Grid((d, h, w), grid.affine @ np.diag([*(spacing_mm / grid.spacing_mm), 1.0]))


def _places(grid: Grid) -> NDArray[np.float32]:
    """Return (D, H, W, 3) RAS coordinates of all voxels in mm."""
    return grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)).astype(np.float32)


def _waves(
    points_mm: NDArray[np.float32], rng: np.random.Generator, wavelengths_mm: tuple[float, float], *, count: int
) -> NDArray[np.float32]:
    """Return a random smooth function at (..., 3) points, RMS about 1: a sum of plane waves."""
    total = np.zeros(points_mm.shape[:-1], dtype=np.float32)
    for _ in range(count):
        direction = rng.normal(size=3)
        frequency = 2 * np.pi / rng.uniform(*wavelengths_mm) * direction / np.linalg.norm(direction)
        total += np.sin(points_mm @ frequency.astype(np.float32) + np.float32(rng.uniform(0, 2 * np.pi)))
    return total * np.float32(np.sqrt(2 / count))


def _pose() -> Affine:
    """Return the fixed-to-moving affine: rotations of 14, -9 and 12 degrees, scales, and a shift of centimetres."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_about_axes((14.0, -9.0, 12.0)) @ np.diag([1.06, 0.95, 1.03])
    matrix[:3, 3] = 22.0, -16.0, 31.0
    return Affine(matrix)


def _other_grid(image: Volume, pose: Affine) -> Grid:
    """Return a grid around the foreground moved by `pose`: axes anterior, superior, left; 1 x 1.2 x 1.1 mm."""
    shown = np.argwhere(foreground(image.data))[::50]
    axes = np.array([[0, 0, -1.0], [1, 0, 0], [0, 1, 0]])  # columns: the directions of the array axes in RAS
    spacing = np.array([1.0, 1.2, 1.1])
    along = pose.points(image.grid.world(shown)) @ axes
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ (along.min(axis=0) - _MARGIN_MM)
    d, h, w = (int(n) + 1 for n in (np.ptp(along, axis=0) + 2 * _MARGIN_MM) / spacing)
    return Grid((d, h, w), affine)


def _as_scanned(copy: Volume, rng: np.random.Generator) -> Volume:
    """Apply a gamma curve, a bias field and noise inside the brain; zero outside."""
    coarse = _coarse(copy.grid, _BIAS_SPACING_MM)
    sensitivity = Volume(1 + np.float32(0.12) * _waves(_places(coarse), rng, (180.0, 260.0), count=4), coarse)
    bias = Chain(Affine.identity(), None, Affine.identity()).resample(sensitivity, copy.grid, "linear").data
    contrast = (copy.data / copy.data.max()) ** np.float32(0.8)
    noise = np.float32(0.02) * rng.standard_normal(copy.data.shape, dtype=np.float32)
    scanned = np.where(copy.data > 1, np.abs(contrast * bias + noise) * 800, 0)
    return Volume(np.clip(scanned, 0, 32767).astype(np.int16), copy.grid, "moving")
