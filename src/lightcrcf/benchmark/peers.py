"""Other people's tools, each in a process of its own: `python -m lightcrcf.benchmark.peers TOOL --fixed ... --out DIR`.

It reads two files and writes the transform and the moved image, as a user's command would. Nothing heavy of ours is
imported here: it would count as the tool's time and memory.

The tools are the extra `peers`: `pip install "lightcrcf[peers]"`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightcrcf.errors import InputError

__all__ = ["AFFINE", "MOVED", "SUMMARY", "TOOLS", "WARP", "Job", "ants", "greedy", "main"]

AFFINE, WARP, MOVED, SUMMARY = "affine.mat", "warp.nii.gz", "moved.nii.gz", "peer.json"


@dataclass(frozen=True)
class Job:
    """One registration by one tool.

    Args:
        fixed: image.
        moving: image.
        out: folder; gets the transform, the moved image and the summary.
        threads: as the tool counts them.
        affine: the tool's settings of its affine stage; empty for none.
        deform: the tool's settings of its deformable stage; empty for none.
    """

    fixed: Path
    moving: Path
    out: Path
    threads: int
    affine: str
    deform: str


def ants(job: Job) -> None:
    """Register with `ants.registration`; `deform` (or else `affine`) is its `type_of_transform`.

    Threads and seed are those that ITK and ANTs read from ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS and ANTS_RANDOM_SEED
    when they are loaded.
    """
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(job.threads)
    os.environ["ANTS_RANDOM_SEED"] = "1"
    import ants

    fixed, moving = ants.image_read(str(job.fixed)), ants.image_read(str(job.moving))
    start = time.perf_counter()
    result = ants.registration(fixed, moving, type_of_transform=job.deform or job.affine, outprefix=f"{job.out}/ants_")
    _summarise(job.out, "antspyx", start)
    ants.image_write(result["warpedmovout"], str(job.out / MOVED))
    transforms = result["fwdtransforms"]
    shutil.move(transforms[-1], job.out / AFFINE)
    if job.deform:
        shutil.move(transforms[0], job.out / WARP)
    for unused in job.out.glob("ants_*"):
        unused.unlink()


def greedy(job: Job) -> None:
    """Register with greedy; `affine` and `deform` are words of its command line.

    In double precision, greedy's default: in single precision (its `-float`) the line search of its affine stage fails
    on brains, and its deformable stage loses a tenth of the Dice there.
    """
    from picsl_greedy import Greedy3D

    pair = f"-threads {job.threads} -i {job.fixed} {job.moving}"
    affine, warp = job.out / AFFINE, job.out / WARP
    tool, start = Greedy3D(), time.perf_counter()
    if job.affine:
        tool.execute(f"{pair} -a {job.affine} -o {affine}")
    else:
        affine.write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", encoding="ascii")
    if job.deform:
        tool.execute(f"{pair} {job.deform} -it {affine} -o {warp}")
    _summarise(job.out, "picsl_greedy", start)
    chain = f"{warp} {affine}" if job.deform else affine
    tool.execute(f"-threads {job.threads} -rf {job.fixed} -rm {job.moving} {job.out / MOVED} -r {chain}")


def _summarise(out: Path, package: str, start: float) -> None:
    summary = {"call_seconds": round(time.perf_counter() - start, 2), "versions": {package: version(package)}}
    (out / SUMMARY).write_text(json.dumps(summary) + "\n", encoding="utf-8")


TOOLS: dict[str, Callable[[Job], None]] = {"ants": ants, "greedy": greedy}


def main(arguments: Sequence[str] | None = None) -> None:
    """Register one pair with one tool.

    Raises:
        InputError: if the tool is not installed.
    """
    parser = argparse.ArgumentParser(prog="python -m lightcrcf.benchmark.peers", description=__doc__)
    parser.add_argument("tool", choices=TOOLS)
    for name in ("fixed", "moving", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--affine", default="", help="the tool's settings of its affine stage")
    parser.add_argument("--deform", default="", help="the tool's settings of its deformable stage")
    parser.add_argument("--threads", type=int, default=2)
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    register = TOOLS[given.pop("tool")]
    job = Job(**given)
    job.out.mkdir(parents=True, exist_ok=True)
    try:
        register(job)
    except ModuleNotFoundError as error:
        raise InputError(
            str(error.name), expected="a tool to compare with", got="not installed",
            remedy='pip install "lightcrcf[peers]"',
        ) from error  # fmt: skip


if __name__ == "__main__":
    main()
