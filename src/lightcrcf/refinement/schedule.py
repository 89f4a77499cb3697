"""The schedule of the refinement: levels, steps and smoothing of each preset, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from lightcrcf.options import Preset
from lightcrcf.weights.preparation import Preparation

__all__ = [
    "MAX_ACCURATE_VOXELS", "CandidateKind", "Level", "Metric", "Plan", "Schedule", "effective_preset",
    "plan",
]  # fmt: skip


Metric = Literal["lncc", "mse", "explained"]


@dataclass(frozen=True)
class CandidateKind:
    """Direction and Gaussians of a candidate field.

    Args:
        backward: from the moving to the fixed image.
        sigmas: of the Gaussians of forces and field, in voxels.
    """

    backward: bool
    sigmas: tuple[float, float]


@dataclass(frozen=True)
class Level:
    """Steps at one resolution.

    Args:
        scale: of the field, 1 for full resolution, 2, 4 or 8 for coarser ones.
        steps: at most so many.
        step: length of the longest update, in voxels of the level; at most 1.
        force_sigma, field_sigma: of the Gaussians that smooth each update and the field after it, in voxels.
        radius: of the correlation window, in voxels to each side.
        metric: "lncc", "mse" for images whose intensities mean the same, or "explained" for images of two contrasts.
        contrast: weight of the local correlation of the images' local contrast, beside that of the images themselves;
            not for "mse".
        contrast_sigma: of the Gaussian under which local contrast is taken, in voxels.
        momentum: the share of the step before that each step carries on; below 1.
        force: from which on a force becomes a step of full length; weaker ones become shorter steps, so that where
            little is amiss little moves. For "lncc" in units of the mean weight of a window, for "mse" of the mean
            squared gradient of the fixed image.
        volume: how much of a change of volume each step evens out, squared voxels; see `even_out`.
        background: weight of the voxels that a brain mask or the like has set to one value; 1 as any other.
        bidirectional: whether the field from the moving to the fixed image is a candidate too. After the last such
            level all candidates are merged by local similarity.
        alternative_sigmas: the two Gaussians of a further candidate in each direction; None for none.
        min_merge_ratio: after a merge this level must reach this share of the best candidate's objective; otherwise
            that candidate replaces the merged field.
        finer_images: whether the images, and the forces, have twice the resolution of the field; with one candidate.
    """

    scale: int
    steps: int
    step: float = 0.5
    force_sigma: float = 1.5
    field_sigma: float = 0.5
    radius: int = 3
    metric: Metric = "lncc"
    contrast: float = 0.0
    contrast_sigma: float = 0.7
    momentum: float = 0.0
    force: float = 0.15
    volume: float = 0.0
    background: float = 1.0
    bidirectional: bool = False
    alternative_sigmas: tuple[float, float] | None = None
    min_merge_ratio: float = 0.0
    finer_images: bool = False

    def __post_init__(self) -> None:
        if self.step > 1:
            raise ValueError(f"a step is at most one voxel long, not {self.step}")
        if self.contrast > 0 and self.metric == "mse":
            raise ValueError("local contrast is compared by lncc, not by mse")
        if self.finer_images and (self.scale == 1 or len(self.candidates()) > 1):
            raise ValueError("images finer than the field need a coarser field, and one candidate")

    @property
    def image_scale(self) -> int:
        """Return the scale of the images: that of the field, or half of it."""
        return self.scale // 2 if self.finer_images else self.scale

    def comparing(self, *, across: bool) -> Level:
        """Return the level with the similarity measure of a further pair of images.

        Args:
            across: whether the images of the pair are of two contrasts.
        """
        if across == (self.metric == "explained"):
            return self
        if not across:
            return replace(self, metric="lncc")
        how = next(level for level in (*_ACROSS, _FULL_ACROSS) if level.image_scale == self.image_scale)
        return replace(
            self, metric=how.metric, radius=how.radius, contrast=how.contrast, contrast_sigma=how.contrast_sigma
        )

    def comparing_locally(self) -> Level:
        """Return the level with local correlation instead of squared differences."""
        return replace(self, metric="lncc") if self.metric == "mse" else self

    def candidates(self) -> tuple[CandidateKind, ...]:
        """Return how fields are found at this level, the forward one with the level's own Gaussians first."""
        sigmas = [(self.force_sigma, self.field_sigma)]
        if self.alternative_sigmas is not None:
            sigmas.append(self.alternative_sigmas)
        directions = (False, True) if self.bidirectional else (False,)
        return tuple(CandidateKind(backward, each) for each in sigmas for backward in directions)


Schedule = tuple[Level, ...]

