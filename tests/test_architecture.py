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
PACKAGE = ROOT / "src" / "lightcrcf"
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LAYERS = {
    "errors": 0,
    "files": 0,
    "geometry": 1,
    "evaluation": 2,
    "weights": 2,
    "network": 2,
    "volumes": 2,
    "transforms": 2,
    "engines": 3,
    "pipeline": 4,
    "training": 4,
    "report": 5,
    "cohort": 5,
    "benchmark": 5,
    "cli": 6,
}
SIDEWAYS = {  # within a layer: who may look at whom
    ("transforms", "volumes"),  # resampling takes and gives volumes
    ("evaluation", "transforms"),  # fields are judged too
    ("evaluation", "volumes"),  # labels come as volumes
    ("weights", "network"),  # a file holds a configuration
    ("benchmark", "cohort"),  # ways to fuse labels are measured on the same moved atlases
    ("cohort", "report"),  # each pair of a cohort may get its page
    ("benchmark", "report"),  # robustness writes all that a run can leave
    ("training", "pipeline"),  # training sees what a registration would see
    ("files", "errors"),
}
LONGEST_FILE, LONGEST_FUNCTION = 400, 50
LONG_FUNCTIONS = {
    "cli/commands/cohorts/batch.py:batch": "typer takes a command's options from its arguments",
    "cli/commands/cohorts/bids.py:bids": "typer takes a command's options from its arguments",
    "cli/commands/cohorts/label.py:label": "typer takes a command's options from its arguments",
    "cli/commands/images/register.py:register": "typer takes a command's options from its arguments",
}


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


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
            allowed = LAYERS[words[1]] < LAYERS[here] or (here, words[1]) in SIDEWAYS
            assert allowed, f"{here} ({LAYERS[here]}) imports {imported} ({LAYERS[words[1]]})"


def test_pytorch_is_met_only_where_it_may_be() -> None:
    met = {name(path) for path in FILES if any(i.split(".")[0] == "torch" for i in imports(parsed(path)))}
    allowed = {n for n in map(name, FILES) if n.startswith(("network/", "training/"))} | {"engines/torch.py"}
    allowed |= {"lightcrcf_bench/accuracy/networks.py", "lightcrcf_bench/accuracy/peers.py"}  # scripts that run in other tools' environments
    assert met <= allowed - {"network/config.py"}


# What gives a hazard away, and the only files that may hold it.
DOORS: dict[str, tuple[str, set[str]]] = {
    "LPS": (
        r"-1(\.0)?, *-1(\.0)?, *\+?1|\bLPS_|\b(Set|Get)(Origin|Direction)\b",
        {"transforms/itk.py", "volumes/formats/itk_images.py"},
    ),
    "safetensors": (r"^ *(from|import) safetensors", {"weights/store.py"}),
    "unpickling": (r"\b(import|from) (pickle|dill|joblib|shelve)\b|\btorch\.load\(|allow_pickle=True", set()),
    "ITK transforms": (
        r"\b(ReadTransform|WriteTransform|AffineTransform)\b",
        {"transforms/itk.py", "lightcrcf_bench/accuracy/peers.py"},
    ),
    "sampling": (
        r"\bdef .*(trilinear|catmull|bilinear)|\bmap_coordinates\b|\bgrid_sample\(",
        {"geometry/sampling.py", "network/sampling.py", "lightcrcf_bench/accuracy/networks.py"},
    ),
    "downloads": (r"\b(urllib\.request|requests|httpx|urlopen|http\.client|hf_hub)\b", set()),
    "shells": (r"shell=True|os\.system\(", set()),
    "asserts on input": (r"^ *assert ", set()),
}


@pytest.mark.parametrize("hazard", DOORS)
def test_every_hazard_has_one_door(hazard: str) -> None:
    sign, doors = DOORS[hazard]
    met = {name(path) for path in FILES if re.search(sign, path.read_text(encoding="utf-8"), re.MULTILINE)}
    assert met <= doors, f"{hazard} outside of {sorted(doors)}: {sorted(met - doors)}"


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", FILES, ids=name)
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
    words = ("lightcrcf", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_public_names_are_listed_and_exist(path: Path) -> None:
    module = importlib.import_module(module_of(path))
    if path.name == "__init__.py" and not hasattr(module, "__all__"):
        assert not any(True for _ in imports(parsed(path))), "a package that exports lists what it exports"
        return
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_only_listed_names_are_imported_from_elsewhere(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lightcrcf."):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                is_module = hasattr(module, "__path__") and (PACKAGE.parent / module_path(node, alias)).exists()
                assert is_module or alias.name in module.__all__, f"{alias.name} of {node.module} is not public"


def module_path(node: ast.ImportFrom, alias: ast.alias) -> Path:
    return Path(*str(node.module).split("."), f"{alias.name}.py")


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
