"""Whole commands of several installed releases, alternating: time, memory, first run, size, and training steps.

    python -m lightcrcf_bench.speed.releases --data ../shared/data --release before=PYTHON --release now=PYTHON \
        --training before=PYTHON --training now=PYTHON --out benchmarks/history/DATE-releases.json

PYTHON is the interpreter of an environment that holds that release. `--training` names environments with PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

from pydantic import Field

from lightcrcf.errors import LightCRCFError
from lightcrcf_bench.accuracy.protocols import PROTOCOLS, pairs
from lightcrcf_bench.measure import Measured, circumstances, run
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.records.parts import Measurement, Strict
from lightcrcf_bench.records.schema import BUSY

__all__ = [
    "RELEASES", "Command", "Measures", "ReleasesRecord", "main", "measure_releases", "releases_text",
    "training_seconds",
]  # fmt: skip

RELEASES = "releases"
PROTOCOL = (
    "Each command is a process of its own, from start to exit, on two threads; releases take turns, command by "
    "command, after one round that does not count. First run: the command with a new, empty home folder; second: once "
    "more with the same one. Size: all files of the environment's packages without pip and setuptools. Training: the "
    "median of seconds a step, as the log tells it, of runs that take turns."
)
_SIZE = """
import pathlib, sysconfig
root = pathlib.Path(sysconfig.get_path("purelib"))
own = [p for p in root.iterdir() if not p.name.startswith(("pip", "setuptools", "_distutils", "distutils"))]
files = [f for p in own for f in (p.rglob("*") if p.is_dir() else [p]) if f.is_file() and f.suffix != ".pyc"]
print(sum(f.stat().st_size for f in files))
"""
_PRESETS = ("fast", "default")
_DATA = {"brain": "brain", "hippocampus": "hippocampus"}
_TRAINING_RECIPE = """
name = "timed"
variant = "default"
[data]
root = "{data}"
spacing_mm = 1.0
content = "skull-stripped brain"
by_content = true
shape = [144, 192, 144]
refinement_init = "identity"
[[data.cohorts]]
folder = "oasis"
image = "sub-{{id}}_T1w.nii.gz"
train = {people}
[loss]
similarity = "lncc"
window = 7
[[stages]]
steps = {steps}
compare = "full"
[run]
folder = "{folder}"
precision = "bf16"
tensorboard = false
checkpoint_steps = {steps}
validate_steps = {steps}
log_steps = {log_steps}
"""


class Command(Strict):
    """One command of one release.

    Args:
        name: of the command.
        release: its name.
        seconds: of each repetition.
        peak_mib: largest resident memory of each repetition.
        load_before: one-minute load average when the first repetition began.
    """

    name: str
    release: str
    seconds: Annotated[tuple[float, ...], Field(min_length=1)]
    peak_mib: Annotated[tuple[float, ...], Field(min_length=1)]
    load_before: float


class Measures(Strict):
    """Measurements of a release, apart from its commands.

    Args:
        release: its name.
        version: that it tells.
        size_mb: of its environment, in 10^6 bytes.
        first_seconds, second_seconds: of the first and the second run with a new home folder.
        step_seconds: of a training step, the median of each run; empty if training was not measured.
    """

    release: str
    version: str
    size_mb: float
    first_seconds: tuple[float, ...]
    second_seconds: tuple[float, ...]
    step_seconds: tuple[float, ...] = ()

    @property
    def first_by_second(self) -> float:
        """Return the median ratio of the first run's time to the second's."""
        return median(a / b for a, b in zip(self.first_seconds, self.second_seconds, strict=True))


class ReleasesRecord(Measurement):
    """A record of several releases; the others are compared with the first."""

    format: Literal["lightcrcf-releases"] = "lightcrcf-releases"
    commands_measured: tuple[Command, ...]
    releases: tuple[Measures, ...]

    def of(self, release: str) -> list[Command]:
        """Return the commands of a release."""
        return [command for command in self.commands_measured if command.release == release]


def measure_releases(
    releases: Mapping[str, Path],
    data: Path,
    *,
    repetitions: int,
    training: Mapping[str, Path],
    log: Callable[[str], None] = print,
    note: str = "",
) -> ReleasesRecord:
    """Measure every release.

    Args:
        releases: interpreter of each, by name.
        data: folder of the data sets.
        repetitions: of each command that count.
        training: interpreters with PyTorch, by name of a release.
        log: gets a line for each measurement.
        note: what else the machine did.

    Raises:
        CommandError: if a command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        commands = _alternating(releases, data, Path(folder), repetitions, log)
        runs = {name: _first_runs(python, data, Path(folder), repetitions) for name, python in releases.items()}
        steps = _training_runs(training, data, Path(folder), repetitions, log)
    found = tuple(
        Measures(
            release=name, version=_told(python, "-m", "lightcrcf", "--version").split()[-1],
            size_mb=round(int(_told(python, "-c", _SIZE)) / 1e6, 1), first_seconds=runs[name][0],
            second_seconds=runs[name][1], step_seconds=tuple(steps.get(name, ())),
        )
        for name, python in releases.items()
    )  # fmt: skip
    asked = " ".join(f"--release {name}=PYTHON" for name in releases)
    return ReleasesRecord(
        **circumstances(),
        protocol=PROTOCOL,
        commands=(f"python -m lightcrcf_bench.speed.releases --data ../shared/data {asked} --out RECORD",),
        note=note,
        commands_measured=tuple(commands),
        releases=found,
    )


