"""Tools side by side, on two tiny persons, with the processes replaced; networks at their published sizes."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.transforms.itk import AFFINE_NAME, FIELD_NAME, write_affine, write_field
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.accuracy import comparison, methods, peers
from lightcrcf_bench.accuracy.comparison import DATA_SETS, compare, measure_forwards
from lightcrcf_bench.accuracy.environments import Environments
from lightcrcf_bench.accuracy.methods import BenchSettings
from lightcrcf_bench.accuracy.protocols import PROTOCOLS
from lightcrcf_bench.measure import CommandError, Measured
from lightcrcf_bench.publish import cost_figures
from lightcrcf_bench.publish.peer_views import PEER_VIEWS, time_ratio
from lightcrcf_bench.publish.render import main
from lightcrcf_bench.records import schema as records
from lightcrcf_bench.records.schema import Forward, Record

GRID = Grid((8, 9, 10), np.diag([1.0, 2.0, 3.0, 1.0]))
ROW = PROTOCOLS["abdomen"]
METHODS = ["identity", "elastix-bspline", "demons", "lightcrcf-fast"]
FORWARDS = [
    Forward(name="lightcrcf", title="LightCRCF", shape=(16, 16, 16), threads=2, parameters=111752, gmac=13,
            each_ms=(100, 300, 200)),
    Forward(name="eoir-8", title="EOIR-8 size", shape=(16, 16, 16), threads=2, parameters=111208, gmac=187,
            each_ms=(4000, 2000)),
    Forward(name="lapirn", title="LapIRN size", shape=(16, 16, 16), threads=2, failure="not enough memory"),
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / ROW.folder
    folder.mkdir(parents=True)
    labels = np.zeros(GRID.shape, dtype=np.int16)
    labels[2:6, 3:7, 3:8] = 1
    for subject in {name for pair in ROW.data.pairs for name in pair}:
        for name in (ROW.image, ROW.labels):
            write(folder / name.format(subject=subject), Volume(labels, GRID))
    return folder.parent


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces processes: every tool leaves nothing moved; elastix cannot be installed."""
    seen: list[str] = []

    def run(
        command: Sequence[str], limit_seconds: float | None = None, environment: Mapping[str, str] | None = None
    ) -> Measured:
        words = dict(itertools.pairwise(command))
        tool = "ours" if "register" in command else command[3]
        seen.append(tool)
        out = Path(words["--out"])
        out.mkdir(parents=True, exist_ok=True)
        write_field(out / FIELD_NAME, DisplacementField.zero(GRID))
        if tool == "ours":
            write_affine(out / AFFINE_NAME, Affine.identity())
            told = {"versions": {"lightcrcf": "1"}, "model": {"name": None}}
            told |= {"affine": {}, "engine": None, "refinement": None, "diffeomorphic": None}
            (out / "run.json").write_text(json.dumps(told))
        else:
            (out / peers.SUMMARY).write_text(json.dumps({"call_seconds": 2.0, "versions": {tool: "1"}}))
        return Measured(seconds=2.0 if tool == "ours" else 8.0, peak_mib=100.0, load_before=0.0)

    def python(_self: Environments, tool: str) -> Path:
        if tool == "elastix":
            raise comparison.InputError(tool, expected="a wheel", got="none", remedy="none")
        return Path("python")

    monkeypatch.setattr(methods, "run", run)
    monkeypatch.setattr(Environments, "python", python)
    return seen


def compared(data: Path, tmp_path: Path) -> Record:
    bench = BenchSettings(tmp_path / "work", threads=2, environments=Environments(tmp_path))
    return compare("chaos-t2", data, METHODS, bench, count=2, forwards=FORWARDS, log=lambda _: None)


def test_tools_run_in_turn_and_what_cannot_be_installed_is_told(data: Path, order: list[str], tmp_path: Path) -> None:
    record = compared(data, tmp_path)
    assert order == ["ours", "demons", "ours", "demons", "ours"]  # a first run of ours does not count
    assert record.name == "chaos-t2-peers"
    assert record.data.pairs == ROW.data.pairs[:2]
    assert time_ratio(record, "demons", "lightcrcf-fast") == 4.0
    assert time_ratio(record, "elastix-bspline", "lightcrcf-fast") is None
    text = PEER_VIEWS["ratios"](record)
    assert "elastix B-spline (2 of 2 failed)" in text
    assert "elastix B-spline failed: elastix: expected a wheel, got none" in text
    assert "| SimpleITK demons | 1.000 | 0 | 8.0 | 100 | 4.00 |" in text


def test_an_interrupted_comparison_goes_on(data: Path, order: list[str], tmp_path: Path) -> None:
    bench = BenchSettings(tmp_path / "work", threads=2, reuse=True, environments=Environments(tmp_path))
    first, again = (compare("chaos-t2", data, METHODS, bench, count=n, log=lambda _: None) for n in (1, 2))
    assert order == ["ours", "demons", "ours", "ours", "ours", "demons", "ours"]  # demons not a second time
    assert again.of("demons")[:1] == first.of("demons")
    assert len(again.timings) == 4


