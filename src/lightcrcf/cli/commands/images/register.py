"""`lightcrcf register`: align one volume with another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightcrcf.cli.console import print_json, print_message, show_progress
from lightcrcf.cli.options import parse_options, with_all_options
from lightcrcf.errors import QualityError, UsageError

if TYPE_CHECKING:
    from lightcrcf.registration.register import Registration
    from lightcrcf.run_record.record import RunRecord

__all__ = ["register"]


@with_all_options()
def register(
    context: typer.Context,
    fixed: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="<path>",
            help="Volume to align with: NIfTI, NRRD, MHA or a DICOM folder; once for each contrast of the same person.",
        ),
    ] = None,
    moving: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="<path>", help="Volume to move; once for each --fixed, pair by pair; one transform for all."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.")] = None,
    from_run: Annotated[
        Path | None, typer.Option("--from", help="run.json of an earlier run, to repeat it; --out alone goes with it.")
    ] = None,
    fixed_mask: Annotated[Path | None, typer.Option(help="0 where fixed voxels must not count (lesions).")] = None,
    moving_mask: Annotated[Path | None, typer.Option(help="0 where moving voxels must not count.")] = None,
    moving_labels: Annotated[
        list[Path] | None, typer.Option(metavar="<path>", help="Labels of the moving volume to move along; repeatable.")
    ] = None,
    fixed_labels: Annotated[
        Path | None, typer.Option(help="Labels of the fixed volume, for Dice in run.json and the report.")
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(metavar="<path>", help="Another image in the moving space to move along; repeatable."),
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Write report.html, with pictures.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print run.json on stdout.")] = False,
    fail_on_qc: Annotated[
        bool, typer.Option("--fail-on-qc", help="Exit with code 4 if quality control says fail.")
    ] = False,
    **options: Any,
) -> None:
    """Align the moving volume with the fixed one, deformably unless told otherwise."""
    if from_run is not None:
        given, out = _options_of(from_run, context), out or _beside(from_run)
    else:
        out = _complete(fixed, moving, out)
        given = {
            "fixed": fixed, "moving": moving, "fixed_mask": fixed_mask, "moving_mask": moving_mask,
            "fixed_labels": fixed_labels, "moving_labels": moving_labels or (), "also": also or (),
            **parse_options(options),
        }  # fmt: skip
    registration, record = _register_and_save(given, out, report=report)
    if json:
        from lightcrcf.run_record.schema import to_json

        print_json(to_json(record))
    _print_for_people(out, registration)
    if from_run is not None:
        _compare(from_run, record)
    if fail_on_qc:
        _raise_for_failure(registration, out)


def _register_and_save(given: dict[str, Any], out: Path, *, report: bool) -> tuple[Registration, RunRecord]:
    """Register with the arguments of `registration.register.register`, and write the results."""
    from lightcrcf.files import remove_stale_temporaries
    from lightcrcf.registration.inputs import channels_of
    from lightcrcf.registration.register import register as run
    from lightcrcf.registration.save import check_output_folder, save

    check_output_folder(out)
    remove_stale_temporaries(out)
    moving_names, fixed_names = (" and ".join(map(str, channels_of(given[role]))) for role in ("moving", "fixed"))
    with show_progress(f"registering {moving_names} with {fixed_names}") as progress:
        registration = run(**given, progress=progress)
        progress("write", 0.95)
        record = save(registration, out, extra_files=_pages(registration, out) if report else None)
    return registration, record


def _raise_for_failure(registration: Registration, out: Path) -> None:
    if registration.quality.verdict == "fail":
        raise QualityError(
            str(out),
            expected="a registration that passes",
            got="; ".join(registration.quality.reasons),
            remedy="see report.html",
        )


_WITH_FROM = ("from_run", "out", "report", "json", "fail_on_qc")


def _complete(fixed: Sequence[Path] | None, moving: Sequence[Path] | None, out: Path | None) -> Path:
    missing = [f"--{n}" for n, v in (("fixed", fixed), ("moving", moving), ("out", out)) if not v]
    if missing or out is None:
        raise UsageError(
            "lightcrcf register",
            expected="--fixed, --moving and --out, or --from",
            got=f"no {', '.join(missing)}",
            remedy="see 'lightcrcf register --help'",
        )
    return out


def _options_of(from_run: Path, context: typer.Context) -> dict[str, Any]:
    """Return the arguments of an earlier registration."""
    from lightcrcf.options import word_of
    from lightcrcf.run_record.replay import arguments_to_repeat, differences, read_run

    more = sorted(n for n in context.params if n not in _WITH_FROM and _typed(context, n))
    if more:
        raise UsageError(
            "--from",
            expected="no option but --out, --report, --json and --fail-on-qc with it",
            got=", ".join(word_of(name) for name in more),
            remedy="give the files and options yourself, or leave them out",
        )
    record = read_run(from_run)
    arguments = arguments_to_repeat(record)
    for difference in differences(record):
        print_message(f"note: {difference}; the last bits may differ")
    return arguments


def _typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _beside(from_run: Path) -> Path:
    """Return a new folder beside that of the run, so that no file is replaced."""
    folder = (from_run if from_run.is_dir() else from_run.parent).resolve()
    return folder.with_name(f"{folder.name}-again")


def _compare(from_run: Path, record: RunRecord) -> None:
    """Report whether the files equal those of the earlier run, byte for byte."""
    from lightcrcf.run_record.replay import read_run

    then, now = read_run(from_run).files_sha256, record.files_sha256
    others = sorted(name for name in then if then[name] != now.get(name))
    text = f"not the bytes of then: {', '.join(others)}" if others else f"the bytes of then, in all {len(then)} files"
    print_message(f"repeated: {text}")


def _pages(registration: Registration, out: Path) -> dict[str, Callable[[Path], None]]:
    from lightcrcf.report.html import report_files

    return report_files(registration, out=str(out))


def _print_for_people(out: Path, registration: Registration) -> None:
    reasons = "".join(f"\n  {reason}" for reason in registration.quality.reasons)
    inputs = registration.record.inputs
    notes = [f"{image.source}: {note}" for image in (inputs.fixed, inputs.moving) for note in image.notes]
    for note in notes:
        if note not in registration.quality.reasons:
            print_message(note)
    for role, brain in (("fixed", inputs.fixed.brain), ("moving", inputs.moving.brain)):
        if brain is not None and brain.registered_alone:
            by = "found" if brain.by == "network" else "given by its mask"
            print_message(f"the {role} image is a head, its brain was {by} ({brain.litres:.2f} l) and registered alone")
    print_message(f"quality control: {registration.quality.verdict}{reasons}\nresults: {out}")
