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


def test_a_limit_of_the_address_space_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(limits, "address_space", lambda: 5_000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (7_000, resource.RLIM_INFINITY))
    assert limits.available_memory() == 2_000
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert limits.available_memory() != 2_000


@pytest.mark.parametrize("version", [1, 2])
def test_control_groups_count_without_their_file_cache(tmp_path: Path, version: int) -> None:
    names = ("memory.max", "memory.current", "file")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache")
    base = tmp_path / ("" if version == 2 else "memory")
    for group, limit in (("", "max"), ("job", "1000"), ("job/step", "4000")):
        (base / group).mkdir(parents=True, exist_ok=True)
        (base / group / names[0]).write_text(f"{limit}\n")
        (base / group / names[1]).write_text("900\n")
        (base / group / "memory.stat").write_text(f"anon 600\n{names[2]} 300\n")
    (tmp_path / "self").write_text("3:cpu:/other\n" + ("0::/job/step\n" if version == 2 else "4:memory:/job/step\n"))
    assert list(limits._group_available(tmp_path / "self", tmp_path)) == [3400, 400]
    assert list(limits._group_available(tmp_path / "missing", tmp_path)) == []


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
