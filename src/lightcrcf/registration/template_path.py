"""Registration via the model's template: both images are registered with it, and the two transforms are composed.

Two persons may differ so much that neither the network nor the refinement finds the correspondence; each is closer to
the mean of many. The composed field is coarser than the direct one, so it is only one more candidate.

Source:
    S. Joshi et al., "Unbiased diffeomorphic atlas construction for computational anatomy", NeuroImage 2004 (the mean
    with the least deformation to all).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.align import align
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.engines.base import Engine
from lightcrcf.errors import InputError, UsageError
from lightcrcf.preprocessing.missing_data import fill_missing
from lightcrcf.preprocessing.normalization import normalize
from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.schedule import Plan
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, check_usable
from lightcrcf.weights.store import Template, Weights

__all__ = ["make_template", "register_via_template"]

Float32 = NDArray[np.float32]
Masked = tuple[Volume, Volume | None]


def make_template(image: Volume, weights: Weights) -> Template:
    """Return the template of a model from an average image of `lightcrcf template`, in 255 grey levels.

    Raises:
        UsageError: for a model with an intensity window, which a template does not preserve, or without alignment.
        InputError: for an image without contrast.
    """
    how = weights.preparation
    if how.window is not None or not how.align:
        raise UsageError(
            weights.name,
            expected="a model without an intensity window that aligns its images",
            got="a window" if how.window is not None else "one that trusts the headers",
            remedy="choose another model: this one can have no template",
        )
    check_usable(image, "fixed")
    prepared = normalize(fill_missing(image)[0])
    levels = np.rint(prepared.data * (255.0 / float(prepared.data.max()))).astype(np.uint8)
    return Template(prepared.grid, np.ascontiguousarray(levels))


def register_via_template(
    pair: WorkingPair,
    images: tuple[Masked, Masked],
    weights: Weights,
    network: Engine | None,
    plan: Plan,
    cache: RegistrationCache,
    coarsen: int = 1,
) -> Float32 | None:
    """Return the displacement from the fixed to the moving image composed via the template of `weights`.

    Args:
        pair: on the working grid.
        images: fixed and moving, each with its mask, 0 where voxels do not count, or None.
        weights: of the model, with a template.
        network: for the initial field of the refinement; None to start from the identity.
        plan: schedule of the registration with the template.
        cache: holds the transforms of images without a mask.
        coarsen: as for `WorkingPair.grid_of`.

    Returns:
        (3, d, h, w) at half resolution, in its voxels; None if an image cannot be aligned with the template.

    Raises:
        ValueError: for a model without a template.
    """
    template, chains = _volume(weights), []
    key = ("to the template", weights.sha256, plan, coarsen, network and (network.name, network.precision))
    for image, mask in images:
        onto = partial(_to_template, image, mask, template, weights, network, plan, coarsen)
        chain = onto() if mask is not None else cache.get_or_compute(image, key, onto)
        if chain is None:
            return None
        chains.append(chain)
    half = pair.grid.half(pair.pool)
    voxels = np.moveaxis(np.indices(half.shape), 0, -1).reshape(-1, 3)
    there = chains[1].inverse_points(chains[0].points(half.world(voxels)))
    moved = half.voxels(pair.affine.inverse().points(there)) - voxels
    return np.ascontiguousarray(moved.T.reshape(3, *half.shape), dtype=np.float32)


def _volume(weights: Weights) -> Volume:
    if weights.template is None:
        raise ValueError(f"{weights.name} has no template")
    return Volume(weights.template.data, weights.template.grid, f"template of {weights.name}")


def _to_template(
    image: Volume,
    mask: Volume | None,
    template: Volume,
    weights: Weights,
    network: Engine | None,
    plan: Plan,
    coarsen: int,
) -> Chain | None:
    """Return the transform from the image to the template, refined up to half resolution, where it is used."""
    try:
        affine = align(image, template, fixed_mask=mask).affine
        pair = WorkingPair.prepare(image, template, (mask, None), affine, weights, RegistrationCache(), coarsen)
    except InputError:  # the two images may still align with each other
        return None
    displacement = None if network is None else network.displacement(*pair.for_network())
    refined = refine(
        pair.fixed, pair.moving, displacement, schedule=plan.schedule[:-1], pool=pair.pool,
        fixed_mask=pair.fixed_mask, moving_mask=pair.moving_mask, noise=pair.noise,
    )  # fmt: skip
    return Chain(Affine.identity(), pair.on_fixed(refined.displacement, image.grid), affine)
