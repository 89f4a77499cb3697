"""The cache folder of compiled kernels, and announcements of compilation.

The default of Numba creates a folder "~" without a home folder, and silently compiles in every process without a
writable folder.
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
    """The cache of compiled kernels.

    Args:
        folder: of the kernels; None for the `__pycache__` of each source file.
        lasts: whether the folder is permanent; False for a temporary folder.
        written: whether kernels are cached at all.
    """

    folder: Path | None
    lasts: bool = True
    written: bool = True

    def __str__(self) -> str:
        if not self.written:
            return f"none; {_HINT}"
        return str(_PACKAGE / "__pycache__" if self.folder is None else self.folder)

    def announcement(self) -> str:
        """Return the message for the start of compilation."""
        if self.lasts:
            return "compiling kernels for this machine, once after installing ..."
        if self.written:
            return f"compiling kernels for this machine; kept for now in {self.folder}; {_HINT}"
        return f"compiling kernels for this machine, in every run, since there is no place to keep them; {_HINT}"


_HINT = f"set {VARIABLE} to a folder that lasts and can be written to"
_NOWHERE = KernelCache(None, lasts=False, written=False)


@cache
def kernel_cache(source: Path = _PACKAGE) -> KernelCache:
    """Return the cache for the kernels of a source folder.

    The first writable one of: LIGHTCRCF_CACHE; NUMBA_CACHE_DIR; `__pycache__` of the source; the user's cache folder,
    if the user has a home; a temporary folder for this user and version.

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
    """Return the absolute path; None if "~" cannot be expanded."""
    path = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises
    return None if path.startswith("~") else Path(path).absolute()


def _is_writable(folder: Path) -> bool:
    """Create the folder if needed, and return whether it is writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _user_cache() -> Path | None:
    """Return the user's cache folder; None for a user without a home, as in some containers."""
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
    """Return a temporary folder private to this user: write access to it would allow running code as the user."""
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
    """Yield folders for temporary files, without the current folder, the fallback of `tempfile`."""
    if sys.platform == "win32":
        yield Path(tempfile.gettempdir())
        return
    # Folders in shared locations are created private, and checked.
    names = (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp")
    yield from (Path(name) for name in names if Path(name).is_absolute() and Path(name).is_dir())


def _is_private(folder: Path) -> bool:
    """Return whether it is a folder (no link) of this user that nobody else can read or write."""
    found = folder.lstat()
    if not hasattr(os, "geteuid"):
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


_listener: Callable[[KernelCache], None] | None = None


def announce_compilation(say: Callable[[str], None], *, always: bool = True) -> None:
    """Call `say` with one line when the first kernel is compiled, so that the run does not seem to hang.

    Args:
        say: prints the line.
        always: False is silent if the cache is permanent.
    """
    global _listener

    def announce(place: KernelCache) -> None:
        if always or not place.lasts:
            say(place.announcement())

    _listener = announce


@contextmanager
def compilation_announced(say: Callable[[str], None], *, always: bool = True) -> Iterator[None]:
    """Apply `announce_compilation` within the block.

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
    """Notify the listener, once."""
    global _listener
    if _listener is not None:
        announce, _listener = _listener, None
        announce(kernel_cache())