def _told(python: Path, *arguments: str) -> str:
    done = subprocess.run([str(python), *arguments], check=True, capture_output=True, text=True, env=_environment())
    return done.stdout.strip()


def _cases(data: Path) -> dict[str, tuple[str, ...]]:
    """Return the arguments of each command, without the output folder."""
    cases: dict[str, tuple[str, ...]] = {"version": ("--version",)}
    for anatomy, protocol in _DATA.items():
        pair = pairs(PROTOCOLS[protocol], data)[0]
        for preset in _PRESETS:
            files = (f"--fixed={pair.fixed_image}", f"--moving={pair.moving_image}")
            cases[f"register, {anatomy}, {preset}"] = ("register", *files, f"--preset={preset}", "--threads=2")
    return cases


def _alternating(
    releases: Mapping[str, Path], data: Path, folder: Path, repetitions: int, log: Callable[[str], None]
) -> list[Command]:
    taken: dict[tuple[str, str], list[Measured]] = {}
    for repetition in range(repetitions + 1):
        for name, arguments in _cases(data).items():
            for release, python in releases.items():
                measured = _once(python, arguments, folder)
                if repetition:
                    taken.setdefault((name, release), []).append(measured)
                log(f"{release}, {name}: {measured.seconds} s, {measured.peak_mib} MiB")
    return [
        Command(
            name=name, release=release, seconds=tuple(m.seconds for m in all_of),
            peak_mib=tuple(m.peak_mib for m in all_of), load_before=all_of[0].load_before,
        )
        for (name, release), all_of in taken.items()
    ]  # fmt: skip


def _once(python: Path, arguments: Sequence[str], folder: Path, home: Path | None = None) -> Measured:
    with tempfile.TemporaryDirectory(dir=folder) as out:
        words = (*arguments, f"--out={out}/out") if arguments[0] == "register" else arguments
        return run((str(python), "-m", "lightcrcf", *words), environment=_environment(home))