# Measured on training persons: docs/decisions/0016-smoothness.md; what is older: 0007-refinement.md.
_COARSE: Schedule = (
    Level(8, 60, force_sigma=1.9, field_sigma=0.6, radius=2, force=0.1),
    Level(4, 40, force_sigma=1.9, field_sigma=0.6, radius=2, force=0.1, volume=0.14),
    Level(2, 16, force_sigma=1.65, field_sigma=0.6, radius=2, momentum=0.6, volume=0.42),
)
# The field is written on half of the grid, so that is where it is found: with forces of full resolution.
_FULL = Level(
    2, 12, finer_images=True, force_sigma=1.15, field_sigma=0.36, radius=2, momentum=0.6, force=0.35, volume=0.25,
    background=0.05,
)  # fmt: skip
# Images that no model knows may be poor ones: contrast shows what intensities hide.
_UNKNOWN: Schedule = (
    Level(8, 60, force_sigma=1.732, field_sigma=0.7, radius=2, contrast=0.5),
    Level(4, 60, force_sigma=1.732, field_sigma=0.7, radius=2, contrast=0.5, volume=0.14),
    Level(2, 40, field_sigma=0.4, radius=2, contrast=0.5, volume=0.42),
)
_FULL_UNKNOWN = Level(1, 7, force_sigma=1.2, field_sigma=0.4, contrast=0.5, volume=0.64)
# Images of two contrasts: docs/decisions/0018-other-contrasts.md.
_AT_ALL: dict[str, Any] = {"metric": "explained", "radius": 2}
_EDGES: dict[str, Any] = {"contrast": 0.5, "contrast_sigma": 1.0}
_ACROSS: Schedule = (
    Level(8, 60, force_sigma=2.4, field_sigma=0.6, volume=0.05, **_AT_ALL, **_EDGES),
    Level(4, 40, force_sigma=2.4, field_sigma=0.6, volume=0.14, **_AT_ALL, **_EDGES),
    Level(2, 24, force_sigma=1.65, field_sigma=0.6, momentum=0.3, volume=0.35, **_AT_ALL, **_EDGES),
)
_FULL_ACROSS = Level(
    2, 10, finer_images=True, force_sigma=0.75, field_sigma=0.25, momentum=0.3, force=0.6, volume=0.18, **_AT_ALL
)
_LONG = {2: 40, 1: 12}  # steps of "accurate"
_AFTER_NETWORK = (4,)  # steps of "fast" at the last levels
_AFTER_NETWORK_ACROSS = (12, 4)  # across contrasts, where a network sees less
_STEPS_AFTER_MERGE = 5  # at half resolution
_MERGE_RATIO, _MERGE_RATIO_UNKNOWN = 0.88, 0.92  # less is what lies between candidates that disagree
_ALTERNATIVE_SIGMAS = (2.2, 0.7)
_COARSE_CONTRAST = 0.25  # at least: it steadies what the full resolution starts from
# Powers of a smoothness below 1 by which Gaussians (of forces, of the field) narrow, at full resolution and coarser
# ones; above 1 both widen by little, and volumes are evened out by a higher power.
_NARROWER_FULL, _NARROWER, _WIDER, _EVENER = (0.7, 0.6), (0.0, 0.35), (0.1, 0.1), 1.4
MAX_ACCURATE_VOXELS = 1_600_000
"""Voxels that `accurate` refines within the three seconds that `default` may take on two cores that do nothing else.

See docs/decisions/0007-refinement.md.
"""


@dataclass(frozen=True)
class Plan:
    """Refinement of one registration: schedule and start.

    Args:
        schedule: its levels; none at all leaves the network's field, or the affine, as it is.
        network: whether it starts from a network's field, or from the identity.
        template: whether the field by way of the model's template is one more candidate.
    """

    schedule: Schedule
    network: bool
    template: bool = False

    @property
    def multi_start(self) -> bool:
        """Return whether a level has more than one candidate."""
        return any(len(level.candidates()) > 1 for level in self.schedule)


def effective_preset(preset: Preset, voxels: int) -> Preset:
    """Return the preset whose schedule runs: `default` does what `accurate` does where it has the time.

    Decided by numbers of voxels and never by the clock, so that the same images give the same result everywhere.

    Args:
        preset: one of `options.PRESETS`, as it was asked for.
        voxels: of all working grids on which images are refined.

    Example:
        >>> effective_preset("default", 100_000), effective_preset("default", 5_000_000)
        ('accurate', 'default')
    """
    return "accurate" if preset == "default" and voxels <= MAX_ACCURATE_VOXELS else preset


