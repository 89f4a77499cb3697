"""Accuracy cannot slip: the golden results of a few held-out pairs, and that what is worse is noticed."""

from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.accuracy.protocols import PROTOCOLS, pairs
from lightcrcf_bench.golden import CASES, PATH, Golden, compare, measure, read_golden

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{name}-{n}-{preset}" for name, n, preset in CASES])
def test_no_pair_is_worse_than_its_golden_result(number: int) -> None:
    name, of_protocol, preset = CASES[number]
    golden, pair = read_golden(ROOT / PATH)[number], pairs(PROTOCOLS[name], DATA)[of_protocol]
    assert (golden.protocol, golden.fixed, golden.moving, golden.preset) == (name, pair.fixed, pair.moving, preset)
    worse = compare(golden, measure(CASES[number], DATA), read(pair.fixed_image))
    assert not worse, f"{'; '.join(worse)}. If that is meant: python -m lightcrcf_bench.golden --data ../shared/data"


def result(**changed: object) -> Golden:
    values = {
        "protocol": "brain", "fixed": "a", "moving": "b", "preset": "fast", "model": "brain", "sha256": "01",
        "dice": 0.6, "folding_percent": 0.1, "points_mm": ((0.0, 0.0, 0.0), (1.0, 2.0, 3.0)),
    }  # fmt: skip
    return Golden.model_validate({**values, **changed})


FIXED = Volume(np.zeros((3, 4, 5)), Grid((3, 4, 5), np.diag([1.0, 2.0, 4.0, 1.0])))  # voxels of 2 mm on average
FURTHER = ((0.0, 0.6, 0.0), (1.0, 2.6, 3.0))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"dice": 0.5985}, None),
        ({"dice": 0.5979}, "Dice 0.5979 was 0.6000"),
        ({"folding_percent": 0.105}, None),
        ({"folding_percent": 0.2}, "0.2000 % of the voxels fold"),
        ({"points_mm": FURTHER}, "0.300 voxels elsewhere"),
        ({"points_mm": FURTHER, "sha256": "02"}, None),  # another model may find another way
        ({"dice": 0.5, "sha256": "02"}, "Dice"),  # but not a worse one
    ],
)
def test_only_what_is_worse_is_told(changed: dict[str, object], told: str | None) -> None:
    worse = compare(result(), result(**changed), FIXED)
    assert (told is None and not worse) or (told is not None and told in worse[0])


def test_a_file_without_golden_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "golden.json").write_text('[{"protocol": "brain"}]')
    with pytest.raises(InputError, match="golden results"):
        read_golden(tmp_path / "golden.json")
