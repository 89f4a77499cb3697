"""How much a preset refines, and at which resolutions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from lightcrcf.weights.preparation import Preparation

__all__ = ["PRESETS", "SMALL", "Level", "Metric", "Plan", "Schedule", "affordable", "plan"]


Metric = Literal["lncc", "mse", "explained"]


@dataclass(frozen=True)
class Level:
    """Steps at one resolution.

    Args:
        scale: 1 for full resolution, 2, 4 or 8 for coarser ones.
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
        both_ways: whether the way back is looked for too. After the last such level the field becomes, place by place,
            the one that makes the images most alike there.
        smoother: the two Gaussians of a second look, which counts as the way back does.
        worth: of a level that settles what several looks have become: the share of the objective of the best of them
            that it must reach, or else that one goes on alone.
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
    both_ways: bool = False
    smoother: tuple[float, float] | None = None
    worth: float = 0.0

    def __post_init__(self) -> None:
        if self.step > 1:
            raise ValueError(f"a step is at most one voxel long, not {self.step}")
        if self.contrast > 0 and self.metric == "mse":
            raise ValueError("local contrast is compared by lncc, not by mse")

    def comparing(self, *, across: bool) -> Level:
        """The level as it compares a pair that need not be of the kind of the first one: only measures change.

        Args:
            across: whether the images of the pair are of two contrasts.
        """
        if across == (self.metric == "explained"):
            return self
        if not across:
            return replace(self, metric="lncc")
        how = next(level for level in (*_ACROSS, _FULL_ACROSS) if level.scale == self.scale)
        return replace(
            self, metric=how.metric, radius=how.radius, contrast=how.contrast, contrast_sigma=how.contrast_sigma
        )

    def comparing_locally(self) -> Level:
        """By local correlation where it would be by differences: for intensities that do not all mean the same."""
        return replace(self, metric="lncc") if self.metric == "mse" else self

    def looks(self) -> tuple[tuple[bool, tuple[float, float]], ...]:
        """How the field is looked for: whether from the moving image, and by which Gaussians; the plain way first."""
        sigmas = [(self.force_sigma, self.field_sigma), *([] if self.smoother is None else [self.smoother])]
        return tuple((backward, each) for each in sigmas for backward in (False, True)[: 1 + self.both_ways])


Schedule = tuple[Level, ...]

# Measured on training persons: docs/decisions/0016-smoothness.md; what is older: 0007-refinement.md.
_COARSE: Schedule = (
    Level(8, 60, force_sigma=1.9, field_sigma=0.6, radius=2, force=0.1),
    Level(4, 40, force_sigma=1.9, field_sigma=0.6, radius=2, force=0.1, volume=0.14),
    Level(2, 16, force_sigma=1.65, field_sigma=0.6, radius=2, momentum=0.6, volume=0.42),
)
_FULL = Level(1, 8, force_sigma=2.4, field_sigma=0.74, radius=2, momentum=0.6, volume=0.64, background=0.05)
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
_FULL_ACROSS = Level(1, 8, force_sigma=1.5, field_sigma=0.5, momentum=0.3, volume=0.5, **_AT_ALL)
_LONG = {2: 40, 1: 12}  # steps of "accurate"
_SETTLING = 5  # and at half resolution, once all looks have become one
_WORTH, _WORTH_UNKNOWN = 0.88, 0.92  # less is what lies between looks that have nothing in common
_SMOOTHER = (2.2, 0.7)  # the Gaussians of its second look
_COARSE_CONTRAST = 0.25  # at least: it steadies what the full resolution starts from
# Powers of a smoothness below 1 by which Gaussians (of forces, of the field) narrow, at full resolution and coarser
# ones; above 1 both widen by little, and volumes are evened out by a higher power.
_NARROWER_FULL, _NARROWER, _WIDER, _EVENER = (0.7, 0.6), (0.0, 0.35), (0.1, 0.1), 1.4
PRESETS = ("fast", "default", "accurate")
SMALL = 1_600_000
"""Voxels that `accurate` refines within the three seconds that `default` may take on two cores that do nothing else.

See docs/decisions/0007-refinement.md.
"""


