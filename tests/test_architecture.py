"""The shape of the code: layers, one door for each hazard, sizes, public names, and imports that cost nothing."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, BENCH = ROOT / "src" / "lightcrcf", ROOT / "benchmarks" / "lightcrcf_bench"
FILES, BENCH_FILES = sorted(PACKAGE.rglob("*.py")), sorted(BENCH.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LAYERS = {
    "errors": 0,
    "progress": 0,
    "files": 1,
    "geometry": 1,
    "network": 1,
    "volumes": 2,
    "weights": 2,
    "memory": 3,
    "transforms": 3,
    "engines": 3,
    "options": 4,
    "evaluation": 4,
    "preprocessing": 5,
    "affine": 6,
    "cache": 6,
    "refinement": 7,
    "quality": 8,
    "run_record": 9,
    "registration": 10,
    "report": 11,
    "demo": 12,
    "batch": 12,
    "bids": 13,
    "template": 13,
    "labels": 14,
    "training": 14,
    "cli": 15,
}
"""Imports go down only: never to a package of the same layer or a higher one."""
LONGEST_FILE, LONGEST_FUNCTION = 400, 40
LONG_FUNCTIONS = {
    "refinement/working_pair.py:prepare": "until the refinement is native",
    "registration/register.py:register": "the options of a registration, one a line",
    "cli/commands/cohorts/batch.py:batch": "typer takes a command's options from its arguments",
    "cli/commands/cohorts/bids.py:bids": "typer takes a command's options from its arguments",
    "cli/commands/images/register.py:register": "typer takes a command's options from its arguments",
}


WIDEST_FOLDER = 14
WIDE_FOLDERS = {"geometry": 18}  # one thin module for each group of kernels


def name(path: Path) -> str:
    return path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else BENCH.parent).as_posix()


def part(path: Path) -> str:
    """The package, or the module, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Absolute names of everything that is imported, anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide layers"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_all_parts_have_a_layer() -> None:
    assert {part(path) for path in FILES} - {"__init__", "__main__"} == set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_down(path: Path) -> None:
    here = part(path)
    if here in ("__init__", "__main__"):
        return
    for imported in imports(parsed(path)):
        words = imported.split(".")
        if words[0] == "lightcrcf" and len(words) > 1 and words[1] in LAYERS and words[1] != here:
            assert LAYERS[words[1]] < LAYERS[here], f"{here} ({LAYERS[here]}) imports {imported} ({LAYERS[words[1]]})"


def test_pytorch_is_met_only_where_it_may_be() -> None:
    met = {name(path) for path in FILES if any(i.split(".")[0] == "torch" for i in imports(parsed(path)))}
    allowed = {n for n in map(name, FILES) if n.startswith(("network/", "training/"))} | {"engines/torch.py"}
    assert met <= allowed - {"network/config.py"}


# What gives a hazard away, and the only files that may hold it.
DOORS: dict[str, tuple[str, set[str]]] = {
    "LPS": (
        r"-1(\.0)?, *-1(\.0)?, *\+?1|\bLPS_|\b(Set|Get)(Origin|Direction)\b",
        {"transforms/itk.py", "volumes/formats/itk_images.py"},
    ),
    "decoding by ITK": (
        r"\bread_(image|series)\b|\bsitk\.(ReadImage|Image(File|Series)Reader)\b",
        {"volumes/formats/itk_images.py", "volumes/formats/dicom.py", "volumes/formats/sandbox.py"},
    ),
    "child processes": (r"^ *(from|import) subprocess\b|\bos\.(fork|exec|spawn)", {"volumes/formats/sandbox.py"}),
    "safetensors": (r"^ *(from|import) safetensors", {"weights/store.py"}),
    "unpickling": (r"\b(import|from) (pickle|dill|joblib|shelve)\b|\btorch\.load\(|allow_pickle=True", set()),
    "ITK transforms": (
        r"\b(ReadTransform|WriteTransform|AffineTransform)\b",
        {"transforms/itk.py"},
    ),
    "sampling": (
        r"\bdef .*(trilinear|catmull|bilinear)|\bmap_coordinates\b|\bgrid_sample\(",
        {"network/sampling.py", "lightcrcf_bench/accuracy/networks.py"},
    ),
    "downloads": (r"\b(urllib\.request|requests|httpx|urlopen|http\.client|hf_hub)\b", set()),
    "shells": (r"shell=True|os\.system\(", set()),
    "markup": (
        r"^ *(from|import) jinja2|\bescape\(|\bMarkup\b|string import Template|</[a-z]+>",
        {"report/render.py"},
    ),
    "asserts on input": (r"^ *assert ", set()),
}


