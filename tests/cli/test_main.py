"""The exit codes of the contract, one line for every error, nothing heavy for --help, clean interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from lightcrcf.cli.main import run
from lightcrcf.cli.signals import Terminated
from lightcrcf.errors import InputError, MemoryEstimateError, QualityError, UsageError

DETAILS = {"expected": "this", "got": "that", "remedy": "do so"}
DENIED = (
    "expected a file or folder that can be used, got permission denied; "
    "change its permissions, or those of the folders that hold it"
)
COMMANDS = ("register", "apply", "points", "evaluate", "models", "train", "demo", "info")
POINTS = ["points", "--input", "p.csv", "--transform", "run", "--to", "moving", "--output", "q.csv"]


def run_raising(error: BaseException, monkeypatch: pytest.MonkeyPatch, *, options: tuple[str, ...] = ()) -> int:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr("lightcrcf.transforms.point_tables.move_points", fail)
    return run([*options, *POINTS])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("--x", **DETAILS), 2, "error: --x: expected this, got that; do so"),
        (InputError("a.nii", **DETAILS), 3, "error: a.nii: expected this, got that; do so"),
        (QualityError("run", **DETAILS), 4, "error: run: expected this, got that; do so"),
        (MemoryEstimateError("a.nii", **DETAILS), 5, "error: a.nii: expected this, got that; do so"),
        (MemoryError(), 5, "error: not enough memory: the system gave none; close other programs or crop the volumes"),
        (PermissionError(13, "Permission denied", "/x/y"), 3, f"error: /x/y: {DENIED}"),
        (PermissionError(13, "Permission denied", Path("/x/y")), 3, f"error: /x/y: {DENIED}"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "terminated"),
        (BrokenPipeError(), 141, ""),
        (ZeroDivisionError("a\nb"), 1, "internal error: ZeroDivisionError: a b; LIGHTCRCF_DEBUG=1 shows the traceback"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_error_is_one_line_and_its_exit_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_raising(error, monkeypatch) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (f"{line}\n" if line else "")


@pytest.mark.parametrize("way", ["option", "variable"])
def test_debugging_shows_the_traceback_above_the_line(
    way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if way == "variable":
        monkeypatch.setenv("LIGHTCRCF_DEBUG", "1")
    options = ("--debug",) if way == "option" else ()
    assert run_raising(ZeroDivisionError("oh"), monkeypatch, options=options) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("internal error: ZeroDivisionError: oh")


@pytest.mark.parametrize(
    ("arguments", "words"),  # the sentence itself is typer's, and changes with its version
    [
        (["bogus"], ("'bogus'", "see 'lightcrcf --help'")),
        (["register"], ("--fixed", "see 'lightcrcf register --help'")),
        (["register", "--fixd", "a.nii"], ("--fixd", "see 'lightcrcf register --help'")),
        (
            ["points", "--to", "elsewhere"],
            ("--to: expected one of moving, fixed, got elsewhere;", "see 'lightcrcf points --help'"),
        ),
        (["models", "show"], ("argument", "see 'lightcrcf models show --help'")),
    ],
)
def test_a_wrong_command_line_is_one_line_and_2(
    arguments: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert all(f"  {name} " in out for name in COMMANDS)
    assert err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert "Usage: lightcrcf " + command in capsys.readouterr().out


def test_warnings_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def warn(*_arguments: object, **_options: object) -> None:
        warnings.warn("qform and\nsform disagree", UserWarning, stacklevel=1)

    monkeypatch.setattr("lightcrcf.transforms.point_tables.move_points", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run(POINTS) == 0
    assert capsys.readouterr().err == "warning: qform and sform disagree\n"


@pytest.mark.parametrize("statement", ["import lightcrcf", "from lightcrcf.cli.main import run; run(['--help'])"])
def test_importing_and_help_load_nothing_heavy(statement: str) -> None:
    heavy = ("numpy", "nibabel", "SimpleITK", "jinja2", "torch", "rich", "pydantic")
    code = f"import sys; {statement}; print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "lightcrcf", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("lightcrcf ")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_command_and_removes_temporary_files(number: int, code: int, tmp_path: Path) -> None:
    script = f"""
import signal, sys, time
from pathlib import Path
import lightcrcf.transforms.point_tables as points
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has it ignored
from lightcrcf.cli.main import main
from lightcrcf.files import atomic_path

def slow(*arguments, **options):
    with atomic_path(Path({str(tmp_path)!r}) / "q.csv") as temporary:
        temporary.write_text("half")
        time.sleep(60)

points.move_points = slow
sys.argv = ["lightcrcf", *{POINTS!r}]
main()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.strip() in ("terminated", "interrupted")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lightcrcf", "info", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


@pytest.mark.parametrize("words", [["--out", ""], ["--out="], ["--fixed", "", "--out", "x"]])
def test_an_empty_word_is_a_usage_error_of_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["register", *words]) == 2
    told = capsys.readouterr().err
    assert (
        told == f"error: {words[0].rstrip('=')}: expected a value, got an empty one; give it, or leave the option out\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_while_the_program_is_imported_is_one_line() -> None:
    script = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from lightcrcf.__main__ import main

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_of_a_process_of_our_own_sleep_while_they_wait(given: str | None, expected: str) -> None:
    code = "import atexit, os; atexit.register(lambda: print(os.environ['OMP_WAIT_POLICY'])); "
    code += "from lightcrcf.__main__ import main; main()"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    words = [sys.executable, "-c", code, "--version"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == expected


@pytest.mark.parametrize(("value", "code"), [("", 0), ("avx2", 0), ("nonsense", 2)])
def test_the_name_of_an_instruction_set_is_checked(
    value: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIGHTCRCF_ISA", value)
    assert run(["models", "list"]) == code
    assert ("error: LIGHTCRCF_ISA: expected one of baseline" in capsys.readouterr().err) == (code == 2)
