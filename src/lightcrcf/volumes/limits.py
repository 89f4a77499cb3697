"""Checks of the sizes in a header against the file and the memory, before anything is allocated."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightcrcf.errors import InputError, MemoryEstimateError
from lightcrcf.files import GZIP_MAX_RATIO

__all__ = ["address_space", "available_memory", "check_memory", "check_shape", "check_stored"]


def available_memory() -> int | None:
    """Return the bytes that this process can still allocate without swapping; None where the system does not report it.

    Limits of control groups (containers, batch systems) and of the process count as well as the memory of the machine.
    """
    known = [n for n in (_machine_available(), _process_available(), *_group_available()) if n is not None]
    return min(known, default=None)


def _machine_available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # macOS reports only the installed memory
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _process_available() -> int | None:
    """Return what is left of the process's address space; None if it has no limit, or only Linux could tell."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        return None if limit == resource.RLIM_INFINITY else max(limit - address_space(), 0)
    except (ImportError, OSError, ValueError):
        return None


def address_space() -> int:
    """Return the bytes of address space that this process has mapped, on Linux.

    Raises:
        OSError: on other systems.
    """
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _group_available(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield the free bytes of each memory control group (version 2 or 1) of this process, up to the root."""
    try:
        entries = [line.split(":", 2) for line in proc.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in entries:
        if controllers == "":
            base, names = root, ("memory.max", "memory.current", "file")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache")
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(base) and (free := _free_bytes(folder, *names)) is not None:
                yield free


def _free_bytes(folder: Path, limit: str, used: str, cache: str) -> int | None:
    """Return limit minus usage of one group; cached files count as free, since the kernel evicts them."""
    try:  # the limit reads "max" where there is none
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        in_use = int((folder / used).read_text()) - int(stat.get(cache, 0))
        return max(int((folder / limit).read_text()) - in_use, 0)
    except (OSError, ValueError):
        return None


def check_memory(
    subject: str, needed: int, *, remedy: str = "use a machine with more memory, or crop the volume"
) -> None:
    """Refuse work that needs `needed` bytes when fewer are available.

    Raises:
        MemoryEstimateError: if fewer are available.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise MemoryEstimateError(
            subject,
            expected=f"at most {_gib(available)} GiB of memory to be needed",
            got=f"{_gib(needed)} GiB",
            remedy=remedy,
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}" if size < 10**4 * 2**30 else f"{size / 2**30:.1e}"


def check_shape(source: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the three sizes of a volume; trailing axes of size one are dropped.

    Raises:
        InputError: if the rest is not three sizes above one.

    Example:
        >>> check_shape("brain.nii", (5, 7, 11, 1))
        (5, 7, 11)
    """
    sizes = [int(n) for n in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if min(sizes, default=0) < 1:
        raise InputError(source, expected="positive sizes", got=str(tuple(sizes)), remedy="the header is damaged")
    if len(sizes) < 3 or 1 in sizes[:3]:
        remedy = "stack the slices into a volume; of DICOM give the folder of the series"
        raise InputError(source, expected="a 3-D volume", got=f"2-D or less {tuple(sizes)}", remedy=remedy)
    if len(sizes) > 3:
        remedy = "extract one frame, for instance img.slicer[..., 0] in nibabel, or average them"
        raise InputError(source, expected="a 3-D volume", got=f"{len(sizes)}-D {tuple(sizes)}", remedy=remedy)
    return sizes[0], sizes[1], sizes[2]


def check_stored(source: str, shape: Sequence[int], itemsize: int, *, stored: int, compressed: bool) -> int:
    """Return the bytes of the voxels, after checking that the file can hold them and that they fit into memory.

    Args:
        source: the file, for messages.
        shape: array sizes from the header.
        itemsize: bytes of one voxel in the file.
        stored: bytes of the file that holds the voxels.
        compressed: whether that file is compressed.

    Raises:
        InputError: if the file is too short for what its header says.
        MemoryEstimateError: if the voxels would not fit into memory.
    """
    needed = math.prod(int(n) for n in shape) * itemsize
    if needed > stored * (GZIP_MAX_RATIO if compressed else 1):
        raise InputError(
            source,
            expected=f"{needed} bytes of voxels as the header says",
            got=f"a file of {stored} bytes{', compressed' if compressed else ''}",
            remedy="copy or download it again; it is cut off or its header is damaged",
        )
    check_memory(source, needed)
    return needed
