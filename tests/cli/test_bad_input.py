"""Bad input through the command line: its exit code, one line on stderr, and nothing left behind."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.weights import store

Good = tuple[Path, Path]


def save(folder: Path, data: np.ndarray, *, name: str = "bad.nii.gz", affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), folder / name)
    return folder / name


def patched(good: Path, folder: Path, patches: dict[int, bytes], *, name: str = "bad.nii") -> Path:
    """A copy of a good file, not compressed, with bytes of its header replaced."""
    content = bytearray(gzip.decompress(good.read_bytes()))
    for offset, piece in patches.items():
        content[offset : offset + len(piece)] = piece
    path = folder / name
    path.write_bytes(gzip.compress(bytes(content), 1) if name.endswith(".gz") else bytes(content))
    return path


def missing(_good: Path, folder: Path) -> Path:
    return folder / "bad.nii.gz"


def empty(_good: Path, folder: Path) -> Path:
    (folder / "bad.nii.gz").touch()
    return folder / "bad.nii.gz"


def empty_folder(_good: Path, folder: Path) -> Path:
    (folder / "bad").mkdir()
    return folder / "bad"


def truncated_gzip(good: Path, folder: Path) -> Path:
    (folder / "bad.nii.gz").write_bytes(good.read_bytes()[:-4000])
    return folder / "bad.nii.gz"


def damaged_gzip(good: Path, folder: Path) -> Path:
    content = bytearray(good.read_bytes())
    content[5000:5200] = bytes(200)
    (folder / "bad.nii.gz").write_bytes(content)
    return folder / "bad.nii.gz"


def truncated(good: Path, folder: Path) -> Path:
    path = patched(good, folder, {})
    path.write_bytes(path.read_bytes()[:-100])
    return path


def truncated_header(good: Path, folder: Path) -> Path:
    path = patched(good, folder, {})
    path.write_bytes(path.read_bytes()[:300])
    return path


def text_called_nifti(_good: Path, folder: Path) -> Path:
    (folder / "bad.nii.gz").write_text("<html>404: not found</html>" * 40, encoding="utf-8")
    return folder / "bad.nii.gz"


def text_called_nrrd(_good: Path, folder: Path) -> Path:
    (folder / "bad.nrrd").write_text("no image at all\n" * 40, encoding="utf-8")
    return folder / "bad.nrrd"


def unknown_suffix(_good: Path, folder: Path) -> Path:
    (folder / "bad.xyz").write_bytes(os.urandom(3000))
    return folder / "bad.xyz"


def terabytes(good: Path, folder: Path) -> Path:
    """30000 voxels along each axis, as int16: 54 TB."""
    return patched(good, folder, {42: np.array([30000] * 3, "<i2").tobytes()}, name="bad.nii.gz")


def negative_size(good: Path, folder: Path) -> Path:
    return patched(good, folder, {42: np.array([-47], "<i2").tobytes()})


def zero_spacing(good: Path, folder: Path) -> Path:
    return patched(good, folder, {80: np.array([0, 3, 3], "<f4").tobytes()})


def nan_in_the_sform(good: Path, folder: Path) -> Path:
    return patched(good, folder, {280: np.array([np.nan] * 12, "<f4").tobytes(), 252: bytes(2)})


def constant(_good: Path, folder: Path) -> Path:
    return save(folder, np.full((20, 22, 24), 7, np.int16))


def all_nan(_good: Path, folder: Path) -> Path:
    return save(folder, np.full((20, 22, 24), np.nan, np.float32))


def all_infinite(_good: Path, folder: Path) -> Path:
    return save(folder, np.random.default_rng(0).uniform(1e299, 1e300, (20, 22, 24)))  # more than float32 holds


def constant_but_for_nan(_good: Path, folder: Path) -> Path:
    data = np.full((20, 22, 24), 7, np.float32)
    data[3:9, 4:9, 5:9] = np.nan
    return save(folder, data)


def flat(_good: Path, folder: Path) -> Path:
    return save(folder, np.arange(600, dtype=np.int16).reshape(20, 30))


def one_slice(_good: Path, folder: Path) -> Path:
    return save(folder, np.arange(600, dtype=np.int16).reshape(20, 30, 1))


def time_series(_good: Path, folder: Path) -> Path:
    return save(folder, np.random.default_rng(0).random((8, 9, 10, 6)).astype(np.float32))


def colours(_good: Path, folder: Path) -> Path:
    return save(folder, np.zeros((8, 9, 10), [("R", "u1"), ("G", "u1"), ("B", "u1")]))


def complex_numbers(_good: Path, folder: Path) -> Path:
    return save(folder, np.ones((8, 9, 10), np.complex64))


def device(_good: Path, _folder: Path) -> Path:
    return Path(os.devnull)


BAD = [
    *(missing, empty, empty_folder, truncated_gzip, damaged_gzip, truncated, truncated_header, text_called_nifti),
    *(text_called_nrrd, unknown_suffix, negative_size, zero_spacing, nan_in_the_sform, constant, all_nan),
    *(all_infinite, constant_but_for_nan, flat, one_slice, time_series, colours, complex_numbers, terabytes, device),
]


def register(fixed: Path, moving: Path, out: Path, *options: str) -> list[str]:
    return ["register", "--fixed", str(fixed), "--moving", str(moving), "--out", str(out), *options]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must fail so: refused(code, arguments) -> its one line; `begun`: after what begins."""

    def check(code: int, arguments: list[str], *, begun: bool = False) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert run(arguments) == code
        out, err = capsys.readouterr()
        assert out == ""
        title = "registering {4} with {2} ...\n".format(*arguments) if begun else ""
        assert err.startswith(title)
        err = err.removeprefix(title)
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert re.fullmatch(r"error: .+: expected .+, got .+; .+\n", err), err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return check


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_bad_image_is_3(
    role: str, make: Callable[[Path, Path], Path], good: Good, refused: Callable, tmp_path: Path
) -> None:
    bad = make(good[0], tmp_path)
    fixed, moving = (bad, good[1]) if role == "fixed" else (good[0], bad)
    assert bad.name in refused(3, register(fixed, moving, tmp_path / "out"))


