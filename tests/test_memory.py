"""Memory is told before the work begins: close to what a run takes, and refused where it is not there."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightcrcf import memory
from lightcrcf.affine.pyramid import count_finest_samples
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.cli.main import run as command
from lightcrcf.engines.bfloat16 import bfloat16_is_native
from lightcrcf.engines.native import NativeEngine
from lightcrcf.errors import MemoryEstimateError, UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.memory import MemoryEstimate, check_memory_estimate
from lightcrcf.preprocessing.foreground import classify
from lightcrcf.registration.register import register
from lightcrcf.volumes import Volume, limits, write
from lightcrcf_bench.measure import run
from lightcrcf_bench.speed.workload import workload

SHAPE = (96, 112, 80)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder, made = tmp_path_factory.mktemp("pair"), workload(SHAPE)
    files = []
    for name, image in (("fixed", made.fixed), ("moving", made.moving)):
        files.append(folder / f"{name}.nii.gz")
        write(files[-1], Volume((1000 * image).astype(np.int16), Grid(SHAPE, np.eye(4))))
    # Compile what is not compiled yet, which takes memory too.
    register(*files, model="none", init="none")
    register(*files, similarity="any", init="none", refine=1)
    if bfloat16_is_native():
        register(*files, model="brain", init="none", preset="fast", precision="bf16")
    return files[0], files[1]


@pytest.mark.parametrize(
    "words",
    [
        ("--model=brain", "--preset=fast"),
        ("--model=brain", "--preset=fast", "--refine=0"),
        ("--model=brain", "--preset=fast", "--precision=bf16"),
        ("--model=none",),  # few voxels: several looks
        ("--model=none", "--refine=4"),  # one
        ("--model=none", "--preset=fast"),
        ("--similarity=any", "--refine=4"),
        ("--model=none", "--refine=4", "--fixed={0}", "--moving={1}"),
        ("--similarity=any", "--refine=4", "--fixed={0}", "--moving={1}"),
    ],
)
def test_the_estimate_is_within_a_fifth(words: tuple[str, ...], pair: tuple[Path, Path], tmp_path: Path) -> None:
    if "--precision=bf16" in words and not bfloat16_is_native():
        pytest.skip("this processor has no bfloat16")
    out = tmp_path / "out"
    files = (f"--fixed={pair[0]}", f"--moving={pair[1]}", f"--out={out}", "--init=none")
    taken = run((sys.executable, "-m", "lightcrcf", "register", *files, *(word.format(*pair) for word in words)))
    told = json.loads((out / "run.json").read_text(encoding="utf-8"))["estimated_memory_mb"]
    assert 0.8 < told / taken.peak_mib < 1.2


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CT of a phantom and another, integers with voxels smaller than those of the working grid."""
    folder, shape = tmp_path_factory.mktemp("large"), (288, 256, 136)
    grid = Grid(shape, np.diag([-0.9, -0.9, 2.0, 1.0]))
    made = workload((144, 128, 68))
    for name, image in (("fixed", made.fixed), ("moving", made.moving)):
        data = np.repeat(np.repeat(np.repeat(image, 2, 0), 2, 1), 2, 2)
        write(folder / f"{name}.nii", Volume((1500 * data - 1000).astype(np.int16), grid))
        padded = (1500 * data - 1000).astype(np.int16)
        padded[:, [*range(9), *range(247, 256)]] = -3024
        write(folder / f"{name}_padded.nii", Volume(padded, grid))
        write(folder / f"{name}_labels.nii", Volume((3 * data).astype(np.uint8), grid))
    register(folder / "fixed.nii", folder / "moving.nii", model="none", inverse=True, refine=1)  # compiles
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("--preset=fast",),
        ("--preset=fast", "--also={}/moving.nii", "--moving-labels={}/moving_labels.nii"),
        ("--refine=1",),
        ("--refine=1", "--inverse"),
        ("--refine=1", "--jacobian"),
        ("--refine=1", "--fixed-mask={}/fixed_labels.nii", "--moving-labels={}/moving_labels.nii"),
    ],
)
def test_the_estimate_for_large_files_is_within_a_fifth(words: tuple[str, ...], large: Path, tmp_path: Path) -> None:
    """Ten million voxels of which the working grid has few: the files and the written field are most of it."""
    files = (f"--fixed={large}/fixed.nii", f"--moving={large}/moving.nii", f"--out={tmp_path}/out", "--model=none")
    taken = run((sys.executable, "-m", "lightcrcf", "register", *files, *(word.format(large) for word in words)))
    told = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["estimated_memory_mb"]
    assert 0.8 < told / taken.peak_mib < 1.2


def test_what_tells_where_images_are_unknown_is_estimated_too(large: Path, tmp_path: Path) -> None:
    told, voxels = [], 288 * 256 * 136
    for kind in ("", "_padded"):
        files = (f"--fixed={large}/fixed{kind}.nii", f"--moving={large}/moving{kind}.nii", f"--out={tmp_path}/out")
        taken = run((sys.executable, "-m", "lightcrcf", "register", *files, "--model=none", "--preset=fast"))
        told.append(json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["estimated_memory_mb"])
        assert 0.8 < told[-1] / taken.peak_mib < 1.2
    assert told[1] - told[0] >= 2 * (1 + 2) * voxels / 2**20  # a mask and an image of int16 each


def test_what_does_not_fit_is_refused_before_the_affine(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: 2**24)
    monkeypatch.setattr(memory, "_resident", lambda: 0)
    out = tmp_path / "out"
    assert command(["register", "--fixed", str(pair[0]), "--moving", str(pair[1]), "--out", str(out)]) == 5
    told = capsys.readouterr().err
    assert "fixed.nii.gz: expected at most 0.0156 GiB" in told
    assert "--coarsen 2" in told
    assert not out.exists()


