"""Fuzzing of the file readers: each damaged file must be read or refused in one line, within time and memory.

    python -m lightcrcf_bench.stress.fuzz --count 10000 --out benchmarks/history/DATE-fuzz.json

Mutations know where a format keeps what: numbers in headers, bytes of headers more than of voxels, cuts, runs of one
byte. Files are read in processes of their own, some hundred in each, so that a hang or a crash is counted and the rest
goes on. `fuzz_guided` mutates further what reached new code; `robustness` holds both in one record.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lightcrcf.errors import LightCRCFError
from lightcrcf.files import write_json
from lightcrcf.geometry.grid import Grid
from lightcrcf.run_record.environment import peak_memory_mb
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.measure import plain_header

__all__ = ["FORMATS", "LONGEST_S", "MEMORY_MIB", "campaign", "main", "mutated", "originals", "try_reading"]

Random = np.random.Generator

ReadResult = tuple[str, float, float]
Worker = Callable[[str, bytes, Sequence[int], Any], None]

LONGEST_S, _BATCH = 10.0, 100
MEMORY_MIB = 1024.0  # that reading these files of some kilobytes may add to a process
_NUMBERS = (b"0", b"-1", b"1e999", b"nan", b"99999999999", b"0.0000001", b"", b"x", b"1 2", b"\x00")
_EDGES = (0, 1, 0x7F, 0x80, 0xFF)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


_RECIPE = """
name = "x"

[data]
root = "."
spacing_mm = 1.0
shape = [48, 64, 48]

[[data.cohorts]]
folder = "x"
image = "{id}.nii.gz"
train = ["001", "002"]

[loss]
window = 5

[[stages]]
steps = 10
learning_rate = 1e-4

[run]
folder = "y"
"""


def originals(folder: Path) -> dict[str, Path]:
    """Return a small sound file of each format, by suffix."""
    grid = Grid((7, 9, 11), np.diag([1.0, 2.0, 3.0, 1.0]))
    image = Volume(np.random.default_rng(1).integers(0, 999, grid.shape).astype(np.int16), grid)
    files = {suffix: folder / f"a{suffix}" for suffix in (".nii", ".nii.gz", ".nrrd", ".mha")}
    for path in files.values():
        write(path, image)
    from lightcrcf.registration.register import register
    from lightcrcf.registration.save import save
    from lightcrcf.transforms.affine import Affine
    from lightcrcf.transforms.itk import write_affine
    from lightcrcf.weights.store import load, write_weights

    files |= {suffix: folder / f"a{suffix}" for suffix in (".tfm", ".safetensors", ".csv", ".toml", ".json")}
    write_affine(files[".tfm"], Affine(np.diag([1.0, 1.1, 0.9, 1.0])))
    shipped = load("hippocampus-mr")
    about: dict[str, Any] = {"config": shipped.config, "preparation": shipped.preparation, "content": shipped.content}
    write_weights(files[".safetensors"], shipped.arrays, name="x", **about)
    files[".csv"].write_text("x,y,z\n1.5,2.5,3.5\n-4,5,6\n", encoding="utf-8")
    files[".toml"].write_text(_RECIPE, encoding="utf-8")
    save(register(image, image, model="none", init="none", preset="fast"), folder / "run")
    files[".json"].write_bytes((folder / "run" / "run.json").read_bytes())
    return files


def _read_volume(path: Path) -> object:
    from lightcrcf.volumes import read

    return read(path)


def _read_affine(path: Path) -> object:
    from lightcrcf.transforms.itk import read_affine

    return read_affine(path)


def _read_weights(path: Path) -> object:
    from lightcrcf.weights.store import load

    return load(path)


def _read_points(path: Path) -> object:
    from lightcrcf.transforms.point_tables import PointTable

    return PointTable.read(path)


def _read_recipe(path: Path) -> object:
    from lightcrcf.training.config import load_config

    return load_config(path)


def _read_run(path: Path) -> object:
    from lightcrcf.run_record.replay import read_run

    return read_run(path)


FORMATS: dict[str, Callable[[Path], object]] = {
    ".nii": _read_volume,
    ".nii.gz": _read_volume,
    ".nrrd": _read_volume,
    ".mha": _read_volume,
    ".tfm": _read_affine,
    ".safetensors": _read_weights,
    ".csv": _read_points,
    ".toml": _read_recipe,
    ".json": _read_run,
}
"""What reads each format."""


def mutated(content: bytes, random: Random) -> bytes:
    """Apply one to three mutations: a number, a byte, a run of bytes, a truncation, a repetition; never none."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        data = _CHANGES[int(random.integers(len(_CHANGES)))](data, random)
    return bytes(data) if data != content else bytes(data[:-1])


def _byte(data: bytearray, random: Random) -> bytearray:
    if data:
        data[_place(data, random)] = _EDGES[int(random.integers(len(_EDGES)))]
    return data


