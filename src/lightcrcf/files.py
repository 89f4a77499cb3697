"""Atomic writing of files and folders, and fast gzip with reproducible bytes."""

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
    "check_distinct",
    "check_readable",
    "gzip_stream",
    "is_gzip",
    "open_binary",
    "read_json",
    "remove_stale_temporaries",
    "remove_temporaries",
    "write_gzip",
    "write_json",
]

# DEFLATE codes at most 258 bytes in 2 bits (zlib's manual: 1032:1); the rest is for the blocks' headers.
GZIP_MAX_RATIO = 1100
_IsalError: type[Exception] = cast(Any, isal_zlib).error  # without a type in isal's stubs
_GZIP_WINDOW = 31  # zlib's number for the largest window and the header of gzip
_NAME_SUFFIX = 60  # last characters of a name that its temporary name keeps
_DAY_S = 86_400.0


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, last: str | None = None) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block succeeds, and is removed when it raises.

    The block creates a file or a folder there. A file replaces the one at `path`. A folder is renamed if `path` is
    new; otherwise its entries replace those of the same name in `path`, and other entries stay. The temporary name has
    the suffix of `path`, for writers that depend on it.

    Args:
        path: the final path.
        last: entry of a folder that is removed before the others are replaced, and written after them, so that its
            presence marks a complete folder.

    Raises:
        InputError: if the parent folder of `path` is missing or not writable, or the disk is full.

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
        raise _write_error(target, f"no folder {target.parent}")
    maker = f"{_process_namespace()}-{os.getpid()}"
    temporary = target.with_name(f".tmp-{maker}-{secrets.token_hex(6)}-{target.name[-_NAME_SUFFIX:]}")
    try:
        yield temporary
        _replace(temporary, target, last)
    except OSError as error:
        raise _write_error(target, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            _remove(temporary)


def remove_stale_temporaries(path: str | os.PathLike[str]) -> None:
    """Remove temporaries of `path` whose process has exited.

    Temporaries of another machine, container or boot are removed when they are older than a day.
    """
    target = Path(os.path.abspath(path))  # noqa: PTH100 - as in `atomic_path`
    with suppress(OSError):
        for left, place, number in _temporaries(target.parent, {target.name[-_NAME_SUFFIX:]}):
            if _has_exited(place, number) or time.time() - left.stat().st_mtime > _DAY_S:
                _remove(left)


def remove_temporaries(folder: Path, names: Iterable[str]) -> None:
    """Remove all temporaries of the named entries of `folder`, for callers that know that no writer is left.

    Args:
        folder: parent of the entries.
        names: of files and folders in it.
    """
    for left, _, _ in _temporaries(folder, {name[-_NAME_SUFFIX:] for name in names}):
        with suppress(OSError):
            _remove(left)


def _temporaries(folder: Path, endings: Set[str]) -> Iterator[tuple[Path, str, str]]:
    """Yield temporaries of `atomic_path` for names with these endings, with namespace and id of their process."""
    for found in folder.glob(".tmp-*"):
        words = found.name.split("-", 4)
        if len(words) == 5 and words[4] in endings:
            yield found, words[1], words[2]


def _process_namespace() -> str:
    """Return an identifier of this boot and process-id namespace, within which process ids are unique."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return hashlib.sha256((boot + str(Path("/proc/self/ns/pid").readlink())).encode()).hexdigest()[:8]
    except OSError:  # not Linux: unknown
        return "elsewhere"


def _has_exited(place: str, number: str) -> bool:
    return place != "elsewhere" and place == _process_namespace() and not Path("/proc", number).exists()


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


def _write_error(path: Path, reason: str) -> InputError:
    return InputError(
        str(path),
        expected="a place that can be written to",
        got=reason,
        remedy="make the folder, its permissions and the free space fit, or choose another place",
    )


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write an object as indented JSON, atomically.

    Raises:
        InputError: as `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if there is no such file or no such object in it."""
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
    """Yield a stream into a gzip file that appears when the block succeeds.

    The header holds neither time nor name, so that equal input gives equal bytes.

    Raises:
        InputError: as `atomic_path`.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as raw,
        _GzipWriter(raw) as stream,
    ):
        yield cast(BinaryIO, stream)


class _GzipWriter(io.RawIOBase):
    """A stream that compresses to gzip.

    It uses run lengths and Huffman codes alone: floating-point voxels hardly repeat, and a search for longer matches
    takes three times as long without smaller files. isal is faster, but its bytes differ in one of some thousand
    processes.
    """

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__()
        self._raw = raw
        self._packer = zlib_ng.compressobj(1, zlib_ng.DEFLATED, _GZIP_WINDOW, strategy=zlib_ng.Z_RLE)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Compress bytes."""
        self._raw.write(self._packer.compress(data))
        return memoryview(data).nbytes

    def close(self) -> None:
        """Flush and close."""
        if not self.closed:
            self._raw.write(self._packer.flush())
        super().close()


def is_gzip(path: str | os.PathLike[str]) -> bool:
    """Return whether a file starts with the gzip magic number, whatever its name."""
    with Path(path).open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


@contextmanager
def open_binary(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressing gzip by content, not by name.

    Raises:
        InputError: also from within the block, if the file cannot be opened, is truncated, or is damaged.
    """
    if Path(path).is_fifo() or Path(path).is_char_device():  # reading twice, or to the end, is impossible
        raise _read_error(path, "a pipe or a device", "copy its content to a file first")
    try:
        with igzip.open(path, "rb") if is_gzip(path) else Path(path).open("rb") as stream:
            yield cast(BinaryIO, stream)
    except FileNotFoundError:
        raise _read_error(path, "no such file", "check the name") from None
    except EOFError:
        raise _read_error(path, "a gzip file that ends early", "copy or download it again") from None
    except (zlib.error, _IsalError, igzip.BadGzipFile) as error:
        raise _read_error(path, f"damaged gzip data ({error})", "copy or download it again") from error
    except OSError as error:
        raise _read_error(path, error.strerror or str(error), "make it a readable file") from error


def check_distinct(written: Mapping[str, Path], read: Mapping[str, Path]) -> None:
    """Refuse to write to an input, or to one file twice.

    Args:
        written: path of each output by its option.
        read: path of each input by its option.

    Raises:
        UsageError: if two of them are the same.
    """
    taken = {path.resolve(): name for name, path in read.items()}
    for name, path in written.items():
        if (other := taken.setdefault(path.resolve(), name)) != name:
            expected = f"another file for {name} than {other}"
            raise UsageError(name, expected=expected, got=f"{path} for both", remedy="choose another name")


def check_readable(path: str | os.PathLike[str], expected: str = "a readable file") -> None:
    """Refuse a file that cannot be read, for libraries that do not report the reason.

    Args:
        path: the file.
        expected: description of the file, for the message.

    Raises:
        InputError: if there is no such file, or it may not be read.
    """
    try:
        with Path(path).open("rb"):
            pass
    except FileNotFoundError:
        raise _read_error(path, "no such file", "check the name", expected) from None
    except OSError as error:
        got = (error.strerror or str(error)).lower()
        raise _read_error(path, got, "make it a readable file", expected) from error


def _read_error(
    path: str | os.PathLike[str], reason: str, remedy: str, expected: str = "a readable file"
) -> InputError:
    return InputError(str(path), expected=expected, got=reason, remedy=remedy)
