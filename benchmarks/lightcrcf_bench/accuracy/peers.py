"""Other people's tools, each in a process of its own: `python -I peers.py TOOL --fixed ... --moving ... --out DIR`.

It reads two files and writes the transform and the moved image, as a user's command would. Nothing of ours is imported
here: it would count as the tool's time and memory, and is not there in a tool's own environment.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = [
    "AFFINE", "MOVED", "SUMMARY", "TOOLS", "WARP",
    "WHOLE", "Job", "ants", "convexadam", "demons", "elastix", "greedy", "main",
]  # fmt: skip

WHOLE = ("elastix", "demons", "convexadam")  # what these leave in WARP is the whole displacement, affine included
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
        fixed_mask, moving_mask: images that are 0 where nothing counts, for ANTs and greedy.
    """

    fixed: Path
    moving: Path
    out: Path
    threads: int
    affine: str
    deform: str
    fixed_mask: Path | None = None
    moving_mask: Path | None = None


def ants(job: Job) -> None:
    """Register with `ants.registration`; `deform` (or else `affine`) is its `type_of_transform`.

    `deform` may go on with its `flow_sigma` and `total_sigma`, `SyN 3 0.5`. Masks hold at all stages.
    Threads and seed are those that ITK and ANTs read from ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS and ANTS_RANDOM_SEED
    when they are loaded.
    """
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(job.threads)
    os.environ["ANTS_RANDOM_SEED"] = "1"
    import ants

    fixed, moving = ants.image_read(str(job.fixed)), ants.image_read(str(job.moving))
    kind, *sigmas = (job.deform or job.affine).split()
    options: dict[str, Any] = dict(zip(("flow_sigma", "total_sigma"), map(float, sigmas), strict=False))
    for name, path in (("mask", job.fixed_mask), ("moving_mask", job.moving_mask)):
        if path is not None:
            options |= {name: ants.image_read(str(path)), "mask_all_stages": True}
    start = time.perf_counter()
    result = ants.registration(fixed, moving, type_of_transform=kind, outprefix=f"{job.out}/ants_", **options)
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

    masks = "".join(f" {word} {path}" for word, path in (("-gm", job.fixed_mask), ("-mm", job.moving_mask)) if path)
    pair = f"-threads {job.threads} -i {job.fixed} {job.moving}{masks}"
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


def elastix(job: Job) -> None:
    """Register with elastix: `affine` and `deform` are names of its default parameter maps.

    `deform` may go on with the final spacing of the B-spline grid in mm. What it leaves is the whole displacement.
    Threads are those that ITK reads when it is loaded; with elastix's own argument, 0.23 and 0.25 crashed.
    """
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(job.threads)
    import itk

    fixed, moving = (itk.imread(str(path), itk.F) for path in (job.fixed, job.moving))
    parameters = itk.ParameterObject.New()
    for name, *spacing in (words.split() for words in (job.affine, job.deform) if words):
        chosen = parameters.GetDefaultParameterMap(name, 4, *map(float, spacing))
        chosen["RandomSeed"] = ["1"]
        parameters.AddParameterMap(chosen)
    start = time.perf_counter()
    moved, found = itk.elastix_registration_method(fixed, moving, parameter_object=parameters, log_to_console=False)
    _summarise(job.out, "itk-elastix", start)
    out = job.out.resolve()
    os.chdir(out)  # transformix leaves a copy of the field where it runs
    field = itk.transformix_deformation_field(fixed, found)
    itk.imwrite(field, str(out / WARP))
    itk.imwrite(moved, str(out / MOVED))
    for copy in out.glob("deformationField.*"):
        copy.unlink()


