import json
from pathlib import Path

import pytest

from lightcrcf.errors import InputError
from lightcrcf_bench.accuracy.protocols import PROTOCOLS, Protocol, pairs

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
ROWS = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)


@pytest.mark.data
@ROWS
def test_only_persons_of_the_validation_split_are_measured(protocol: Protocol) -> None:
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data")
    held_out = set(json.loads((DATA / "splits.json").read_text())[protocol.folder]["val"])
    persons = {subject.removesuffix("_ED").removesuffix("_ES") for pair in protocol.data.pairs for subject in pair}
    assert persons <= held_out
    assert len(pairs(protocol, DATA)) == len(protocol.data.pairs)


@ROWS
def test_pairs_are_distinct_and_no_subject_meets_itself(protocol: Protocol) -> None:
    assert len(set(protocol.data.pairs)) == len(protocol.data.pairs)
    assert all(fixed != moving for fixed, moving in protocol.data.pairs)


def test_the_counts_of_pairs() -> None:
    counts = {name: len(row.data.pairs) for name, row in PROTOCOLS.items()}
    assert counts == {
        "brain": 5,
        "brain-ordered": 20,
        "heads": 5,
        "hippocampus": 20,
        "cardiac": 20,
        "abdomen": 6,
    }


def test_hearts_are_registered_in_both_directions_within_a_patient() -> None:
    row = PROTOCOLS["cardiac"]
    assert row.data.distance_unit == "voxel"
    assert {(moving, fixed) for fixed, moving in row.data.pairs} == set(row.data.pairs)
    assert all(fixed[:-3] == moving[:-3] for fixed, moving in row.data.pairs)


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sub-1101_T1w\.nii\.gz: expected a volume"):
        pairs(PROTOCOLS["brain"], tmp_path)