def plan(
    preset: Preset,
    preparation: Preparation | None,
    *,
    steps: int | None = None,
    template: bool = False,
    smoothness: float = 1.0,
    across: bool = False,
) -> Plan:
    """Return the refinement of a preset.

    Args:
        preset: one of `options.PRESETS`.
        preparation: of the model, which says what suits it; None without a model.
        steps: at full resolution, instead of the preset's; 0 is no refinement.
        template: whether the model has one.
        smoothness: of the field, 1 for the preset's.
        across: whether the images are of two contrasts; a model that does not run on such pairs counts as none.

    Example:
        >>> plan("fast", Preparation(None), steps=5)
        Plan(schedule=(Level(scale=2, steps=5, ...),), network=True, template=False)
    """
    if across and preparation is not None:
        preparation = _across(preparation, smoothness)
    levels = _levels(preparation, across=across)
    if preset == "accurate":
        levels = _accurate(levels, preparation)
    if steps is not None:
        levels = (*levels[:-1], replace(levels[-1], steps=steps))
    schedule, network = _started(levels, preset, preparation, steps)
    if preparation is not None and not across:
        schedule = tuple(_for_model(level, preparation) for level in schedule)
    made = Plan(tuple(_smoothed(level, smoothness) for level in schedule), network)
    return replace(made, template=template and made.multi_start and not across)


def _across(preparation: Preparation, smoothness: float) -> Preparation | None:
    """Return what a model says of two contrasts; None if it does not run on them.

    A field smoother than the preset's starts from the identity: one that gains too little to be kept would leave the
    network's, which is as rough as it is.
    """
    init = preparation.across
    if init == "network" and smoothness > 1:
        init = "identity"
    return None if init is None else replace(preparation, refinement_init=init)


def _accurate(levels: Schedule, preparation: Preparation | None) -> Schedule:
    """More steps, and several candidates that are merged before full resolution."""
    *coarse, full = (replace(level, steps=_LONG.get(level.image_scale, level.steps)) for level in levels)
    ratio = _MERGE_RATIO_UNKNOWN if preparation is None else _MERGE_RATIO
    after_merge = replace(coarse[-1], steps=_STEPS_AFTER_MERGE, min_merge_ratio=ratio)
    several = (replace(level, bidirectional=True, alternative_sigmas=_ALTERNATIVE_SIGMAS) for level in coarse)
    return (*several, after_merge, full)


def _started(
    levels: Schedule, preset: Preset, preparation: Preparation | None, steps: int | None
) -> tuple[Schedule, bool]:
    """The levels that run, and whether a network does."""
    init = None if preparation is None else preparation.refinement_init
    if steps == 0 or (steps is None and (init == "none" or (preset == "fast" and init is None))):
        return (), init is not None
    if preparation is None or (init == "identity" and preset != "fast"):
        return levels, False
    if preset == "fast" or init == "none":  # goes on from the network's field
        after = _AFTER_NETWORK_ACROSS if levels[-1].metric == "explained" else _AFTER_NETWORK
        if steps is not None:
            after = (*after[:-1], steps)
        last = [replace(level, min_merge_ratio=0.0) for level in levels[-len(after) :]]
        return tuple(replace(level, steps=n) for level, n in zip(last, after, strict=True)), True
    return tuple(level for level in levels if level.scale <= preparation.refinement_scale), True


def _for_model(level: Level, preparation: Preparation) -> Level:
    """The level with the similarity measure of a model."""
    if preparation.metric == "mse":
        return replace(level, metric="mse")
    return replace(level, contrast=max(preparation.contrast, _COARSE_CONTRAST if level.image_scale > 2 else 0.0))


def _levels(preparation: Preparation | None, *, across: bool) -> Schedule:
    """Return the levels of the short refinement, from the identity."""
    if across:
        return (*_ACROSS, _FULL_ACROSS)
    return (*_UNKNOWN, _FULL_UNKNOWN) if preparation is None else (*_COARSE, _FULL)


def _smoothed(level: Level, smoothness: float) -> Level:
    """The level for a smoother field: only stronger forces become full steps, and volumes are evened out more."""
    if smoothness == 1:
        return level
    if smoothness > 1:
        powers, volume = _WIDER, smoothness**_EVENER
    else:
        powers, volume = _NARROWER_FULL if level.image_scale == 1 else _NARROWER, smoothness
    by_force, by_field = (smoothness**power for power in powers)
    other = level.alternative_sigmas
    return replace(
        level,
        force_sigma=by_force * level.force_sigma,
        field_sigma=by_field * level.field_sigma,
        alternative_sigmas=None if other is None else (by_force * other[0], by_field * other[1]),
        force=smoothness * level.force,
        volume=volume * level.volume,
    )
