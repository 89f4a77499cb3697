"""A second way from the fixed to the moving image: both are registered with the model's template, and these joined.

Two persons may differ so much that neither the network nor the refinement sees which part corresponds to which; each
is closer to the mean of many. The way is coarser than the direct one, so it is only one more candidate.

Source:
    S. Joshi et al., "Unbiased diffeomorphic atlas construction for computational anatomy", NeuroImage 2004 (the mean
    that is as close as can be to all).
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

__all__ = ["template_from", "way_by_template"]

Float32 = NDArray[np.float32]
Masked = tuple[Volume, Volume | None]


def template_from(image: Volume, weights: Weights) -> Template:
    """What a model keeps of an image that `lightcrcf template` made, in 255 shades.

    Raises:
        UsageError: for a model that compares intensities as they are, which a template does not keep, or that trusts
            the headers.
        InputError: if nothing can be seen in the image.
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
    shades = np.rint(prepared.data * (255.0 / float(prepared.data.max()))).astype(np.uint8)
    return Template(prepared.grid, np.ascontiguousarray(shades))


def way_by_template(
    pair: WorkingPair,
    images: tuple[Masked, Masked],
    weights: Weights,
    network: Engine | None,
    plan: Plan,
    shared: RegistrationCache,
    coarsen: int = 1,
) -> Float32 | None:
    """The displacement that moves the moving image of `pair` onto the fixed one by way of the template of `weights`.

    Args:
        pair: on the working grid.
        images: fixed and moving, as they were read; each with its mask, 0 where voxels do not count, or None.
        weights: of the model, with a template.
        network: for the start of the refinement; None to start from nothing.
        plan: how each image is registered with the template.
        shared: keeps what is found for images without a mask.
        coarsen: as for `WorkingPair.grid_of`.

    Returns:
        (3, d, h, w) at half resolution, in voxels of that; None if an image has nothing in common with the template.

    Raises:
        ValueError: for a model without a template.
    """
    mean, chains = _volume(weights), []
    key = ("to the template", weights.sha256, plan, coarsen, network and (network.name, network.precision))
    for image, mask in images:
        onto = partial(_registered, image, mask, mean, weights, network, plan, coarsen)
        chain = onto() if mask is not None else shared.get_or_compute(image, key, onto)
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


def _registered(
    image: Volume,
    mask: Volume | None,
    template: Volume,
    weights: Weights,
    network: Engine | None,
    plan: Plan,
    coarsen: int,
) -> Chain | None:
    """From points of the image to those of the template; the ways are compared at half resolution and end there."""
    try:
        affine = align(image, template, fixed_mask=mask).affine
        pair = WorkingPair.prepare(image, template, (mask, None), affine, weights, RegistrationCache(), coarsen)
    except InputError:  # the images may still have something in common with each other
        return None
    displacement = None if network is None else network.displacement(*pair.for_network())
    refined = refine(
        pair.fixed, pair.moving, displacement, schedule=plan.schedule[:-1], pool=pair.pool,
        fixed_mask=pair.fixed_mask, moving_mask=pair.moving_mask, noise=pair.noise,
    )  # fmt: skip
    return Chain(Affine.identity(), pair.on_fixed(refined.displacement, image.grid), affine)
