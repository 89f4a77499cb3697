"""ANTs SyN by antspyx, in a process of its own: `python -m lightcrcf.benchmark.peers --fixed ... --out DIR`.

Its defaults: a 12-parameter affine by Mattes mutual information, then SyN by the same (32 bins), 40 x 20 x 0
iterations, that is without the full resolution. Labels are moved by its own `apply_transforms`, nearest neighbour.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["AFFINE", "AFFINE_LABELS", "LABELS", "SUMMARY", "WARP", "main", "syn"]

WARP, AFFINE = "warp.nii.gz", "affine.mat"
LABELS, AFFINE_LABELS, SUMMARY = "moved_labels.nii.gz", "affine_moved_labels.nii.gz", "peer.json"


def syn(fixed: Path, moving: Path, moving_labels: Path, out: Path) -> dict[str, Any]:
    """Register with `ants.registration(type_of_transform="SyN")` and move the labels.

    Threads and seed are those that ITK and ANTs read from ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS and ANTS_RANDOM_SEED.

    Args:
        fixed: image.
        moving: image.
        moving_labels: on the moving image's grid.
        out: folder; gets the transforms, the labels moved by both stages and by the affine alone, and the summary.

    Returns:
        The summary: wall seconds of the registration alone, and antspyx's version.
    """
    import ants

    out.mkdir(parents=True, exist_ok=True)
    target, source, labels = (ants.image_read(str(path)) for path in (fixed, moving, moving_labels))
    start = time.perf_counter()
    result = ants.registration(target, source, type_of_transform="SyN", outprefix=f"{out}/syn_")
    summary = {"seconds": round(time.perf_counter() - start, 2), "antspyx": version("antspyx")}
    warp, affine = result["fwdtransforms"]
    for name, transforms in ((LABELS, [warp, affine]), (AFFINE_LABELS, [affine])):
        moved = ants.apply_transforms(target, labels, transforms, interpolator="nearestNeighbor")
        ants.image_write(moved, str(out / name))
    shutil.move(warp, out / WARP)
    shutil.move(affine, out / AFFINE)
    for unused in out.glob("syn_*"):
        unused.unlink()
    (out / SUMMARY).write_text(json.dumps(summary) + "\n", encoding="utf-8")
    return summary


def main(arguments: Sequence[str] | None = None) -> None:
    """Run SyN on one pair."""
    parser = argparse.ArgumentParser(prog="python -m lightcrcf.benchmark.peers", description="Run ANTs SyN on a pair.")
    for name in ("fixed", "moving", "moving-labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    # ITK and ANTs read these when they are loaded.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(options.threads)
    os.environ["ANTS_RANDOM_SEED"] = str(options.seed)
    syn(options.fixed, options.moving, options.moving_labels, options.out)


if __name__ == "__main__":
    main()