def demons(job: Job) -> None:
    """Register with SimpleITK: `affine` is what to start from and its iterations, `moments 200` or `geometry 200`.

    A third word, `rigid`, leaves it 6 parameters instead of 12.

    `deform` is the demons' iterations at each resolution and the standard deviation, in voxels, by which the field
    is smoothed: `100x50x10 1.0`. The demons are the diffeomorphic ones, after intensities were matched by their
    histograms. What it leaves is the whole displacement.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(job.threads)
    fixed, moving = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (job.fixed, job.moving))
    start = time.perf_counter()
    transform = _simpleitk_affine(fixed, moving, job.affine)
    if job.deform:
        numbers, sigma = job.deform.split()
        near = sitk.HistogramMatching(sitk.Resample(moving, fixed, transform), fixed, 256, 7, True)
        field = _demons_field(fixed, near, [int(number) for number in numbers.split("x")], float(sigma))
        transform = sitk.CompositeTransform([transform, sitk.DisplacementFieldTransform(field)])
    _summarise(job.out, "SimpleITK", start)
    _leave_displacement(job.out, fixed, moving, transform)


def convexadam(job: Job) -> None:
    """Register with ConvexAdam's defaults (MIND features) after SimpleITK's affine, as it expects aligned images.

    `affine` is as for `demons`. What it leaves is the whole displacement.
    """
    import numpy as np
    import SimpleITK as sitk
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(job.threads)
    torch.set_num_threads(job.threads)
    torch.manual_seed(1)
    fixed, moving = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (job.fixed, job.moving))
    start = time.perf_counter()
    transform = _simpleitk_affine(fixed, moving, job.affine)
    near = sitk.Resample(moving, fixed, transform)
    arrays = (sitk.GetArrayFromImage(image) for image in (fixed, near))  # axes are z, y, x
    voxels = convex_adam_pt(*arrays, device=torch.device("cpu"), dtype=torch.float32)
    origin, *ends = (np.array(fixed.TransformContinuousIndexToPhysicalPoint(index)) for index in np.eye(4, 3, -1))
    axes = np.stack([end - origin for end in ends])
    field = sitk.GetImageFromArray(voxels[..., ::-1] @ axes, isVector=True)
    field.CopyInformation(fixed)
    deformation = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    _summarise(job.out, "convexadam", start)
    _leave_displacement(job.out, fixed, moving, sitk.CompositeTransform([transform, deformation]))


def _simpleitk_affine(fixed: Any, moving: Any, words: str) -> Any:
    """Compute an affine by Mattes mutual information of a fifth of the voxels at three resolutions; None without words.

    12 parameters, or 6 where the words end in `rigid`.
    """
    import SimpleITK as sitk

    if not words:
        return sitk.Transform(3, sitk.sitkIdentity)
    start, iterations, *kind = words.split()
    wanted = sitk.Euler3DTransform() if kind == ["rigid"] else sitk.AffineTransform(3)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.2, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, int(iterations))
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    centres = getattr(sitk.CenteredTransformInitializerFilter, start.upper())
    method.SetInitialTransform(sitk.CenteredTransformInitializer(fixed, moving, wanted, centres))
    return method.Execute(fixed, moving)


def _demons_field(fixed: Any, near: Any, iterations: Sequence[int], sigma: float) -> Any:
    import SimpleITK as sitk

    method, field = sitk.DiffeomorphicDemonsRegistrationFilter(), None
    method.SetStandardDeviations(sigma)
    method.SetSmoothDisplacementField(True)
    for level, number in enumerate(iterations):
        factor = 2 ** (len(iterations) - 1 - level)
        small = [
            sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, 0.5 * factor), [factor] * 3) if factor > 1 else image
            for image in (fixed, near)
        ]
        method.SetNumberOfIterations(number)
        start = () if field is None else (sitk.Resample(field, small[0]),)
        field = method.Execute(*small, *start)
    return field


def _leave_displacement(out: Path, fixed: Any, moving: Any, transform: Any) -> None:
    import SimpleITK as sitk

    field = sitk.TransformToDisplacementFieldFilter()
    field.SetReferenceImage(fixed)
    sitk.WriteImage(field.Execute(transform), str(out / WARP))
    sitk.WriteImage(sitk.Resample(moving, fixed, transform), str(out / MOVED))


def _summarise(out: Path, package: str, start: float) -> None:
    summary = {"call_seconds": round(time.perf_counter() - start, 2), "versions": {package: version(package)}}
    (out / SUMMARY).write_text(json.dumps(summary) + "\n", encoding="utf-8")


TOOLS: dict[str, Callable[[Job], None]] = {
    "ants": ants, "greedy": greedy, "elastix": elastix, "demons": demons, "convexadam": convexadam,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Register one pair with one tool; leaves with a line on stderr if the tool is not installed."""
    parser = argparse.ArgumentParser(prog="peers.py", description=__doc__)
    parser.add_argument("tool", choices=TOOLS)
    for name in ("fixed", "moving", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("fixed", "moving"):
        parser.add_argument(f"--{name}-mask", type=Path, help="for ANTs and greedy")
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
        sys.exit(f"{error.name}: expected a tool to compare with, got not installed; install it or give --environments")


if __name__ == "__main__":
    main()