def _environment(home: Path | None = None) -> dict[str, str]:
    """Return the environment of a command, in which Python finds the packages of its own release alone."""
    if home is not None:
        return {"HOME": str(home), "PATH": os.environ["PATH"]}
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _first_runs(
    python: Path, data: Path, folder: Path, repetitions: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the seconds of first and second runs, each with a new home folder."""
    arguments, first, second = _cases(data)["register, brain, fast"], list[float](), list[float]()
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory(dir=folder) as home:
            first.append(_once(python, arguments, folder, Path(home)).seconds)
            second.append(_once(python, arguments, folder, Path(home)).seconds)
    return tuple(first), tuple(second)


def _training_runs(
    pythons: Mapping[str, Path], data: Path, folder: Path, repetitions: int, log: Callable[[str], None]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _ in range(repetitions if pythons else 0):
        for name, python in pythons.items():
            found.setdefault(name, []).append(training_seconds(python, data, folder))
            log(f"{name}: {found[name][-1]} s a step")
    return found


def training_seconds(python: Path, data: Path, folder: Path, steps: int = 30, log_steps: int = 5) -> float:
    """Return the median seconds of a step of a short training, the first logged steps left out.

    Args:
        python: interpreter with PyTorch and a release.
        data: folder of the data sets; the first three training persons of oasis are used.
        folder: for the run.
        steps: of the run.
        log_steps: over which the log averages.

    Raises:
        CommandError: if it fails.
    """
    people = json.loads((data / "splits.json").read_text(encoding="utf-8"))["oasis"]["train"][:3]
    with tempfile.TemporaryDirectory(dir=folder) as work:
        recipe, runs = Path(work) / "recipe.toml", Path(work) / "run"
        text = _TRAINING_RECIPE.format(
            data=data.resolve(), people=json.dumps(people), steps=steps, log_steps=log_steps, folder=runs
        )
        recipe.write_text(text, encoding="utf-8")
        run((str(python), "-m", "lightcrcf", "train", str(recipe)), environment=_environment())
        lines = map(json.loads, (runs / "log.jsonl").read_text(encoding="utf-8").splitlines())
        each = [float(line["seconds_per_step"]) for line in lines if "seconds_per_step" in line]
    return round(median(each[1:]), 4)


def releases_text(record: ReleasesRecord) -> str:
    """Return a row for each command and measure, a column for each release, and the ratios to the first release."""
    names = [each.release for each in record.releases]
    rows = [_command_row(record, command) for command in record.of(names[0])]
    rows += [
        _row("first run / second run", [m.first_by_second for m in record.releases], 2),
        _row("size of the install, MB", [m.size_mb for m in record.releases], 0),
    ]
    if all(m.step_seconds for m in record.releases):
        rows.append(_row("training, s a step", [median(m.step_seconds) for m in record.releases], 3))
    header = ("", *(f"{name}" for name in names), *(f"{name} / {names[0]}" for name in names[1:]))
    machine = record.machine
    notes = [
        f"{len(record.commands_measured[0].seconds)} repetitions; medians, and medians of the ratios of neighbouring "
        f"runs. {record.protocol}",
        f"{machine.cpu}, {machine.cores} cores, {record.measured.isoformat()}. {record.note}".strip(),
    ]
    if any(command.load_before > machine.cores + 1 for command in record.commands_measured):
        notes.append(f"{BUSY} taken while other work kept the machine busy, so too long.")
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in notes)])


def _command_row(record: ReleasesRecord, first: Command) -> tuple[str, ...]:
    same = [next(c for c in record.of(m.release) if c.name == first.name) for m in record.releases]
    cells, ratios = [], []
    for command in same:
        busy = BUSY if command.load_before > record.machine.cores + 1 else ""
        cells.append(f"{median(command.seconds):.2f} s{busy}, {median(command.peak_mib):.0f} MiB")
        ratios.append(median(a / b for a, b in zip(command.seconds, first.seconds, strict=True)))
    return (f"`{first.name}`", *cells, *(f"{ratio:.2f}" for ratio in ratios[1:]))


def _row(title: str, values: Sequence[float], digits: int) -> tuple[str, ...]:
    return (title, *(f"{v:.{digits}f}" for v in values), *(f"{v / values[0]:.2f}" for v in values[1:]))


def _named(words: Sequence[str]) -> dict[str, Path]:
    return {name: Path(python) for name, _, python in (word.partition("=") for word in words)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the record; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lightcrcf_bench.speed.releases", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--release", action="append", required=True, help="NAME=PYTHON; the first is compared with")
    parser.add_argument("--training", action="append", default=[], help="NAME=PYTHON with PyTorch")
    parser.add_argument("--repetitions", type=int, default=5, help="of each command [5]")
    parser.add_argument("--note", default="", help="what else the machine did")
    parser.add_argument("--out", type=Path, required=True, help="record to write")
    options = parser.parse_args(arguments)
    try:
        record = measure_releases(
            _named(options.release), options.data, repetitions=options.repetitions, training=_named(options.training),
            note=options.note,
        )  # fmt: skip
    except LightCRCFError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    record.write(options.out)
    print(releases_text(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