@pytest.mark.parametrize("hazard", DOORS)
def test_every_hazard_has_one_door(hazard: str) -> None:
    sign, doors = DOORS[hazard]
    met = {name(path) for path in FILES if re.search(sign, path.read_text(encoding="utf-8"), re.MULTILINE)}
    assert met <= doors, f"{hazard} outside of {sorted(doors)}: {sorted(met - doors)}"


@pytest.mark.parametrize("path", [*FILES, *BENCH_FILES, *TESTS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", [*FILES, *BENCH_FILES], ids=name)
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
            known = f"{name(path)}:{node.name}" in LONG_FUNCTIONS
            assert (lines > LONGEST_FUNCTION) == known, f"{node.name} has {lines} lines"


def docstring_lines(node: ast.FunctionDef) -> int:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return (first.end_lineno or first.lineno) - first.lineno + 1
    return 0


def module_of(path: Path) -> str:
    root = PACKAGE.parent if path.is_relative_to(PACKAGE) else BENCH.parent
    words = path.relative_to(root).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


@pytest.mark.parametrize("path", [*FILES, *BENCH_FILES], ids=name)
def test_public_names_are_listed_and_exist(path: Path) -> None:
    module = importlib.import_module(module_of(path))
    if path.name == "__init__.py" and not hasattr(module, "__all__"):
        assert not any(True for _ in imports(parsed(path))), "a package that exports lists what it exports"
        return
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.parametrize("path", [*FILES, *BENCH_FILES], ids=name)
def test_only_listed_names_are_imported_from_elsewhere(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("lightcrcf.", "lightcrcf_bench.")):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                is_module = hasattr(module, "__path__") and module_path(node, alias).exists()
                assert is_module or alias.name in module.__all__, f"{alias.name} of {node.module} is not public"


def module_path(node: ast.ImportFrom, alias: ast.alias) -> Path:
    words = str(node.module).split(".")
    root = PACKAGE.parent if words[0] == PACKAGE.name else BENCH.parent
    return root.joinpath(*words, f"{alias.name}.py")


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=name)
def test_no_folder_is_wide(folder: Path) -> None:
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= WIDE_FOLDERS.get(name(folder), WIDEST_FOLDER)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, lightcrcf; print(*sorted(m.split('.')[0] for m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    standard = set(sys.stdlib_module_names) | {"lightcrcf"}
    startup = subprocess.run(
        [sys.executable, "-c", code.replace(", lightcrcf", "")], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(loaded) - standard <= set(startup)


def test_the_public_api_is_what_it_says() -> None:
    import lightcrcf

    assert lightcrcf.__all__ == ["Registration", "__version__", "brain_mask", "label", "register", "register_many"]
    assert all(getattr(lightcrcf, public) is not None for public in lightcrcf.__all__)
    assert set(lightcrcf.__all__) <= set(dir(lightcrcf))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lightcrcf.nothing


def test_errors_are_one_line_whatever_is_put_in() -> None:
    from lightcrcf.errors import InputError

    assert "\n" not in str(InputError("a\nb", expected="c\nd", got="e", remedy="f"))