def test_a_coarser_working_grid_needs_less(pair: tuple[Path, Path]) -> None:
    usual, coarse = (register(*pair, model="none", init="none", preset="fast", coarsen=n).record for n in (1, 2))
    assert coarse.options.coarsen == 2
    ratio = np.divide(coarse.working_grid.spacing_mm, usual.working_grid.spacing_mm)
    assert ratio == pytest.approx([2, 2, 2])
    assert coarse.estimated_memory_mb < usual.estimated_memory_mb


def test_an_impossible_coarseness_is_refused(pair: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="coarsen"):
        register(*pair, coarsen=0)


def test_what_the_process_holds_already_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((50, 60, 70), np.eye(4))
    demand = MemoryEstimate((), grid, grid, network=True, refinement=True)
    monkeypatch.setattr(limits, "available_memory", lambda: demand.bytes - 2**20)
    monkeypatch.setattr(memory, "_resident", lambda: 2**21)
    check_memory_estimate("a volume", demand)
    monkeypatch.setattr(memory, "_resident", lambda: 0)
    with pytest.raises(MemoryEstimateError):
        check_memory_estimate("a volume", demand)


def test_further_pairs_need_their_images_and_terms() -> None:
    grid = Grid((100, 120, 140), np.eye(4))
    one = MemoryEstimate((), grid, grid, network=False, refinement=True)
    same, across, masked = (
        replace(one, further=(kind,), masks=masks).bytes - replace(one, masks=masks).bytes
        for kind, masks in ((False, False), (True, False), (False, True))
    )
    assert 20 * grid.size < same < across < 60 * grid.size
    assert masked > same
    assert replace(one, edges=True).bytes > one.bytes


@pytest.mark.data
@pytest.mark.parametrize("how", ["--similarity=same", "--similarity=any", "--preset=fast"])
def test_the_estimate_for_real_brains_is_within_a_tenth(data: Path, tmp_path: Path, how: str) -> None:
    """A millimetre fine: masked images weigh their edges, contrasts their windows, and looks leave something behind."""
    files = [f"--{role}={data}/oasis/sub-{n}_T1w.nii.gz" for role, n in (("fixed", 1000), ("moving", 1003))]
    words = (*files, "--init=none", how, f"--out={tmp_path}/out")
    taken = run((sys.executable, "-m", "lightcrcf", "register", *words))
    told = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["estimated_memory_mb"]
    assert 0.9 < told / taken.peak_mib < 1.1


def test_several_candidates_need_their_fields() -> None:
    grid = Grid((100, 120, 140), np.eye(4))
    one, several = (
        MemoryEstimate((), grid, grid, network=False, refinement=True, multi_start=each) for each in (False, True)
    )
    assert 6 * grid.size < several.bytes - one.bytes < 24 * grid.size


def test_inverses_and_unfolding_need_the_written_grid() -> None:
    small, large = Grid((10, 12, 14), np.eye(4)), Grid((100, 120, 140), np.eye(4))
    plain = MemoryEstimate((), large, small, network=False, refinement=True)
    assert replace(plain, inverse=True).bytes - plain.bytes > 10 * large.size
    assert replace(plain, field=large.half(), inverse=True).bytes < plain.bytes
    assert replace(plain, diffeomorphic=True).bytes > plain.bytes


def test_what_a_nifti_registration_does_not_use_is_not_imported() -> None:
    """SimpleITK takes 100 MiB and 0.3 s, PyTorch more; Jinja2 is for pages."""
    code = "import sys, lightcrcf.registration.register, lightcrcf.registration.save; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"SimpleITK", "torch", "jinja2", "pandas"} & set(loaded)


def test_the_network_gives_its_memory_back_unless_it_is_shared(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[str] = []
    monkeypatch.setattr(NativeEngine, "release", lambda engine: released.append(engine.name))
    options = {"model": "brain", "init": "none", "preset": "fast"}
    register(*pair, **options)  # type: ignore[arg-type]
    assert released == ["native"]
    register(*pair, **options, shared=RegistrationCache())  # type: ignore[arg-type]
    assert released == ["native"]


def test_the_affine_of_a_large_grid_with_little_in_it_is_counted() -> None:
    data = np.zeros((90, 100, 110), np.uint8)
    data[40:46, 40:47, 40:48] = np.arange(1, 337).reshape(6, 7, 8) % 200 + 1
    volume = Volume(data, Grid(data.shape, np.eye(4)))
    found = classify(volume)
    samples = count_finest_samples((volume, volume), (found, found))
    assert samples == 2 * data.size  # so little is compared voxel by voxel, all over the grid
    small = Grid((16, 16, 16), np.eye(4))
    plain = MemoryEstimate((volume, volume), small, small, network=False, refinement=False)
    assert replace(plain, affine_samples=samples).bytes - plain.bytes > 45 * samples


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_threads_share_the_arenas_of_the_allocator() -> None:
    """Many threads that allocate at once would have an arena each; a registration leaves them two."""
    code = (
        "import ctypes, re, tempfile, threading\n"
        "from lightcrcf.memory import limit_malloc_arenas\n"
        "limit_malloc_arenas()\n"
        "libc, meet = ctypes.CDLL(None), threading.Barrier(6)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "def work():\n"
        "    meet.wait(); libc.malloc(5000); meet.wait()\n"
        "threads = [threading.Thread(target=work) for _ in range(6)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "libc.fopen.restype = ctypes.c_void_p\n"
        "with tempfile.NamedTemporaryFile() as file:\n"
        "    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b'w'))\n"
        "    libc.malloc_info(0, stream); libc.fclose(stream)\n"
        "    print(len(re.findall(r'<heap nr=', open(file.name).read())))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 <= int(done.stdout) <= 2
