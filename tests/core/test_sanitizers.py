"""The C++ tests of the native core under the sanitizers of the compiler."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "core"


def tool(name: str) -> str | None:
    """Return the path of a program, which may lie beside Python."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def run(*command: object) -> None:
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace", timeout=600)  # GCC's quotes
    assert done.returncode == 0, f"{command}\n{(done.stdout + done.stderr)[-6000:]}"


def links(sanitizer: str, folder: Path) -> bool:
    """Return whether the compiler has a sanitizer and its library."""
    compiler = os.environ.get("CXX") or tool("c++") or tool("g++") or tool("clang++")
    if compiler is None or tool("cmake") is None:
        return False
    source = folder / "empty.cpp"
    source.write_text("int main() {}\n")
    command = [*compiler.split(), f"-fsanitize={sanitizer}", str(source), "-o", str(folder / "empty")]
    return (
        subprocess.run(command, capture_output=True).returncode == 0
        and subprocess.run([folder / "empty"], capture_output=True).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_kernels_and_loops(sanitizer: str, tmp_path: Path) -> None:
    """For all instruction sets; races are the same in each, so that one is enough for them."""
    if not links(sanitizer, tmp_path):
        pytest.skip(f"no CMake, or no compiler with -fsanitize={sanitizer}")
    generator = ["-G", "Ninja"] if tool("ninja") else []
    if generator:
        generator.append(f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}")
    dispatch = "OFF" if sanitizer == "thread" else "ON"
    options = [f"-DLIGHTCRCF_SANITIZE={sanitizer}", f"-DLIGHTCRCF_DISPATCH={dispatch}", "-DLIGHTCRCF_TESTS=ON"]
    options += ["-DLIGHTCRCF_PYTHON=OFF", f"-DPython_EXECUTABLE={sys.executable}"]
    build = tmp_path / "build"
    run(tool("cmake"), *generator, "-S", CORE, "-B", build, *options)
    run(tool("cmake"), "--build", build, "--parallel", str(os.cpu_count()))
    run(tool("ctest"), "--test-dir", build, "--output-on-failure", "--no-tests=error")


def test_each_kernel_has_a_call() -> None:
    declared = {
        name
        for header in CORE.glob("*/*.hpp")
        if header.parent.name not in ("base", "tests")
        for name in re.findall(r"^LIGHTCRCF_(?:BFLOAT16_)?KERNEL\(\w+, (\w+),", header.read_text(), re.MULTILINE)
    }
    called = {
        name
        for source in CORE.glob("tests/kernels_*.cpp")
        for name in re.findall(r"^(?:BFLOAT16_)?KERNEL\((\w+),", source.read_text(), re.MULTILINE)
    }
    assert declared
    assert declared == called, "core/tests/kernels_FOLDER.cpp needs a KERNEL line for each kernel"
