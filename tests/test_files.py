import gzip
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path, is_gzip, open_binary, remove_stale_temporaries, write_gzip


def content(path: Path) -> bytes:
    with open_binary(path) as stream:
        return stream.read()


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_atomic_file_appears_when_the_block_ends_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.suffix == ".txt"
    assert (target.read_text(), names(tmp_path)) == ("new", ["out.txt"])


def test_atomic_folder_is_renamed_or_merged(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_path(tmp_path / "run") as temporary:
            (temporary / "sub").mkdir(parents=True)
            (temporary / "sub" / "a").write_text(text)
        (tmp_path / "run" / "mine").write_text("kept")
    assert (tmp_path / "run" / "sub" / "a").read_text() == "second"
    assert (names(tmp_path), names(tmp_path / "run")) == (["run"], ["mine", "sub"])


def fail_halfway(target: Path, error: BaseException, *, folder: bool = False) -> None:
    with atomic_path(target) as temporary:
        if folder:
            temporary.mkdir()
        (temporary / "a" if folder else temporary).write_text("half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("folder", [False, True])
def test_atomic_leaves_nothing_behind_on_failure(tmp_path: Path, error: type[BaseException], folder: bool) -> None:
    with pytest.raises(error):
        fail_halfway(tmp_path / "out", error(), folder=folder)
    assert names(tmp_path) == []


def test_full_disk_is_an_input_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No space left") as caught:
        fail_halfway(tmp_path / "out", OSError(28, "No space left on device"))
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["missing/out", "file/out", "folder"])
def test_unwritable_place_is_an_input_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    before = names(tmp_path)
    with pytest.raises(InputError, match="can be written"), atomic_path(tmp_path / place) as temporary:
        temporary.write_text("x")
    assert names(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_an_input_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="Permission denied"):
        write_gzip(tmp_path / "out.gz", b"x")
    tmp_path.chmod(0o755)


def test_atomic_path_takes_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_path(".") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("x")
    assert names(tmp_path) == ["a"]


def test_gzip_round_trip_is_the_same_bytes_whatever_the_name(tmp_path: Path) -> None:
    data = np.arange(5 * 7 * 300_000 // 11, dtype="<i2")
    for name in ("a.gz", "other.gz"):
        write_gzip(tmp_path / name, b"head", data)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "other.gz").read_bytes()
    assert (tmp_path / "a.gz").read_bytes()[3:8] == bytes(5)  # no flags (no name), time zero
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == content(tmp_path / "a.gz") == b"head" + data.tobytes()


@pytest.mark.parametrize("sizes", [[0], [5], [348, 4, 70_000], [2**20], [3, 2**20 - 3, 1], [7, 3 * 2**20, 5, 2**21]])
def test_bytes_do_not_depend_on_how_content_is_handed_over(sizes: list[int], tmp_path: Path) -> None:
    whole = (np.arange(sum(sizes)) // 97).astype(np.uint8).tobytes()
    ends = np.cumsum(sizes).tolist()
    write_gzip(tmp_path / "one.gz", whole)
    write_gzip(tmp_path / "parts.gz", *(whole[end - n : end] for n, end in zip(sizes, ends, strict=True)))
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "parts.gz").read_bytes()
    assert gzip.decompress((tmp_path / "one.gz").read_bytes()) == whole


def test_content_decides_what_is_gzip(tmp_path: Path) -> None:
    (tmp_path / "plain.gz").write_bytes(b"plain")
    write_gzip(tmp_path / "packed", b"packed")
    assert (is_gzip(tmp_path / "plain.gz"), is_gzip(tmp_path / "packed")) == (False, True)
    assert (content(tmp_path / "plain.gz"), content(tmp_path / "packed")) == (b"plain", b"packed")


def damaged(case: str, path: Path) -> Path:
    write_gzip(path, np.random.default_rng(0).bytes(50_000))
    whole = path.read_bytes()
    if case == "missing":
        path.unlink()
    elif case == "truncated":
        path.write_bytes(whole[:30_000])
    elif case == "checksum":
        path.write_bytes(whole[:-8] + b"12345678")
    elif case == "scrambled":
        path.write_bytes(whole[:11] + b"\xff" * 200 + whole[211:])
    elif case == "folder":
        path.unlink()
        path.mkdir()
    return path


@pytest.mark.parametrize("case", ["missing", "truncated", "checksum", "scrambled", "folder"])
def test_bad_gzip_is_one_line(tmp_path: Path, case: str) -> None:
    path = damaged(case, tmp_path / "a.gz")
    with pytest.raises(InputError) as caught:
        content(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_open_binary_gives_the_first_bytes_without_the_rest(tmp_path: Path) -> None:
    path = damaged("truncated", tmp_path / "a.gz")
    with open_binary(path) as stream:
        assert len(stream.read(100)) == 100


def test_what_a_killed_process_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    leave = "import os, sys; from lightcrcf.files import atomic_path\nwith atomic_path(sys.argv[1]) as temporary:\n"
    leave += " temporary.mkdir(); (temporary / 'a').write_text('half'); os.kill(os.getpid(), 9)"
    for name in ("run", "other"):
        subprocess.run([sys.executable, "-c", leave, str(tmp_path / name)], check=False)
    assert len(names(tmp_path)) == 2
    with atomic_path(tmp_path / "run") as alive:
        alive.write_text("")
        remove_stale_temporaries(tmp_path / "run")
        assert alive.exists()
    assert [name.endswith("-other") for name in names(tmp_path)] == [True, False]


def test_what_was_left_elsewhere_is_cleared_after_a_day(tmp_path: Path) -> None:
    left = tmp_path / ".tmp-elsewhere-1-0123456789ab-run"
    left.mkdir()
    remove_stale_temporaries(tmp_path / "run")
    assert left.exists()
    os.utime(left, (0, 0))
    remove_stale_temporaries(tmp_path / "run")
    assert not left.exists()
    remove_stale_temporaries(tmp_path / "no folder" / "run")


@pytest.mark.parametrize("moment", range(4))
def test_a_folder_with_its_last_entry_is_whole_whenever_it_is_cut_off(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, replaced = Path.replace, 0

    def cut_off(self: Path, target: Path) -> Path:
        nonlocal replaced
        if replaced == moment:
            raise KeyboardInterrupt
        replaced += 1
        return replace(self, target)

    def fill(text: str) -> None:
        with atomic_path(tmp_path / "run", last="last") as temporary:
            temporary.mkdir()
            for name in ("first", "last", "later"):
                (temporary / name).write_text(text)

    fill("old")
    monkeypatch.setattr(Path, "replace", cut_off)
    with suppress(KeyboardInterrupt):
        fill("new")
    run = tmp_path / "run"
    assert (run / "last").exists() == (moment == 3)
    assert moment < 3 or {p.read_text() for p in run.iterdir()} == {"new"}
    assert names(tmp_path) == ["run"]
