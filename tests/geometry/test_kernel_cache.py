"""Where compiled kernels are kept: never in a folder named "~", and never nowhere without a word."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lightcrcf
from lightcrcf.cli.main import run
from lightcrcf.errors import InputError
from lightcrcf.geometry import kernel_cache as module
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernel_cache import compilation_announced, compilation_begins, kernel_cache
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import write_affine
from lightcrcf.volumes import Volume, write

VARIABLES = ("LIGHTCRCF_CACHE", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA")
posix = pytest.mark.skipif(sys.platform == "win32", reason="users and permissions of POSIX")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home, a folder of temporary files, and sources beside which nothing can be written, whoever runs the tests."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("home", "temporary", "source"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "__pycache__").write_text("a file where the folder would be")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(sys, "platform", "linux")
    kernel_cache.cache_clear()
    yield tmp_path
    kernel_cache.cache_clear()


def test_kernels_lie_beside_the_source_where_that_can_be_written(place: Path) -> None:
    (place / "source" / "__pycache__").unlink()
    found = kernel_cache(place / "source")
    assert (found.folder, found.lasts) == (None, True)


def test_who_names_a_folder_gets_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(place / "numba"))
    assert kernel_cache(place / "source").folder == place / "numba"
    kernel_cache.cache_clear()
    monkeypatch.setenv("LIGHTCRCF_CACHE", str(place / "new" / "kernels"))
    assert kernel_cache(place / "source").folder == place / "new" / "kernels"
    assert (place / "new" / "kernels").is_dir()


@posix
@pytest.mark.parametrize("named", ["source/__pycache__/below-a-file", "~no-such-user/kernels"])
def test_a_named_folder_that_cannot_be_written_is_an_error(
    named: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("LIGHTCRCF_CACHE", named)
    with pytest.raises(InputError, match=r"^LIGHTCRCF_CACHE=.*: expected a folder for compiled kernels, got .*; name"):
        kernel_cache(place / "source")
    assert not list(place.glob("~*"))


@posix
def test_the_users_cache_is_next(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_cache(place / "source").folder == place / "home" / ".cache" / "lightcrcf"
    kernel_cache.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "xdg"))
    assert kernel_cache(place / "source").folder == place / "xdg" / "lightcrcf"


@posix
def test_without_a_home_a_private_temporary_folder_is_found_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place / "no-such-home"))
    found = kernel_cache(place / "source")
    assert found.folder is not None
    assert found.folder.parent == place / "temporary"
    assert stat.S_IMODE(found.folder.stat().st_mode) == 0o700
    assert not found.lasts
    assert "LIGHTCRCF_CACHE" in found.announcement()
    kernel_cache.cache_clear()
    assert kernel_cache(place / "source") == found
    assert not (place / "no-such-home").exists()


@posix
@pytest.mark.parametrize("trap", ["a link", "open to all", "a file"])
def test_a_temporary_folder_that_others_may_have_made_is_not_trusted(
    trap: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(place / "no-such-home"))
    folder = kernel_cache(place / "source").folder
    assert folder is not None
    folder.rmdir()
    if trap == "a link":
        folder.symlink_to(place / "home")
    elif trap == "a file":
        folder.write_text("")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    monkeypatch.setattr(module, "_temporary_bases", lambda: iter([folder.parent]))
    kernel_cache.cache_clear()
    found = kernel_cache(place / "source")
    assert not found.written
    assert "in every run" in found.announcement()


def test_compilation_is_announced_once_and_where_kernels_last_only_if_wanted(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for always, lines in ((True, 1), (False, 0)):
        monkeypatch.setattr(module, "kernel_cache", lambda: module.KernelCache(None))
        with compilation_announced(said.append, always=always):
            compilation_begins()
            compilation_begins()
        compilation_begins()
        assert len(said) == lines
        said.clear()
    monkeypatch.setattr(module, "kernel_cache", lambda: module.KernelCache(place, lasts=False))
    with compilation_announced(said.append, always=False):
        compilation_begins()
    assert str(place) in said[0]


def test_help_and_version_say_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTCRCF_CACHE", os.devnull)
    for option in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-m", "lightcrcf", option], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_computes_says_in_one_line_that_the_folder_cannot_be_used(tmp_path: Path) -> None:
    words = apply_words(tmp_path)
    variables = {**os.environ, "LIGHTCRCF_CACHE": os.devnull}
    done = subprocess.run(
        [sys.executable, "-m", "lightcrcf", *words, os.devnull],
        capture_output=True,
        text=True,
        check=False,
        env=variables,
    )
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: LIGHTCRCF_CACHE={os.devnull}: expected a folder")
    assert done.stderr.count("\n") == 1


def test_info_shows_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("LIGHTCRCF_CACHE", str(tmp_path / "kernels"))
    kernel_cache.cache_clear()
    assert run(["info"]) == 0
    kernel_cache.cache_clear()
    assert str(tmp_path / "kernels") in capsys.readouterr().out


def apply_words(folder: Path) -> list[str]:
    """A command that compiles two kernels."""
    grid = Grid((5, 6, 7), np.eye(4))
    write(folder / "image.nii.gz", Volume(np.arange(210, dtype=np.float32).reshape(grid.shape), grid))
    (folder / "run").mkdir()
    write_affine(folder / "run" / "affine.tfm", Affine.identity())
    image = str(folder / "image.nii.gz")
    return ["apply", "--reference", image, "--input", image, "--transform", str(folder / "run"), "--output"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, as those of `tmp_path` are not."""
    folder = Path(tempfile.mkdtemp(prefix="lightcrcf-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody() -> list[str]:
    """What to begin a command with so that a user runs it that no list knows, who may read all and write nothing."""
    if os.geteuid() != 0:
        return []
    reads = [f"--{caps}-caps=+dac_read_search" for caps in ("inh", "ambient")]  # root's Python, too
    words = [shutil.which("setpriv") or "setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", *reads]
    try:
        subprocess.run([*words, sys.executable, "-c", "import numba"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"another user cannot run this Python: {error}")
    return words


@posix
@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_a_container_without_a_home(home: str | None, open_folder: Path) -> None:
    """The package cannot be written to, there is no home: the second run finds what the first compiled."""
    nobody = as_nobody()
    if home is None and not nobody:
        pytest.skip("this user has a home in the system's list")
    package = open_folder / "package"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(lightcrcf.__file__).parent, package / "lightcrcf", ignore=ignored)
    words = apply_words(open_folder)
    here, temporary = open_folder / "here", open_folder / "temporary"
    for folder in (here, temporary):
        folder.mkdir()
        folder.chmod(0o777)
    for path in package.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    variables = {"PATH": os.defpath, "PYTHONPATH": str(package), "TMPDIR": str(temporary)}
    variables |= {} if home is None else {"HOME": home}
    said = []
    try:
        for name in ("one.nii.gz", "two.nii.gz"):
            done = subprocess.run(
                [*nobody, sys.executable, "-B", "-m", "lightcrcf", *words, name],
                cwd=here, env=variables, capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
            assert (done.returncode, done.stdout) == (0, "")
            said.append(done.stderr)
    finally:
        for path in package.rglob("*"):
            path.chmod(0o755)
    (kept,) = temporary.iterdir()
    assert said[0].count("\n") == 1
    assert str(kept) in said[0]
    assert said[1] == ""
    assert sorted(path.name for path in here.iterdir()) == ["one.nii.gz", "two.nii.gz"]
    assert list(kept.rglob("*.nbc"))
