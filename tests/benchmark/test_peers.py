"""Other people's tools on a small volume: what they leave is read as they mean it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, read, write
from lightcrcf_bench.accuracy import peers
from lightcrcf_bench.accuracy.methods import read_chain
from lightcrcf_bench.smoothness.scores import distances, points_of, volume_change

GREEDY_AFFINE, GREEDY_DEFORM = "-dof 12 -ia-image-centers -m SSD -n 20", "-m SSD -n 10"


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path]:
    """Ellipsoids of other size and place, on anisotropic grids that are turned and of other orientation."""
    turned = np.array([[-0.8, -0.72, 0, 30], [0.6, -0.96, 0, 10], [0, 0, 1.5, 4], [0, 0, 0, 1]])
    other = np.array([[0, 1.1, 0, 2.0], [1.3, 0, 0, -9], [0, 0, 1.4, 4], [0, 0, 0, 1]])
    files = []
    for name, shape, affine, radius in (("fixed", (22, 26, 18), turned, 0.55), ("moving", (24, 21, 19), other, 0.7)):
        position = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
        distance = np.sqrt((position**2 * np.array([1.0, 0.8, 1.2])[:, None, None, None]).sum(axis=0))
        data = (100 * np.exp(-((distance / radius) ** 2))).astype(np.float32)
        files.append(tmp_path / f"{name}.nii.gz")
        write(files[-1], Volume(data, Grid(shape, affine)))
        labels = (distance < radius).astype(np.int16) * (1 + (position[0] > 0.1))
        write(tmp_path / f"{name}_labels.nii.gz", Volume(labels.astype(np.int16), Grid(shape, affine)))
    return files[0], files[1]


def run(tool: str, images: tuple[Path, Path], out: Path, **stages: str) -> None:
    words = [f"--{name}={value}" for name, value in stages.items()]
    peers.main([tool, "--fixed", str(images[0]), "--moving", str(images[1]), "--out", str(out), *words])


def moved_by_chain(tool: str, images: tuple[Path, Path], out: Path) -> tuple[Volume, Path, Path]:
    labels, moved = images[1].with_name("moving_labels.nii.gz"), out / "labels.nii.gz"
    return read_chain(tool, out).resample(read(labels), read(images[0]).grid, "nearest"), labels, moved


@pytest.mark.parametrize("deform", ["", "SyN"])
def test_labels_move_as_ants_moves_them(
    deform: str, images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ants = pytest.importorskip("ants", reason="needs the extra `peers`")
    for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "ANTS_RANDOM_SEED"):
        monkeypatch.setenv(name, "1")  # so that it is restored
    out = tmp_path / "out"
    run("ants", images, out, affine="Affine", deform=deform)
    ours, labels, moved = moved_by_chain("ants", images, out)
    transforms = [str(out / name) for name in ((peers.WARP, peers.AFFINE) if deform else (peers.AFFINE,))]
    fixed, moving = ants.image_read(str(images[0])), ants.image_read(str(labels))
    ants.image_write(ants.apply_transforms(fixed, moving, transforms, interpolator="nearestNeighbor"), str(moved))
    assert len(np.unique(ours.data)) == 3
    assert np.mean(ours.data != read(moved).data) < 1e-3
    left = {peers.AFFINE, peers.MOVED, peers.SUMMARY, "labels.nii.gz"} | ({peers.WARP} if deform else set())
    assert {path.name for path in out.iterdir()} == left
    told = json.loads((out / peers.SUMMARY).read_text())
    assert told["call_seconds"] > 0
    assert told["versions"].keys() == {"antspyx"}


@pytest.mark.parametrize(
    ("affine", "deform"), [(GREEDY_AFFINE, GREEDY_DEFORM), (GREEDY_AFFINE, ""), ("", GREEDY_DEFORM)]
)
def test_labels_move_as_greedy_moves_them(affine: str, deform: str, images: tuple[Path, Path], tmp_path: Path) -> None:
    greedy = pytest.importorskip("picsl_greedy", reason="needs the extra `peers`")
    out = tmp_path / "out"
    run("greedy", images, out, affine=affine, deform=deform)
    ours, labels, moved = moved_by_chain("greedy", images, out)
    chain = " ".join(str(out / name) for name in ((peers.WARP, peers.AFFINE) if deform else (peers.AFFINE,)))
    greedy.GreedyFloat3D().execute(f"-rf {images[0]} -ri NN -rm {labels} {moved} -r {chain}")
    assert len(np.unique(ours.data)) == 3
    assert np.mean(ours.data != read(moved).data) < 1e-3
    assert json.loads((out / peers.SUMMARY).read_text())["versions"].keys() == {"picsl_greedy"}


@pytest.mark.parametrize(
    ("tool", "affine", "rough", "smooth"),
    [
        ("ants", "Affine", "SyN 1.5 0", "SyN 3 1.5"),
        ("greedy", GREEDY_AFFINE, f"{GREEDY_DEFORM} -s 1.2vox 0.4vox -wp 0", f"{GREEDY_DEFORM} -s 4vox 2vox -wp 0"),
    ],
)
def test_smoothing_and_masks_reach_the_tools(
    tool: str, affine: str, rough: str, smooth: str, images: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip({"ants": "ants", "greedy": "picsl_greedy"}[tool], reason="needs the extra `peers`")
    for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "ANTS_RANDOM_SEED"):
        monkeypatch.setenv(name, "1")  # so that it is restored
    fixed = read(images[0])
    write(tmp_path / "mask.nii.gz", Volume((np.indices(fixed.grid.shape)[0] < 6).astype(np.uint8), fixed.grid))
    everything, found = np.ones(fixed.grid.shape, bool), []
    for deform, words in ((rough, {}), (smooth, {}), (rough, {"fixed-mask": str(tmp_path / "mask.nii.gz")})):
        out = tmp_path / f"out{len(found)}"
        run(tool, images, out, affine=affine, deform=deform, **words)
        found.append(read_chain(tool, out))
    spreads = [volume_change(chain, fixed.grid, everything)["sdlogj"] for chain in found[:2]]
    assert spreads[1] < 0.7 * spreads[0]
    points = points_of(everything, fixed.grid)
    assert distances(found[2], points, found[0].points(points)).mean() > 0.5


def test_demons_bring_structures_closer(images: tuple[Path, Path], tmp_path: Path) -> None:
    """SimpleITK is ours too, so this tool can be tried here; its environment has the same."""
    out = tmp_path / "out"
    run("demons", images, out, affine="geometry 50", deform="20x10 1.0")
    fixed, moving = (read(image.with_name(f"{image.name[:-7]}_labels.nii.gz")) for image in images)
    moved = read_chain("demons", out).resample(moving, fixed.grid, "nearest")
    before = Chain(Affine.identity(), None, Affine.identity()).resample(moving, fixed.grid, "nearest")
    overlaps = [float(np.mean((volume.data > 0) == (fixed.data > 0))) for volume in (before, moved)]
    assert overlaps[1] > overlaps[0]
    image = read_chain("demons", out).resample(read(images[1]), fixed.grid, "linear").data
    difference = np.abs(image - read(out / peers.MOVED).data)
    assert np.quantile(difference, 0.99) < 0.5  # of 100: it moves as SimpleITK moves it


def test_a_tool_that_is_not_installed_is_named(
    images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "picsl_greedy", None)
    with pytest.raises(SystemExit, match=r"picsl_greedy.*--environments"):
        run("greedy", images, tmp_path / "out", deform="-m SSD -n 1")


def test_the_script_needs_nothing_of_ours(tmp_path: Path) -> None:
    """It runs in environments that have only the tool."""
    for script in ("peers.py", "networks.py"):
        text = Path(peers.__file__).with_name(script).read_text(encoding="utf-8")
        assert "import lightcrcf" not in text
        assert "from lightcrcf" not in text
