"""Errors go from one process to another whole."""

from __future__ import annotations

import copy
import pickle
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from lightcrcf.errors import InputError, InputErrors, MemoryEstimateError, QualityError, UsageError, how_to_install


@pytest.mark.parametrize("kind", [InputError, MemoryEstimateError, QualityError, UsageError])
def test_errors_survive_the_way_between_processes(kind: type[InputError]) -> None:
    error = kind("a.nii", expected="this", got="that", remedy="mend it")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert (str(twin), twin.subject, twin.remedy) == (str(error), "a.nii", "mend it")


def test_several_errors_survive_it_too() -> None:
    each = [InputError(key, expected="this", got="that", remedy="mend it") for key in ("[a]", "[b]")]
    error = InputErrors("a.toml", expected="no mistake", each=each)
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.summary, len(twin.each)) == (str(error), "a.toml: expected no mistake, got 2", 2)
    assert "[a]: expected this, got that; mend it; [b]" in str(error)


ROOT = Path(__file__).resolve().parents[1]


def test_extras_are_installed_from_a_clone_or_a_wheel() -> None:
    wheel = f"lightcrcf-{version('lightcrcf')}-py3-none-any.whl"
    told = how_to_install("export")
    assert 'pip install ".[export]"' in told
    assert f'pip install "{wheel}[export]"' in told


@pytest.mark.parametrize("folder", ["src", "docs", "recipes", "benchmarks"])
def test_nothing_names_a_package_that_the_index_does_not_have(folder: str) -> None:
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".md", ".toml", ".html") and path.name != "pyproject.toml":  # which must name it
            assert not re.search(r"\blightcrcf\[", path.read_text(encoding="utf-8")), path


def test_every_extra_that_an_error_names_exists() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r"how_to_install\([\"'](\w+)", text)}
    assert {"train", "export", "cluster", "demo"} <= named
    assert all(re.search(rf"^{name} = \[", project, re.MULTILINE) for name in named)
