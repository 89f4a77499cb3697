"""The way by a model's template: right where the direct way is, found once for each image, and told in the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import InputError
from lightcrcf.geometry.kernels import upsample, warp
from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.schedule import plan
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration import plan as decision
from lightcrcf.registration import template_path
from lightcrcf.registration.register import register
from lightcrcf.registration.template_path import make_template, register_via_template
from lightcrcf.volumes import Volume
from lightcrcf.weights import store
from lightcrcf.weights.store import Weights

Pair = tuple[Volume, Volume]


@pytest.fixture(scope="module")
def model(coarse_model: Path, pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The coarse model with the fixed image as its template."""
    bare = store.load(coarse_model)
    path = tmp_path_factory.mktemp("models") / "templated.safetensors"
    store.write_weights(
        path, bare.arrays, name="templated", config=bare.config, preparation=bare.preparation, content=bare.content,
        template=make_template(pair[0], bare),
    )  # fmt: skip
    return path


def ready(pair: Pair, weights: Weights) -> WorkingPair:
    affine = register(*pair, model="none", preset="fast").transform.after
    return WorkingPair.prepare(*pair, (None, None), affine, weights, RegistrationCache())


def test_it_leads_from_the_fixed_to_the_moving_image(pair: Pair, model: Path) -> None:
    weights = store.load(model)
    working, chosen = ready(pair, weights), plan("accurate", weights.preparation, template=True)
    found = register_via_template(
        working, ((pair[0], None), (pair[1], None)), weights, None, chosen, RegistrationCache()
    )
    assert found is not None
    half = working.grid.half(working.pool)
    assert found.shape == (3, *half.shape)
    direct = refine(working.fixed, working.moving, None, schedule=chosen.schedule, pool=working.pool).displacement
    moved, moved_directly = (
        warp(working.moving[None], upsample(field, working.grid.shape, working.pool))[0] for field in (found, direct)
    )
    headway, most = (
        np.corrcoef(working.fixed.ravel(), image.ravel())[0, 1]
        - np.corrcoef(working.fixed.ravel(), working.moving.ravel())[0, 1]
        for image in (moved, moved_directly)
    )
    assert headway > 0.5 * most > 0.01


def test_each_image_is_registered_with_it_once(pair: Pair, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, shared, seen = store.load(model), RegistrationCache(), []
    align = template_path.align

    def watched(image: Volume, *rest: Any, **how: Any) -> Any:
        seen.append(image)
        return align(image, *rest, **how)

    monkeypatch.setattr(template_path, "align", watched)
    working, chosen = ready(pair, weights), plan("accurate", weights.preparation, template=True)
    images = (pair[0], None), (pair[1], None)
    first, second = (register_via_template(working, images, weights, None, chosen, shared) for _ in range(2))
    assert [image is other for image, other in zip(seen, pair, strict=True)] == [True, True]
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first, second)
    mask = Volume(np.ones(pair[0].data.shape, np.uint8), pair[0].grid)
    register_via_template(working, ((pair[0], mask), images[1]), weights, None, chosen, shared)
    assert len(seen) == 3


def test_a_template_of_something_else_is_left_alone(pair: Pair, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_in_common(*_: Any, **__: Any) -> Any:
        raise InputError("template", expected="tissue", got="none", remedy="none")

    monkeypatch.setattr(template_path, "align", nothing_in_common)
    found = register(*pair, model=model, preset="accurate")
    assert found.record.refinement.template_accepted is None
    assert found.quality.verdict != "fail"


def test_accurate_goes_that_way_and_says_so(pair: Pair, model: Path, coarse_model: Path) -> None:
    found = register(*pair, model=model, preset="accurate")
    assert found.record.refinement.template_accepted is True
    assert found.record.timings_s["template"] > 0.01
    without = register(*pair, model=coarse_model, preset="accurate")
    assert without.record.refinement.template_accepted is None
    assert not np.array_equal(found.moved.data, without.moved.data)
    assert found.metrics.correlation_after > 0.98 * without.metrics.correlation_after


def test_the_short_programme_does_not_go_that_way(
    pair: Pair, model: Path, coarse_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision, "effective_preset", lambda preset, voxels: preset)  # as on larger grids
    bare, templated = (register(*pair, model=m, preset="default") for m in (coarse_model, model))
    np.testing.assert_array_equal(bare.moved.data, templated.moved.data)
