"""The programme of a preset: what `accurate` does where the working grid is small, and the short one elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.geometry.grid import Grid
from lightcrcf.options import PRESETS, Options
from lightcrcf.refinement.schedule import MAX_ACCURATE_VOXELS, Level, Plan, effective_preset, plan
from lightcrcf.registration import plan as planning
from lightcrcf.registration.inputs import Inputs, RawInputs
from lightcrcf.registration.plan import plan_registration
from lightcrcf.registration.register import register
from lightcrcf.registration.template_path import make_template
from lightcrcf.volumes import Volume
from lightcrcf.weights import store
from lightcrcf.weights.preparation import Preparation

Pair = tuple[Volume, Volume]
Brains = Callable[..., tuple[Volume, Volume]]

NETWORK = Preparation(None, refinement_init="network")


def decided(pair: Pair, **how: Any) -> Plan:
    shared = RegistrationCache()
    inputs = Inputs.read(RawInputs(*([volume] for volume in pair), None, None, None, (), ()), shared)
    return plan_registration(inputs, Options(**how), shared, retain_engine=False).refinement


def test_default_does_more_on_few_voxels_and_the_other_presets_never_change() -> None:
    sizes = (1, MAX_ACCURATE_VOXELS, MAX_ACCURATE_VOXELS + 1)
    assert [effective_preset("default", voxels) for voxels in sizes] == ["accurate", "accurate", "default"]
    for voxels in sizes:
        assert [effective_preset(preset, voxels) for preset in ("fast", "accurate")] == ["fast", "accurate"]


@pytest.mark.parametrize("model", ["none", "coarse"])
def test_below_the_limit_the_plan_is_that_of_accurate(model: str, pair: Pair, coarse_model: Path) -> None:
    name = "none" if model == "none" else str(coarse_model)
    assert decided(pair, model=name) == decided(pair, model=name, preset="accurate")
    fast = decided(pair, model=name, preset="fast").schedule
    assert [(level.image_scale, level.steps) for level in fast] == ([] if model == "none" else [(1, 4)])


def test_above_the_limit_the_plan_is_the_short_one(
    pair: Pair, coarse_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        planning, "effective_preset", lambda preset, voxels: effective_preset(preset, voxels + MAX_ACCURATE_VOXELS)
    )
    assert decided(pair, model=str(coarse_model)) == plan("default", store.load(coarse_model).preparation)
    assert decided(pair, model="none") == plan("default", None)


def test_the_size_is_that_of_the_working_grid(grids: Callable[..., Grid], brains: Brains, coarse_model: Path) -> None:
    fine = tuple(brains(grids((124, 156, 112), (1.2, 1.2, 1.2)), person=person)[0] for person in (0, 1))
    assert fine[0].grid.size > MAX_ACCURATE_VOXELS
    usual, coarse, with_model = (
        decided(fine, **how)  # type: ignore[arg-type]
        for how in ({"model": "none"}, {"model": "none", "coarsen": 2}, {"model": str(coarse_model)})
    )
    assert usual == plan("default", None)
    assert coarse == plan("accurate", None)
    assert with_model == plan("accurate", store.load(coarse_model).preparation)


def test_steps_that_are_named_are_those_of_the_preset(pair: Pair, coarse_model: Path) -> None:
    preparation = store.load(coarse_model).preparation
    for preset in PRESETS:
        assert decided(pair, model=str(coarse_model), preset=preset, refine=3) == plan(preset, preparation, steps=3)


def test_what_is_not_refined_stays_so(pair: Pair, coarse_model: Path, tmp_path: Path) -> None:
    bare, path = store.load(coarse_model), tmp_path / "none.safetensors"
    preparation = Preparation((3.0, 3.0, 3.0), refinement_init="none")
    store.write_weights(
        path, bare.arrays, name="none", config=bare.config, preparation=preparation, content=bare.content
    )
    assert decided(pair, model=str(path)) == Plan((), True)


def test_by_a_template_both_working_grids_count(
    pair: Pair, coarse_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, path = store.load(coarse_model), tmp_path / "templated.safetensors"
    store.write_weights(
        path, bare.arrays, name="templated", config=bare.config, preparation=bare.preparation, content=bare.content,
        template=make_template(pair[0], bare),
    )  # fmt: skip
    counted: list[int] = []

    def counting(preset: str, voxels: int) -> str:
        counted.append(voxels)
        return effective_preset(preset, voxels)

    monkeypatch.setattr(planning, "effective_preset", counting)
    assert decided(pair, model=str(path)).template
    assert not decided(pair, model=str(coarse_model)).template
    there, back = (decided(two, model=str(path)) for two in (pair, pair[::-1]))
    assert there == back
    assert counted[0] == counted[2] == counted[3] > counted[1]


@pytest.mark.parametrize("model", ["none", "coarse"])
def test_default_finds_what_accurate_finds_on_a_small_volume(model: str, pair: Pair, coarse_model: Path) -> None:
    name = "none" if model == "none" else coarse_model
    default, accurate = (register(*pair, model=name, preset=preset) for preset in ("default", "accurate"))
    np.testing.assert_array_equal(default.moved.data, accurate.moved.data)
    assert default.record.refinement == accurate.record.refinement
    assert default.record.estimated_memory_mb == accurate.record.estimated_memory_mb
    assert [r.record.options.preset for r in (default, accurate)] == ["default", "accurate"]
    assert default.record.refinement.levels[0].bidirectional is True


def test_steps_longer_than_a_voxel_are_refused() -> None:
    with pytest.raises(ValueError, match="at most one voxel"):
        Level(1, 4, step=1.5)


def test_finer_images_need_a_coarser_field_and_one_candidate() -> None:
    for wrong in ({"scale": 1}, {"scale": 2, "bidirectional": True}):
        with pytest.raises(ValueError, match="coarser field"):
            Level(steps=4, finer_images=True, **wrong)  # type: ignore[arg-type]


def test_looks_at_unknown_images_must_agree_more() -> None:
    for preparation in (None, NETWORK):
        levels = plan("accurate", preparation).schedule
        assert [level.min_merge_ratio > 0 for level in levels] == [False, False, False, True, False]
    assert plan("accurate", None).schedule[3].min_merge_ratio > plan("accurate", NETWORK).schedule[3].min_merge_ratio


def test_only_multi_start_go_by_a_template() -> None:
    for preset, steps, expected in (("accurate", None, True), ("accurate", 0, False), ("default", None, False)):
        assert plan(preset, NETWORK, steps=steps, template=True).template is expected
    assert not plan("accurate", NETWORK).template
