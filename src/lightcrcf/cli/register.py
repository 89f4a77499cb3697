"""`lightcrcf register`: align one volume with another."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightcrcf.cli.console import print_json, progress_on_terminal, say
from lightcrcf.errors import QualityError

if TYPE_CHECKING:
    from lightcrcf.pipeline.register import Registration

__all__ = ["register"]


class Preset(str, Enum):
    """How much time to spend after the affine alignment."""

    fast = "fast"
    default = "default"
    accurate = "accurate"


class EngineName(str, Enum):
    """What runs the network."""

    auto = "auto"
    openvino = "openvino"
    torch = "torch"


class Device(str, Enum):
    """Where the network runs."""

    cpu = "cpu"
    cuda = "cuda"


class Precision(str, Enum):
    """Arithmetic of the network."""

    auto = "auto"
    f32 = "f32"
    bf16 = "bf16"


def register(
    context: typer.Context,
    fixed: Annotated[Path, typer.Option(help="Volume to align with: NIfTI, NRRD, MHA or a DICOM folder.")],
    moving: Annotated[Path, typer.Option(help="Volume to move.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    model: Annotated[
        str, typer.Option(help="auto, none (no network), a name from `lightcrcf models list`, or a .safetensors file.")
    ] = "auto",
    init: Annotated[
        str, typer.Option(help="auto: affine alignment included; none: trust the headers; or an ITK affine file.")
    ] = "auto",
    fixed_mask: Annotated[Path | None, typer.Option(help="0 where fixed voxels must not count (lesions).")] = None,
    moving_mask: Annotated[Path | None, typer.Option(help="0 where moving voxels must not count.")] = None,
    moving_labels: Annotated[
        list[Path] | None, typer.Option(metavar="<path>", help="Labels of the moving volume to move along; repeatable.")
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(metavar="<path>", help="Another image in the moving space to move along; repeatable."),
    ] = None,
    preset: Annotated[
        Preset, typer.Option(help="fast: the network alone; default: and some refinement; accurate: and more.")
    ] = Preset.default,
    refine: Annotated[
        int | None, typer.Option(min=0, help="Refinement steps at full resolution [default: by preset].")
    ] = None,
    diffeomorphic: Annotated[
        bool, typer.Option("--diffeomorphic", help="Change the field a little so that it folds nowhere.")
    ] = False,
    inverse: Annotated[bool, typer.Option("--inverse", help="Write the inverse displacement field too.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Write report.html, with pictures.")] = False,
    engine: Annotated[EngineName, typer.Option(help="What runs the network.")] = EngineName.auto,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.cpu,
    precision: Annotated[Precision, typer.Option(help="Arithmetic of the network.")] = Precision.auto,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to use [default: all].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print run.json on stdout.")] = False,
    fail_on_qc: Annotated[
        bool, typer.Option("--fail-on-qc", help="Exit with code 4 if quality control says fail.")
    ] = False,
) -> None:
    """Align the moving volume with the fixed one, deformably."""
    from lightcrcf.pipeline.outputs import check_output_folder, save
    from lightcrcf.pipeline.register import register as run

    check_output_folder(out)
    with progress_on_terminal() as progress:
        registration = run(
            fixed,
            moving,
            model=model,
            init=init,
            preset=preset.value,
            refine=refine,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            moving_labels=moving_labels or (),
            also=also or (),
            diffeomorphic=diffeomorphic,
            inverse=inverse,
            engine=engine.value,
            device=device.value,
            precision=precision.value,
            threads=threads,
            progress=progress,
        )
        if progress:
            progress("write", 0.95)
        files = save(registration, out, extra_files=_pages(registration, context) if report else None)
    if json:
        print_json({**registration.provenance, "files": files})
    else:
        _print_for_people(out, registration)
    if fail_on_qc and registration.qc["verdict"] == "fail":
        raise QualityError(
            str(out),
            expected="a registration that passes",
            got="; ".join(registration.qc["reasons"]),
            remedy="see report.html",
        )


def _pages(registration: Registration, context: typer.Context) -> dict[str, Callable[[Path], None]]:
    from lightcrcf.report.html import report_files

    return report_files(registration, command=["lightcrcf", *context.obj["arguments"]])


def _print_for_people(out: Path, registration: Registration) -> None:
    reasons = "".join(f"\n  {reason}" for reason in registration.qc["reasons"])
    say(f"quality control: {registration.qc['verdict']}{reasons}\nresults: {out}")