@pytest.mark.parametrize("option", ["--moving-labels", "--also", "--fixed-mask", "--moving-mask"])
@pytest.mark.parametrize("make", [missing, truncated_gzip, time_series], ids=lambda make: make.__name__)
def test_so_is_a_bad_companion(
    option: str, make: Callable[[Path, Path], Path], good: Good, refused: Callable, tmp_path: Path
) -> None:
    bad = make(good[0], tmp_path)
    assert bad.name in refused(3, register(*good, tmp_path / "out", option, str(bad)))


def test_a_named_pipe_is_no_file(good: Good, refused: Callable, tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    assert "a pipe" in refused(3, register(tmp_path / "pipe.nii.gz", good[1], tmp_path / "out"))


def test_more_voxels_than_memory_are_5(good: Good, refused: Callable, tmp_path: Path) -> None:
    """A sparse file of four terabytes that really is as long as its header says."""
    path = patched(good[0], tmp_path, {42: np.array([12700] * 3, "<i2").tobytes()})
    try:
        os.truncate(path, 352 + 12700**3 * 2)
    except OSError:
        pytest.skip("the file system has no sparse files of this size")
    assert "memory" in refused(5, register(path, good[1], tmp_path / "out"))


def test_a_nifti_file_by_another_name_is_read(good: Good, tmp_path: Path) -> None:
    """Content goes before names."""
    for name in ("image.nrrd", "image.nii", "image"):
        (tmp_path / name).write_bytes(good[0].read_bytes())
        assert run(register(tmp_path / name, good[1], tmp_path / "out", "--model", "none", "--init", "none")) == 0


def far_apart(good: Good, folder: Path) -> list[str]:
    image = nib.load(good[1])
    affine = image.affine.copy()
    affine[:3, 3] += 800
    far = save(folder, np.asarray(image.dataobj), name="far.nii.gz", affine=affine)
    return register(good[0], far, folder / "out", "--init", "none")


def mask_elsewhere(good: Good, folder: Path) -> list[str]:
    return register(*good, folder / "out", "--fixed-mask", str(good[1]))


def empty_mask(good: Good, folder: Path) -> list[str]:
    image = nib.load(good[0])
    mask = save(folder, np.zeros(image.shape, np.uint8), name="mask.nii.gz", affine=image.affine)
    return register(*good, folder / "out", "--fixed-mask", str(mask))


def mask_beside_the_brain(good: Good, folder: Path) -> list[str]:
    image = nib.load(good[0])
    data = np.zeros(image.shape, np.uint8)
    data[0, 0, 0] = 1
    mask = save(folder, data, name="mask.nii.gz", affine=image.affine)
    return register(*good, folder / "out", "--fixed-mask", str(mask))


def missing_model(good: Good, folder: Path) -> list[str]:
    return register(*good, folder / "out", "--model", str(folder / "none.safetensors"))


def truncated_model(good: Good, folder: Path) -> list[str]:
    shipped = store.load("brain")
    whole, part = folder / "whole.safetensors", folder / "part.safetensors"
    store.write_weights(
        whole, shipped.arrays, name="w", config=shipped.config, preparation=shipped.preparation, content=shipped.content
    )
    part.write_bytes(whole.read_bytes()[:-1000])
    return register(*good, folder / "out", "--model", str(part))


def text_as_model(good: Good, folder: Path) -> list[str]:
    (folder / "m.safetensors").write_text("no weights", encoding="utf-8")
    return register(*good, folder / "out", "--model", str(folder / "m.safetensors"))


def tensors_of_something_else(good: Good, folder: Path) -> list[str]:
    store.write_tensors(folder / "m.safetensors", {"w": np.zeros((3, 3), np.float32)}, {"format": "pt"})
    return register(*good, folder / "out", "--model", str(folder / "m.safetensors"))


def weights_that_do_not_fit_together(good: Good, folder: Path) -> list[str]:
    shipped = store.load("brain")
    arrays = {name: array[..., :1] for name, array in shipped.arrays.items()}
    store.write_weights(
        folder / "m.safetensors",
        arrays,
        name="m",
        config=shipped.config,
        preparation=shipped.preparation,
        content=shipped.content,
    )
    return register(*good, folder / "out", "--model", str(folder / "m.safetensors"))


def image_as_init(good: Good, folder: Path) -> list[str]:
    return register(*good, folder / "out", "--init", str(good[0]))


def damaged_init(good: Good, folder: Path) -> list[str]:
    (folder / "a.tfm").write_text("#Insight Transform File V1.0\nTransform: Affine\n", encoding="ascii")
    return register(*good, folder / "out", "--init", str(folder / "a.tfm"))


def out_below_a_file(good: Good, folder: Path) -> list[str]:
    (folder / "file").touch()
    return register(*good, folder / "file" / "out")


def out_is_a_file(good: Good, folder: Path) -> list[str]:
    (folder / "file").touch()
    return register(*good, folder / "file")


WHILE_AT_WORK = [far_apart, mask_beside_the_brain, image_as_init, damaged_init]


@pytest.mark.parametrize(
    "arguments",
    [
        *(*WHILE_AT_WORK, mask_elsewhere, empty_mask, missing_model, truncated_model, text_as_model),
        *(tensors_of_something_else, weights_that_do_not_fit_together, out_below_a_file, out_is_a_file),
    ],
    ids=lambda make: make.__name__,
)
def test_what_does_not_fit_together_is_3(
    arguments: Callable[[Good, Path], list[str]], good: Good, refused: Callable, tmp_path: Path
) -> None:
    refused(3, arguments(good, tmp_path), begun=arguments in WHILE_AT_WORK)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc, where no folder can be made")
def test_a_folder_that_cannot_be_made_is_3(good: Good, refused: Callable) -> None:
    arguments = register(*good, Path("/proc/no-such-folder"), "--model", "none", "--init", "none")
    assert "/proc" in refused(3, arguments, begun=True)


@pytest.mark.parametrize(
    "options",
    [
        ("--threads", "0"),
        ("--threads", "two"),
        ("--preset", "best"),
        ("--refine", "-1"),
        ("--refine", "some"),
        ("--engine", "onnx"),
        ("--device", "tpu"),
        ("--device", "cuda", "--engine", "native"),
        ("--model", "brain-t9"),
        ("--model", ""),
        ("--force",),
        ("surplus",),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_2(
    options: tuple[str, ...], good: Good, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(good[0]) if word == "FIXED" else word for word in options]
    assert run(register(*good, tmp_path / "out", *words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_an_earlier_result_as_it_was(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, options = tmp_path / "out", ("--model", "none", "--init", "none")
    assert run(register(*good, out, *options)) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr("lightcrcf.registration.save.write_affine", _full_disk)
    capsys.readouterr()
    assert run(register(*good, out, *options)) == 3
    assert "No space left on device" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _full_disk(path: Path, *_arguments: object) -> None:
    raise OSError(28, "No space left on device", str(path))


@pytest.mark.parametrize("make", [missing, truncated_gzip, terabytes], ids=lambda make: make.__name__)
def test_the_command_itself_says_one_line(make: Callable[[Path, Path], Path], good: Good, tmp_path: Path) -> None:
    bad = make(good[0], tmp_path)
    words = [sys.executable, "-m", "lightcrcf", *register(good[0], bad, tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
