from pathlib import Path

import pytest

from lightcrcf.errors import InputError, MemoryEstimateError
from lightcrcf.volumes import limits


def test_available_memory_is_plausible() -> None:
    available = limits.available_memory()
    assert available is None or 2**20 < available < 2**50


def test_memory_is_refused_beyond_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: 2**30)
    limits.check_memory("work", 2**30)
    with pytest.raises(
        MemoryEstimateError, match="work: expected at most 1 GiB of memory to be needed, got 2 GiB; crop"
    ):
        limits.check_memory("work", 2**31, remedy="crop it")


def test_unknown_memory_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: None)
    limits.check_memory("work", 2**60)


def test_the_tightest_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_machine_available", lambda: 5_000)
    monkeypatch.setattr(limits, "_group_available", lambda: iter([7_000, 3_000]))
    assert limits.available_memory() == 3_000


@pytest.mark.parametrize(("shape", "left"), [((5, 7, 11), (5, 7, 11)), ((5, 7, 11, 1, 1), (5, 7, 11))])
def test_shape(shape: tuple[int, ...], left: tuple[int, int, int]) -> None:
    assert limits.check_shape("a", shape) == left


@pytest.mark.parametrize(
    "shape", [(), (5,), (5, 7), (5, 7, 1), (1, 7, 11), (5, 1, 11, 1), (5, 7, 11, 2), (5, 7, 11, 1, 3)]
)
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="a: expected"):
        limits.check_shape("a", shape)


def test_compressed_files_may_hold_more_than_their_size(tmp_path: Path) -> None:
    assert limits.check_stored("a", (10, 10, 10), 4, stored=40, compressed=True) == 4000
    with pytest.raises(InputError, match="expected 4000 bytes of voxels"):
        limits.check_stored("a", (10, 10, 10), 4, stored=40, compressed=False)
    with pytest.raises(InputError, match="compressed"):
        limits.check_stored("a", (10, 10, 10), 4, stored=3, compressed=True)
