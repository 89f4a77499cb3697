"""Files that appear whole or not at all, and gzip that is fast and always gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from isal import igzip, isal_zlib
from zlib_ng import zlib_ng

from lightcrcf.errors import InputError, UsageError

__all__ = [
    "GZIP_MAX_RATIO",
    "atomic_path",
    "check_apart",
    "check_readable",
    "clear_left_behind",
    "clear_temporaries",
    "gzip_stream",
    "is_gzip",
    "open_binary",
    "read_json",
    "write_gzip",
    "write_json",
]

# DEFLATE codes at most 258 bytes in 2 bits (zlib's manual: 1032:1); the rest is for the blocks' headers.
GZIP_MAX_RATIO = 1100
_IsalError: type[Exception] = cast(Any, isal_zlib).error  # without a type in isal's stubs
_GZIP_WINDOW = 31  # zlib's number for the largest window and the header of gzip
_KEPT_OF_NAMES = 60  # letters at the end of a name that its temporary one keeps
_DAY_S = 86_400.0


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, last: str | None = None) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    The block makes a file or a folder there. A file replaces what was at `path`. A folder is renamed if `path` is new;
    otherwise its entries replace those of the same name in `path`, and what else lies there is left alone.
    The temporary name ends as `path` does, so that writers that go by the suffix work.

    Args:
        path: what is to appear.
        last: an entry of a folder that is taken away before others are replaced and comes after them, so that a folder
            that has it is whole.

    Raises:
        InputError: if the folder of `path` is missing, or it or the disk cannot take the file.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder, "note.txt")) as temporary:
        ...         _ = temporary.write_text("whole")
        ...     [p.name for p in Path(folder).iterdir()]
        ['note.txt']
    """
    target = Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", whose name cannot be replaced
    if not target.parent.is_dir():
        raise _cannot_write(target, f"no folder {target.parent}")
    maker = f"{_place()}-{os.getpid()}"
    temporary = target.with_name(f".tmp-{maker}-{secrets.token_hex(6)}-{target.name[-_KEPT_OF_NAMES:]}")
    try:
        yield temporary
        _replace(temporary, target, last)
    except OSError as error:
        raise _cannot_write(target, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            _remove(temporary)


def clear_left_behind(path: str | os.PathLike[str]) -> None:
    """Remove temporaries of `path` whose process was killed; those of a process that may live are left alone.

    Temporaries from elsewhere (another machine, a container, before a restart) go when they are older than a day.
    """
    target = Path(os.path.abspath(path))  # noqa: PTH100 - as in `atomic_path`
    with suppress(OSError):
        for left, place, number in _temporaries(target.parent, {target.name[-_KEPT_OF_NAMES:]}):
            if _died(place, number) or time.time() - left.stat().st_mtime > _DAY_S:
                _remove(left)


def clear_temporaries(folder: Path, names: Iterable[str]) -> None:
    """Remove temporaries of the named entries of `folder`, whoever made them: for callers who know that nobody is left.

    Args:
        folder: where the entries are or would be.
        names: of files and folders in it.
    """
    for left, _, _ in _temporaries(folder, {name[-_KEPT_OF_NAMES:] for name in names}):
        with suppress(OSError):
            _remove(left)


def _temporaries(folder: Path, endings: Set[str]) -> Iterator[tuple[Path, str, str]]:
    """Temporaries that `atomic_path` makes for names that end so, each with its process: the place and the number."""
    for found in folder.glob(".tmp-*"):
        words = found.name.split("-", 4)
        if len(words) == 5 and words[4] in endings:
            yield found, words[1], words[2]


def _place() -> str:
    """Stands for everything whose process numbers mean the same processes as here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return hashlib.sha256((boot + str(Path("/proc/self/ns/pid").readlink())).encode()).hexdigest()[:8]
    except OSError:  # not Linux: nothing tells surely
        return "elsewhere"


def _died(place: str, number: str) -> bool:
    return place != "elsewhere" and place == _place() and not Path("/proc", number).exists()


def _replace(temporary: Path, target: Path, last: str | None) -> None:
    if temporary.is_dir() and target.is_dir():
        if last is not None:
            (target / last).unlink(missing_ok=True)
        for entry in sorted(temporary.iterdir(), key=lambda entry: (entry.name == last, entry.name)):
            _replace(entry, target / entry.name, None)
    else:
        temporary.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _cannot_write(path: Path, reason: str) -> InputError:
    return InputError(
        str(path),
        expected="a place that can be written to",
        got=reason,
        remedy="make the folder, its permissions and the free space fit, or choose another place",
    )


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write an object as JSON that people can read, atomically.

    Raises:
        InputError: as `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The object in a file; None if it is not there, or whoever changed it left no JSON object."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_gzip(path: str | os.PathLike[str], *chunks: Any) -> None:
    """Write the bytes of `chunks` (bytes, memoryviews, C-contiguous arrays) as one gzip file, atomically.

    Raises:
        InputError: as `atomic_path`.
    """
    with gzip_stream(path) as stream:
        for chunk in chunks:
            stream.write(memoryview(chunk).cast("B"))


@contextmanager
def gzip_stream(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream into a gzip file that appears when the block ends well.

    The header holds neither a time nor a name, so that the same bytes in give the same bytes out.

    Raises:
        InputError: as `atomic_path`.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as raw,
        _Packed(raw) as stream,
    ):
        yield cast(BinaryIO, stream)


class _Packed(io.RawIOBase):
    """A stream that compresses what is written to it.

    Runs and Huffman codes alone: voxels in floating point hardly repeat, and to look for longer matches takes three
    times as long for files as large. isal packs faster, but its bytes differ in one of some thousand processes.
    """

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__()
        self._raw = raw
        self._packer = zlib_ng.compressobj(1, zlib_ng.DEFLATED, _GZIP_WINDOW, strategy=zlib_ng.Z_RLE)

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Take bytes."""
        self._raw.write(self._packer.compress(data))
        return memoryview(data).nbytes

    def close(self) -> None:
        """Write what is left."""
        if not self.closed:
            self._raw.write(self._packer.flush())
        super().close()


def is_gzip(path: str | os.PathLike[str]) -> bool:
    """True if the file starts as gzip does, whatever it is called."""
    with Path(path).open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


@contextmanager
def open_binary(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to read its bytes, through gzip if its content (not its name) says so.

    Raises:
        InputError: from within the block too, if the file cannot be opened, is cut off, or is damaged.
    """
    if Path(path).is_fifo() or Path(path).is_char_device():  # would be read twice, or without end
        raise _cannot_read(path, "a pipe or a device", "copy its content to a file first")
    try:
        with igzip.open(path, "rb") if is_gzip(path) else Path(path).open("rb") as stream:
            yield cast(BinaryIO, stream)
    except FileNotFoundError:
        raise _cannot_read(path, "no such file", "check the name") from None
    except EOFError:
        raise _cannot_read(path, "a gzip file that ends early", "copy or download it again") from None
    except (zlib.error, _IsalError, igzip.BadGzipFile) as error:
        raise _cannot_read(path, f"damaged gzip data ({error})", "copy or download it again") from error
    except OSError as error:
        raise _cannot_read(path, error.strerror or str(error), "make it a readable file") from error


def check_apart(written: Mapping[str, Path], read: Mapping[str, Path]) -> None:
    """Refuse to write to what is read, or to one file twice.

    Args:
        written: path of each output, by its name.
        read: path of each input, by its name.

    Raises:
        UsageError: if two of them are the same.
    """
    taken = {path.resolve(): name for name, path in read.items()}
    for name, path in written.items():
        if (other := taken.setdefault(path.resolve(), name)) != name:
            expected = f"another file for {name} than {other}"
            raise UsageError(name, expected=expected, got=f"{path} for both", remedy="choose another name")


def check_readable(path: str | os.PathLike[str], expected: str = "a readable file") -> None:
    """Refuse a file that a library would fail to open without saying why.

    Args:
        path: the file.
        expected: what it should be, for the message.

    Raises:
        InputError: if there is no such file, or it may not be read.
    """
    try:
        with Path(path).open("rb"):
            pass
    except FileNotFoundError:
        raise _cannot_read(path, "no such file", "check the name", expected) from None
    except OSError as error:
        got = (error.strerror or str(error)).lower()
        raise _cannot_read(path, got, "make it a readable file", expected) from error


def _cannot_read(
    path: str | os.PathLike[str], reason: str, remedy: str, expected: str = "a readable file"
) -> InputError:
    return InputError(str(path), expected=expected, got=reason, remedy=remedy)
