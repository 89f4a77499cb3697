"""A wheel, installed where there is no compiler, no home and nothing can be written, runs the demo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="takes rights away as on Linux")]


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """An environment with the wheel alone; what it depends on is that of these tests, but not their checkout."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        compiled = ["-C", "build-dir=core"] if (ROOT / "core" / "CMakeCache.txt").exists() else []  # by scripts/setup
        subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", *compiled, "-w", folder, ROOT], check=True)
        (wheel,) = folder.glob("*.whl")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
        python = folder / "env" / "bin" / "python"
        subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
        (packages,) = (folder / "env").glob("lib/python*/site-packages")
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        subprocess.run(["chmod", "-R", "a-w", folder / "env"], check=True)
        yield folder / "env"
    finally:
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
        shutil.rmtree(folder)


def run(installed: Path, *arguments: str, cwd: str) -> subprocess.CompletedProcess[str]:
    """Run the command without HOME and a search path; root without its right to write anywhere."""
    bounded = [shutil.which("setpriv") or "setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []
    command = [*bounded, installed / "bin" / "python", "-m", "lightcrcf", *arguments]
    environment = {"PATH": "", "LANG": "C.UTF-8"}
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_demo_runs_from_a_wheel(installed: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        done = run(installed, "demo", "--out", out, "--json", cwd="/")
        assert done.returncode == 0, done.stderr
        assert (Path(out) / "report.html").is_file()


def test_the_wheel_holds_the_core_its_types_and_the_weights(installed: Path) -> None:
    (package,) = installed.glob("lib/python*/site-packages/lightcrcf")
    assert list(package.glob("_core*.so"))
    assert (package / "_core.pyi").is_file()
    assert list(package.rglob("*.safetensors"))
    assert not list(package.rglob("*.cpp"))