def test_forward_passes_are_set_beside_ours(data: Path, order: list[str], tmp_path: Path) -> None:
    record = compared(data, tmp_path)
    text = PEER_VIEWS["forwards"](record)
    assert "| EOIR-8 size | 111,208 | 187 | 3000 | 15.0 |" in text
    assert "| LapIRN size (not enough memory) |" in text
    assert PEER_VIEWS["forwards"](record.model_copy(update={"forwards": ()})) == "No forward passes in this record."


def test_the_record_is_written_with_its_forwards_and_drawn(data: Path, order: list[str], tmp_path: Path) -> None:
    record = compared(data, tmp_path).model_copy(update={"name": "oasis-peers"})
    path = tmp_path / "benchmarks/history/2026-03-01-oasis-peers.json"
    records.write(path, record)
    assert records.read(path) == record
    page = tmp_path / "README.md"
    page.write_text("<!-- record: oasis-peers ratios -->\n<!-- end of record -->\n")
    performance = tmp_path / "docs/performance.md"
    performance.parent.mkdir()
    performance.write_text("<!-- record: oasis-peers figures -->\n<!-- end of record -->\n")
    assert main(["--root", str(tmp_path), "--check"]) == 1
    assert main(["--root", str(tmp_path)]) == 0
    drawn = (tmp_path / cost_figures.FIGURES["oasis-peers"][0]).read_bytes()
    assert main(["--root", str(tmp_path), "--check"]) == 0
    assert "SimpleITK demons" in page.read_text()
    linked = re.findall(r"\]\((.*?)\)", performance.read_text())
    assert linked == ["figures/oasis-peers.svg", "figures/oasis-ratios.svg"]
    assert all((performance.parent / link).is_file() for link in linked)
    (tmp_path / cost_figures.FIGURES["oasis-peers"][0]).unlink()
    assert main(["--root", str(tmp_path)]) == 0
    assert (tmp_path / cost_figures.FIGURES["oasis-peers"][0]).read_bytes() == drawn


def test_what_is_not_measured_yet_is_told_in_its_place(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("<!-- record: core compute -->\n<!-- end of record -->\n")
    assert main(["--root", str(tmp_path)]) == 0
    assert "Not measured yet." in page.read_text()


def test_every_data_set_has_a_protocol() -> None:
    assert all(PROTOCOLS[row].folder == name for name, row in DATA_SETS.items())


def test_forward_passes_run_in_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[str] = []

    def run(command: Sequence[str], environment: Mapping[str, str]) -> Measured:
        name = command[3]
        seen.append(name)
        if name == "lapirn":
            raise CommandError("killed")
        out = next(word for word in command if word.startswith("--out=")).removeprefix("--out=")
        Path(out).write_text(json.dumps({"parameters": 5, "gmac": 1, "each_ms": [7.0], "versions": {"torch": "2"}}))
        return Measured(1.0, 50.0 + len(seen), 0.0)

    def measured(task: str, options: Mapping[str, Any], threads: int) -> tuple[Any, Measured]:
        each = [3.0] * options.get("repetitions", 0)
        told = {"times": {"each_ms": each}, "gflop": 26.0, "parameters": 111752, "versions": {}}
        return told, Measured(1.0, 40.0, 0.0)

    monkeypatch.setattr(comparison, "run", run)
    monkeypatch.setattr(comparison, "measured", measured)
    forwards = measure_forwards("brain", (16, 16, 16), 2, Environments(None), rounds=2, log=lambda _: None)
    assert seen == ["voxelmorph", "eoir-8", "lapirn", "transmorph"] * 2
    by_name = {forward.name: forward for forward in forwards}
    assert (by_name["lightcrcf"].each_ms, by_name["lightcrcf"].gmac) == ((3.0,) * 20, 13.0)
    assert by_name["eoir-8"].each_ms == (7.0, 7.0)
    assert by_name["eoir-8"].peak_mib == 56.0
    assert by_name["lapirn"].failure == "killed"


@pytest.mark.parametrize(("name", "parameters", "gmac"), [("eoir-8", 111_208, 186.7), ("lapirn", 923_748, None)])
def test_networks_have_their_published_sizes(name: str, parameters: int, gmac: float | None) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    from lightcrcf_bench.accuracy.networks import NETWORKS, multiply_adds

    shape = (32, 48, 16)
    network = NETWORKS[name](shape).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    image = torch.rand(1, 1, *shape)
    with torch.no_grad():
        counted = multiply_adds(network, image, image)
        assert network(image, image).shape == (1, 3, *shape)
    if gmac is not None:
        assert counted * (160 * 192 * 160) / np.prod(shape) == pytest.approx(gmac, abs=0.1)


def test_transmorph_has_its_published_size_to_a_percent() -> None:
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    from lightcrcf_bench.accuracy.networks import transmorph

    shape = (32, 64, 32)
    network = transmorph(shape).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(46.7e6, rel=0.01)
    image = torch.rand(1, 1, *shape)
    with torch.no_grad():
        assert network(image, image).shape == (1, 3, *shape)
