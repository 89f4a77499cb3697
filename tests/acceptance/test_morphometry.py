"""What docs/morphometry.md does with a phantom holds for real heads: a change that is known is found again."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.registration.register import register
from lightcrcf.volumes import read

DOCUMENT = Path(__file__).parents[2] / "docs" / "morphometry.md"
CODES = (51, 52)  # lateral ventricles


@pytest.fixture(scope="module")
def known_change(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The functions of the document."""
    found = re.search(r"^cat > (\S+) <<'EOF'\n(.*?)^EOF$", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.M)
    assert found is not None
    path = tmp_path_factory.mktemp("document") / found[1]
    path.write_text(found[2], encoding="utf-8")
    return runpy.run_path(str(path))


def ellipsoid(direction: tuple[float, ...]) -> tuple[sitk.Image, sitk.Image]:
    """A bright body and a map of what lies in the middle of it."""
    places = np.moveaxis(np.indices((40, 50, 44)), 0, -1) - (19.5, 24.5, 21.5)
    body, middle = (
        np.linalg.norm(places * (2.0, 1.2, 1.5) / radii, axis=-1) < 1 for radii in ((34, 26, 28), (12,) * 3)
    )
    images = [sitk.GetImageFromArray(array) for array in ((100 * body).astype(np.float32), middle.astype(np.uint8))]
    for image in images:
        image.SetSpacing((1.5, 1.2, 2.0))
        image.SetDirection(direction)
    return images[0], images[1]


@pytest.mark.parametrize("percent", [-20, 0, 30])
@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, -1, 0.6, 0.8, 0, 0.8, -0.6, 0)])
def test_the_change_is_the_one_that_was_asked_for(
    percent: int, direction: tuple[float, ...], known_change: dict[str, Any]
) -> None:
    _, structure = ellipsoid(direction)
    soft = sitk.Cast(structure, sitk.sitkFloat32)
    volumes = [sitk.GetArrayFromImage(i).sum() for i in (soft, known_change["changed"](soft, structure, percent))]
    assert 100 * (volumes[1] / volumes[0] - 1) == pytest.approx(percent, abs=1.5)


def test_what_the_structure_gains_the_whole_box_loses(known_change: dict[str, Any]) -> None:
    body, structure = ellipsoid((1, 0, 0, 0, 1, 0, 0, 0, 1))
    before, after = (sitk.GetArrayFromImage(i).sum() for i in (body, known_change["changed"](body, structure, 30)))
    grown = 0.3 * 100 * sitk.GetArrayFromImage(structure).sum()
    shared_out = grown * (sitk.GetArrayFromImage(body) > 0).mean()
    assert after - before == pytest.approx(grown - shared_out, rel=0.1)


@pytest.mark.data
@pytest.mark.slow
def test_ventricles_of_real_heads_grow_by_about_what_they_did(
    data: Path, known_change: dict[str, Any], tmp_path: Path
) -> None:
    """Three training persons before and after, at 2 mm, onto a fourth."""
    fixed, *people = sorted(json.loads((data / "splits.json").read_text(encoding="utf-8"))["oasis"]["train"])[:4]
    inside = np.isin(read(data / "oasis" / f"sub-{fixed}_dseg.nii.gz").data, CODES)
    found, shared = [], RegistrationCache()
    for seed, person in enumerate(people):
        image, labels = (
            sitk.ReadImage(str(data / "oasis" / f"sub-{person}_{kind}.nii.gz")) for kind in ("T1w", "dseg")
        )
        structure = sitk.Or(labels == CODES[0], labels == CODES[1])
        for percent in (0, 20):
            again = known_change["rescanned"](sitk.Cast(image, sitk.sitkFloat32), structure, percent, seed + percent)
            sitk.WriteImage(again, str(tmp_path / "again.nii.gz"))
            maps = register(
                data / "oasis" / f"sub-{fixed}_T1w.nii.gz", tmp_path / "again.nii.gz", coarsen=2, jacobian=True,
                shared=shared,
            ).jacobian  # fmt: skip
            assert maps is not None
            found.append(float(maps.log.data[inside].mean()))
    changes = 100 * np.expm1(np.diff(np.reshape(found, (-1, 2)))[:, 0])
    assert (changes > 5).all()
    assert 10 < changes.mean() < 25