@dataclass(frozen=True)
class Plan:
    """What the refinement does in one registration.

    Args:
        schedule: its levels; none at all leaves the network's field, or the affine, as it is.
        network: whether a network's field is the start, or nothing.
        template: whether the way by the model's template is one more look.
    """

    schedule: Schedule
    network: bool
    template: bool = False

    @property
    def several_looks(self) -> bool:
        """Whether a level looks for the field in more than one way."""
        return any(len(level.looks()) > 1 for level in self.schedule)


def affordable(preset: str, voxels: int) -> str:
    """The preset of which the programme is run: `default` does what `accurate` does where it has the time.

    Decided by numbers of voxels and never by the clock, so that the same images give the same result everywhere.

    Args:
        preset: one of `PRESETS`, as it was asked for.
        voxels: of all working grids on which images are refined.

    Example:
        >>> affordable("default", 100_000), affordable("default", 5_000_000), affordable("fast", 100_000)
        ('accurate', 'default', 'fast')
    """
    return "accurate" if preset == "default" and voxels <= SMALL else preset


def plan(
    preset: str,
    preparation: Preparation | None,
    *,
    steps: int | None = None,
    template: bool = False,
    smoothness: float = 1.0,
    across: bool = False,
) -> Plan:
    """The refinement of a preset.

    Args:
        preset: one of `PRESETS`.
        preparation: of the model, which says what suits it; None without a model.
        steps: at full resolution, instead of the preset's; 0 is no refinement.
        template: whether the model has one.
        smoothness: of the field, 1 for the preset's.
        across: whether the images are of two contrasts, for which there is no model.

    Example:
        >>> plan("fast", Preparation(None), steps=5)
        Plan(schedule=(Level(scale=1, steps=5, ...),), network=True, template=False)
    """
    *coarse, full = _levels(preparation, across=across)
    if preset == "accurate":
        *coarse, full = (replace(level, steps=_LONG.get(level.scale, level.steps)) for level in (*coarse, full))
        settling = replace(coarse[-1], steps=_SETTLING, worth=_WORTH_UNKNOWN if preparation is None else _WORTH)
        coarse = [*(replace(level, both_ways=True, smoother=_SMOOTHER) for level in coarse), settling]
    if steps is not None:
        full = replace(full, steps=steps)
    start = "nothing" if preparation is None else preparation.refine
    if steps == 0 or (steps is None and (preset == "fast" or start == "off")):
        schedule: Schedule = ()
        network = preparation is not None
    elif preparation is not None and (preset == "fast" or start == "off"):
        # What was asked for by number alone goes on from the network's field.
        schedule, network = (full,), True
    else:
        schedule, network = (*coarse, full), start == "gist"
    if preparation is not None and preparation.metric == "mse":
        schedule = tuple(replace(level, metric="mse") for level in schedule)
    elif preparation is not None:
        schedule = tuple(
            replace(level, contrast=max(preparation.contrast, _COARSE_CONTRAST if level.scale > 2 else 0.0))
            for level in schedule
        )
    made = Plan(tuple(_smoothed(level, smoothness) for level in schedule), network)
    return replace(made, template=template and made.several_looks)


def _levels(preparation: Preparation | None, *, across: bool) -> Schedule:
    """Those of the short refinement, from nothing."""
    if across:
        return (*_ACROSS, _FULL_ACROSS)
    return (*_UNKNOWN, _FULL_UNKNOWN) if preparation is None else (*_COARSE, _FULL)


def _smoothed(level: Level, smoothness: float) -> Level:
    """The level for a field so much smoother: stronger forces count as strong, and volumes are evened out more."""
    if smoothness == 1:
        return level
    if smoothness > 1:
        powers, volume = _WIDER, smoothness**_EVENER
    else:
        powers, volume = _NARROWER_FULL if level.scale == 1 else _NARROWER, smoothness
    by_force, by_field = (smoothness**power for power in powers)
    smoother = None if level.smoother is None else (by_force * level.smoother[0], by_field * level.smoother[1])
    return replace(
        level,
        force_sigma=by_force * level.force_sigma,
        field_sigma=by_field * level.field_sigma,
        smoother=smoother,
        force=smoothness * level.force,
        volume=volume * level.volume,
    )
