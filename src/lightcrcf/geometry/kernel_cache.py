"""Where compiled kernels are kept on disk, and who hears of it when some have to be compiled.

Numba looks for a place by itself, but makes a folder named "~" where there is no home, and where nothing can be written
to it compiles in every process without a word.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lightcrcf.errors import InputError

__all__ = ["KernelCache", "announce_compilation", "compilation_announced", "compilation_begins", "kernel_cache"]

VARIABLE = "LIGHTCRCF_CACHE"
_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class KernelCache:
    """The place of compiled kernels.

    Args:
        folder: of the kernels; None for the `__pycache__` beside each source file.
        lasts: whether the next run surely finds them again; not so in a temporary folder.
        written: whether anything is kept at all.
    """

    folder: Path | None
    lasts: bool = True
    written: bool = True

    def __str__(self) -> str:
        if not self.written:
            return f"none; {_HINT}"
        return str(_PACKAGE / "__pycache__" if self.folder is None else self.folder)

    def announcement(self) -> str:
        """One line for the user when compilation begins."""
        if self.lasts:
            return "compiling kernels for this machine, once after installing ..."
        if self.written:
            return f"compiling kernels for this machine; kept for now in {self.folder}; {_HINT}"
        return f"compiling kernels for this machine, in every run, since there is no place to keep them; {_HINT}"


_HINT = f"set {VARIABLE} to a folder that lasts and can be written to"
_NOWHERE = KernelCache(None, lasts=False, written=False)


@cache
def kernel_cache(source: Path = _PACKAGE) -> KernelCache:
    """Decide where the kernels of a folder of source files are kept.

    The first that can be written to of: LIGHTCRCF_CACHE; NUMBA_CACHE_DIR; beside the source; the user's cache folder,
    if the user has a home; a temporary folder of this user and version, which later runs find again.

    Args:
        source: folder of the source files.

    Raises:
        InputError: if LIGHTCRCF_CACHE names a folder that cannot be written to.
    """
    if given := os.environ.get(VARIABLE):
        return KernelCache(_required(given))
    if (numba := os.environ.get("NUMBA_CACHE_DIR")) and (folder := _expanded(numba)) and _is_writable(folder):
        return KernelCache(folder)
    if _is_writable(source / "__pycache__"):
        return KernelCache(None)
    if (folder := _user_cache()) and _is_writable(folder):
        return KernelCache(folder)
    if folder := _temporary():
        return KernelCache(folder, lasts=False)
    return _NOWHERE


def _required(given: str) -> Path:
    folder = _expanded(given)
    if folder is None or not _is_writable(folder):
        got = "no such home folder" if folder is None else "one that cannot be made or written to"
        raise InputError(
            f"{VARIABLE}={given}", expected="a folder for compiled kernels", got=got,
            remedy="name another folder, or unset the variable",
        )  # fmt: skip
    return folder


def _expanded(text: str) -> Path | None:
    """The absolute path; None where "~" stands for nothing."""
    path = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises
    return None if path.startswith("~") else Path(path).absolute()


def _is_writable(folder: Path) -> bool:
    """Make the folder if it is missing, and try."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _user_cache() -> Path | None:
    """The user's folder for caches; None for a user without a home, such as one that only a container knows."""
    wanted = os.environ.get("XDG_CACHE_HOME", "")
    if Path(wanted).is_absolute():
        return Path(wanted) / "lightcrcf"
    home = _expanded("~")
    if home is None or not home.is_dir():
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "lightcrcf" / "Cache"
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "lightcrcf"


def _temporary() -> Path | None:
    """A folder that only this user can read and write; whoever could write to it could run programs as the user."""
    try:
        number = version("lightcrcf")
    except PackageNotFoundError:
        number = "source"
    for base in _temporary_bases():
        user = f"-{os.geteuid()}" if hasattr(os, "geteuid") else ""
        folder = base / f"lightcrcf-{number}{user}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            continue
        if _is_private(folder) and _is_writable(folder):
            return folder
    return None


def _temporary_bases() -> Iterator[Path]:
    """Places for temporary files, but never the current folder, which `tempfile` falls back on."""
    if sys.platform == "win32":
        yield Path(tempfile.gettempdir())
        return
    # What is made in a folder that others write to, too, is made private, and checked.
    names = (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp")
    yield from (Path(name) for name in names if Path(name).is_absolute() and Path(name).is_dir())


def _is_private(folder: Path) -> bool:
    """Whether it is a folder (no link to one) of this user that nobody else can read or write."""
    found = folder.lstat()
    if not hasattr(os, "geteuid"):
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


_listener: Callable[[KernelCache], None] | None = None


def announce_compilation(say: Callable[[str], None], *, always: bool = True) -> None:
    """Let `say` have one line when the first kernel has to be compiled: else a run seems to hang.

    Args:
        say: prints the line.
        always: False stays silent where the kernels are kept for good, so that nobody need do anything.
    """
    global _listener

    def announce(place: KernelCache) -> None:
        if always or not place.lasts:
            say(place.announcement())

    _listener = announce


@contextmanager
def compilation_announced(say: Callable[[str], None], *, always: bool = True) -> Iterator[None]:
    """`announce_compilation` for as long as the block lasts.

    Example:
        >>> with compilation_announced(print):
        ...     compilation_begins()  # doctest: +ELLIPSIS
        ...     compilation_begins()
        compiling kernels for this machine...
    """
    global _listener
    before = _listener
    announce_compilation(say, always=always)
    try:
        yield
    finally:
        _listener = before


def compilation_begins() -> None:
    """Tell who listens, once."""
    global _listener
    if _listener is not None:
        announce, _listener = _listener, None
        announce(kernel_cache())
