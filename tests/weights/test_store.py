from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from lightcrcf.errors import InputError, UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.network.config import VARIANTS, NetworkConfig, tensor_shapes
from lightcrcf.weights.preparation import Preparation, Profile
from lightcrcf.weights.store import Template, load, names, read_tensors, write_tensors, write_weights

Arrays = dict[str, NDArray[np.float32]]
PREPARATION = Preparation((1.5, 1.5, 3.0), "whole", (-500.0, 800.0))
PROFILE = Profile(
    ("other",), ((9.0, 12.0), (8.0, 9.5), (30.0, 31.0)), ((9.0, 12.0), (8.0, 9.5), (90.0, 93.0)), (0.5, 2.0)
)
METADATA = {
    "format": "lightcrcf-weights-3",
    "name": "mine",
    "config": json.dumps(NetworkConfig().to_dict()),
    "preparation": PREPARATION.to_json(),
    "supervision": "none",
    "content": "skull-stripped brain",
}


def arrays_of(config: NetworkConfig) -> Arrays:
    rng = np.random.default_rng(20250117)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in tensor_shapes(config).items()}


def write(path: Path, config: NetworkConfig = VARIANTS["default"], arrays: Arrays | None = None) -> Path:
    write_weights(
        path, arrays or arrays_of(config), name="mine", config=config, preparation=PREPARATION,
        content="skull-stripped brain", profile=PROFILE, supervision="labels",
    )  # fmt: skip
    return path


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_what_is_written_is_read(config: NetworkConfig, tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", config)
    weights = load(path)
    assert (weights.name, weights.config, weights.preparation) == ("mine", config, PREPARATION)
    assert (weights.profile, weights.supervision) == (PROFILE, "labels")
    assert (weights.content, weights.card) == ("skull-stripped brain", "")
    assert weights.arrays.keys() == tensor_shapes(config).keys()
    assert all(np.array_equal(weights.arrays[name], array) for name, array in arrays_of(config).items())
    assert weights.parameters == sum(array.size for array in weights.arrays.values())
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_template_travels_with_the_weights(tmp_path: Path) -> None:
    shades = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    template = Template(Grid(shades.shape, np.diag([1.0, 2.0, 3.0, 1.0])), shades)
    path, arrays = tmp_path / "model.safetensors", arrays_of(NetworkConfig())
    write_weights(
        path,
        arrays,
        name="mine",
        config=NetworkConfig(),
        preparation=PREPARATION,
        content="a phantom",
        template=template,
    )
    weights = load(path)
    assert weights.template is not None
    assert np.array_equal(weights.template.data, shades)
    assert weights.template.grid.isclose(template.grid, tolerance_mm=0)
    assert weights.arrays.keys() == arrays.keys()
    assert load(write(tmp_path / "without.safetensors")).template is None


@pytest.mark.parametrize(
    ("shades", "affine"),
    [
        (np.ones((3, 4, 5), np.float32), json.dumps(np.eye(4).tolist())),
        (np.ones((4, 5), np.uint8), json.dumps(np.eye(4).tolist())),
        (np.zeros((3, 4, 5), np.uint8), json.dumps(np.eye(4).tolist())),
        (np.ones((3, 4, 5), np.uint8), json.dumps(np.zeros((4, 4)).tolist())),
        (np.ones((3, 4, 5), np.uint8), "[1, 2]"),
        (np.ones((3, 4, 5), np.uint8), None),
    ],
)
def test_a_broken_template_is_refused(shades: NDArray[np.generic], affine: str | None, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    told = {**METADATA, **({} if affine is None else {"template_affine": affine})}
    write_tensors(path, {**arrays_of(NetworkConfig()), "template": shades}, told)
    with pytest.raises(InputError, match="broken metadata"):
        load(path)


def test_the_same_weights_are_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    arrays = arrays_of(NetworkConfig())
    backwards = {name: arrays[name] for name in reversed(arrays)}
    contents = {write(tmp_path / f"{n}.safetensors", arrays=a).read_bytes() for n, a in enumerate((arrays, backwards))}
    assert len(contents) == 1


def test_layout_in_memory_does_not_matter(tmp_path: Path) -> None:
    arrays = arrays_of(NetworkConfig())
    turned = {name: np.asfortranarray(array) for name, array in arrays.items()}
    plain, other = write(tmp_path / "a.safetensors"), write(tmp_path / "b.safetensors", arrays=turned)
    assert plain.read_bytes() == other.read_bytes()


def test_any_tensors_make_the_round_trip(tmp_path: Path) -> None:
    tensors = {"b": np.arange(6).reshape(2, 3), "a": np.array(1.5), "t": np.arange(6.0).reshape(2, 3).T}
    write_tensors(tmp_path / "state.safetensors", tensors, {"step": "7", "a": "z"})
    read, metadata = read_tensors(tmp_path / "state.safetensors")
    assert metadata == {"step": "7", "a": "z"}
    assert {name: (array.dtype, array.tolist()) for name, array in read.items()} == {
        name: (array.dtype, array.tolist()) for name, array in tensors.items()
    }


@pytest.mark.parametrize("name", names())
def test_every_shipped_model_is_small_has_a_card_and_says_what_it_is(name: str) -> None:
    weights = load(name)
    assert weights.name == name
    assert weights.parameters <= 120_000
    assert weights.card.startswith("#")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"model: .*\.safetensors file, got heart; .*models list"):
        load("heart")


def damaged(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(write(path).read_bytes())) and None


def described(**changes: str | None) -> Callable[[Path], None]:
    """Whole tensors with other metadata; None leaves an entry out."""
    metadata = {key: value for key, value in {**METADATA, **changes}.items() if value is not None}
    return lambda path: write_tensors(path, arrays_of(NetworkConfig()), metadata)


def holding(change: Callable[[Arrays], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        arrays = arrays_of(NetworkConfig())
        change(arrays)
        write_tensors(path, arrays, METADATA)

    return make


def low_precision(path: Path) -> None:
    """A type that NumPy lacks."""
    header = json.dumps({"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")


def prepared(**changes: object) -> Callable[[Path], object]:
    return described(preparation=json.dumps({**json.loads(PREPARATION.to_json()), **changes}))


BAD: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("these are no weights\n" * 10),
    "a pickle": lambda path: path.write_bytes(b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x07builtin\x94."),
    "cut in the header": damaged(lambda content: content[:100]),
    "cut in the data": damaged(lambda content: content[:-1000]),
    "one byte too many": damaged(lambda content: content + b"\0"),
    "a header of 2**60 bytes": damaged(lambda content: (1 << 60).to_bytes(8, "little") + content[8:]),
    "foreign tensors": lambda path: path.write_bytes(save({"weight": np.ones(3, np.float32)})),
    "bfloat16": low_precision,
    "another format": described(format="lightcrcf-weights-9"),
    "no configuration": described(config=None),
    "a broken configuration": described(config="{"),
    "a configuration that is a list": described(config="[1]"),
    "a configuration of strange types": described(config='{"encoder": "wide", "decoder": [1, 2, 3, "x"]}'),
    "a deep configuration": described(config="[" * 100_000),
    "an unknown entry": described(config='{"attention": true}'),
    "another configuration": described(config=json.dumps(VARIANTS["correlation"].to_dict())),
    "no preparation": described(preparation=None),
    "a spacing of zero": prepared(spacing_mm=[1, 0, 1]),
    "an infinite spacing": prepared(spacing_mm=[1, 1, 1e999]),
    "a spacing in words": prepared(spacing_mm="one"),
    "a spacing of two axes": prepared(spacing_mm=[1, 1]),
    "an unknown view": prepared(view="inside"),
    "an unknown start": prepared(refine="later"),
    "a window that falls": prepared(window=[3, 2]),
    "an unknown step": prepared(rotate=True),
    "a list of steps": described(preparation="[1]"),
    "a broken profile": described(profile="{}"),
    "a tensor less": holding(lambda arrays: arrays.pop("encoder.0.bias")),
    "a tensor more": holding(lambda arrays: arrays.update(extra=np.ones(2, np.float32))),
    "a tensor of another shape": holding(lambda arrays: arrays.update({"encoder.0.bias": np.ones(9, np.float32)})),
    "a tensor of another type": holding(lambda arrays: arrays.update({"encoder.0.bias": np.ones(8)})),
    "numbers that are none": holding(lambda arrays: arrays["encoder.0.bias"].fill(np.nan)),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_a_file_that_holds_no_model_ends_in_one_line(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    make(path)
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value).startswith((str(path), "network configuration"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [BAD["missing"], BAD["text"], BAD["cut in the data"]])
def test_tensors_that_cannot_be_read_end_in_one_line(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="weights file"):
        read_tensors(tmp_path / "model.safetensors")


def test_a_path_that_no_system_can_have_is_refused() -> None:
    with pytest.raises(InputError, match="weights file"):
        load("a\0b.safetensors")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(InputError, match=f"{1 << 36} bytes"):
        load(path)


def test_writing_where_no_folder_is_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        write(tmp_path / "absent" / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_refinement_starts_at_a_scale_that_there_is() -> None:
    assert Preparation.from_json(Preparation(None, refinement_scale=2).to_json()).refinement_scale == 2
    with pytest.raises(ValueError, match="scale of 8 or 4 or 2, got 3"):
        Preparation(None, refinement_scale=3)