def _run(data: bytearray, random: Random) -> bytearray:
    at = _place(data, random)
    return data[:at] + bytes([int(random.integers(256))]) * int(random.integers(1, 40)) + data[at:]


def _cut(data: bytearray, random: Random) -> bytearray:
    return data[: _place(data, random)]


def _twice(data: bytearray, random: Random) -> bytearray:
    first, second = sorted((_place(data, random), _place(data, random)))
    return data[:second] + data[first:]


def _number(data: bytearray, random: Random) -> bytearray:
    """Replace a number in text by another value or none; in a binary header, change a byte."""
    found = list(_NUMBER.finditer(bytes(data[:2000])))
    if not found:
        return _byte(data, random)
    chosen = found[int(random.integers(len(found)))]
    return data[: chosen.start()] + _NUMBERS[int(random.integers(len(_NUMBERS)))] + data[chosen.end() :]


_CHANGES = (_byte, _byte, _run, _cut, _twice, _number, _number)


def _place(data: bytearray, random: Random) -> int:
    """Return a random position; headers, which come first, are more likely than voxels."""
    reach = min(len(data), 400) if random.random() < 0.7 else len(data)
    return int(random.integers(max(reach, 1)))


def _work(suffix: str, content: bytes, seeds: Sequence[int], results: Any) -> None:
    """Read files one by one, in another process; send how each ended."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"b{suffix}"
        for seed in seeds:
            path.write_bytes(mutated(content, np.random.default_rng(seed)))
            results.send(try_reading(suffix, path))
    results.close()


def try_reading(suffix: str, path: Path) -> ReadResult:
    """Read a file; return how it ended, seconds, and the peak memory of this process in MiB."""
    start = time.perf_counter()
    try:
        FORMATS[suffix](path)
        ended = "read"
    except LightCRCFError as error:
        ended = "refused" if "\n" not in str(error) else "refused in more than one line"
    except BaseException as error:
        ended = f"{type(error).__name__}: {str(error)[:120]}"
    return ended, time.perf_counter() - start, peak_memory_mb() or 0.0


def campaign(
    count: int, suffix: str, content: bytes, *, first: int = 0, worker: Worker = _work, batch: int = _BATCH
) -> dict[str, Any]:
    """Read `count` mutations of one file.

    Args:
        count: how many.
        suffix: of the format.
        content: of a sound file.
        first: seed of the first; those of the others follow.
        worker: what mutates and reads, in a process of its own, and sends how each file ended.
        batch: files in each process.

    Returns:
        "ended": how often each ending came ("read" and "refused" are right); "slowest_s"; "memory_mib", the most that
        reading added to a process; "lost": seeds at which a process died or hung, or took too long or too much.
    """
    ended: Counter[str] = Counter()
    slowest, memory, lost, seed = 0.0, 0.0, list[int](), first
    context = multiprocessing.get_context("spawn")
    while seed < first + count:
        here, there = context.Pipe(duplex=False)
        seeds = range(seed, min(seed + batch, first + count))
        process = context.Process(target=worker, args=(suffix, content, seeds, there), daemon=True)
        process.start()
        there.close()
        least = None
        for seed in seeds:
            # The first answer waits for the imports too.
            report = _answer(here, LONGEST_S + (50.0 if least is None else 0.0))
            if report is None:
                ended["hung or died"] += 1
                lost.append(seed)
                break
            ending, seconds, peak = report
            slowest = slowest if least is None else max(slowest, seconds)
            least = peak if least is None else least
            memory = max(memory, peak - least)
            ended[ending] += 1
            if ending not in ("read", "refused") or peak - least > MEMORY_MIB:
                lost.append(seed)
        seed += 1
        process.kill()
        process.join()
    return {"ended": dict(ended), "slowest_s": round(slowest, 3), "memory_mib": round(memory, 1), "lost": lost}


def _answer(here: Any, seconds: float) -> ReadResult | None:
    """Return the result for the next file; None if the process died or timed out."""
    try:
        report: ReadResult | None = here.recv() if here.poll(seconds) else None
    except EOFError:
        return None
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign and write the record; returns 1 if any file was neither read nor refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="files in all")
    parser.add_argument("--out", type=Path, required=True, help="record to write")
    options = parser.parse_args(arguments)
    each = -(-options.count // len(FORMATS))
    with TemporaryDirectory() as folder:
        files = {suffix: path.read_bytes() for suffix, path in originals(Path(folder)).items()}
    found = {suffix: campaign(each, suffix, content) for suffix, content in files.items()}
    record = {
        **plain_header("lightcrcf-fuzz"),
        "files": each * len(FORMATS),
        "limits": {"seconds": LONGEST_S, "memory_mib": MEMORY_MIB},
        "formats": found,
    }
    write_json(options.out, record)
    print(json.dumps(found, indent=1))
    return int(any(report["lost"] for report in found.values()))


if __name__ == "__main__":
    sys.exit(main())
