"""Nothing asks the network for anything: a process in which every socket ends the run does all its work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lightcrcf.volumes import Volume, write

# An audit hook hears of every socket that Python code opens, and cannot be taken away again.
GUARD = """
import os, sys

def guard(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")) and event != "socket.gethostname":
        os.write(2, f"the network was asked: {event} {arguments!r}".encode())
        os._exit(99)

sys.addaudithook(guard)
"""
WORK = """
from lightcrcf.cli.main import run

for words in commands:
    code = run(words)
    if code:
        raise SystemExit(f"{words[0]}: {code}")
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=500)


def test_the_guard_hears_of_sockets() -> None:
    done = python(GUARD + "import socket; socket.socket()")
    assert done.returncode == 99
    assert "the network was asked: socket." in done.stderr


def test_no_command_asks_the_network(pair: tuple[Volume, Volume], coarse_model: Path, tmp_path: Path) -> None:
    fixed, moving, out = (str(tmp_path / name) for name in ("fixed.nii.gz", "moving.nii.gz", "run"))
    write(Path(fixed), pair[0])
    write(Path(moving), pair[1])
    (tmp_path / "points.csv").write_text("x,y,z\n1,2,3\n")
    commands = [
        ["register", "--fixed", fixed, "--moving", moving, "--out", out, "--report", "--model", str(coarse_model)],
        ["register", "--from", out, "--out", f"{out}-again"],
        ["report", out, f"{out}-again", "--out", str(tmp_path / "sheet.html")],
        ["apply", "--reference", fixed, "--input", moving, "--transform", out, "--output", str(tmp_path / "o.nii.gz")],
        ["points", "--input", str(tmp_path / "points.csv"), "--transform", out, "--to", "moving",
         "--output", str(tmp_path / "q.csv")],
        ["models", "list"],
        ["info", "--json"],
    ]  # fmt: skip
    done = python(f"{GUARD}\ncommands = {commands!r}\n{WORK}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sheet.html").exists()
