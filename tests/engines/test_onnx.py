"""The exported graph computes what the engines compute."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from lightcrcf.engines.base import open_engine
from lightcrcf.engines.onnx import OPSET, onnx_bytes
from lightcrcf.network.config import VARIANTS, NetworkConfig
from lightcrcf.weights.store import Weights, load, names

SHAPE = (32, 80, 48)
ODD = {
    "odd-single": NetworkConfig(stream="single", encoder=(3, 5, 7, 1), decoder=(1, 3, 5, 2), slope=0.1),
    "odd-correlation": NetworkConfig(correlation=True, encoder=(1, 2, 3, 5), decoder=(5, 1, 2, 3), pool=(2, 1, 2)),
}
Make = Callable[[NetworkConfig], Weights]
Pair = Callable[[tuple[int, int, int]], tuple[np.ndarray, np.ndarray]]


def run(content: bytes, images: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The displacement (3, d, h, w) by another runtime."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    named: dict[str, Any] = {name: image[None, None] for name, image in zip(("fixed", "moving"), images, strict=True)}
    (field,) = session.run(["displacement"], named)
    return np.asarray(field)[0]


@pytest.mark.parametrize("config", [*VARIANTS.values(), *ODD.values()], ids=[*VARIANTS, *ODD])
def test_every_variant_gives_the_engines_field(config: NetworkConfig, random_weights: Make, pair: Pair) -> None:
    weights, images = random_weights(config), pair(SHAPE)
    wanted = open_engine(weights).displacement(*images)
    assert np.abs(wanted).max() > 3
    got = run(onnx_bytes(weights), images)
    # Where a window is flat but for rounding, that counts in the force, in each step again.
    np.testing.assert_allclose(got, wanted, atol=3e-2 if config.force else 1e-3, rtol=0)
    assert np.abs(got - wanted).mean() < 2e-4


@pytest.mark.parametrize("name", names())
def test_shipped_models_give_the_engines_field_at_any_size(name: str, pair: Pair) -> None:
    weights = load(name)
    content = onnx_bytes(weights)
    for shape in (SHAPE, (48, 32, 16)):
        images = pair(shape)
        np.testing.assert_allclose(run(content, images), open_engine(weights).displacement(*images), atol=1e-3, rtol=0)


def test_exporting_twice_gives_the_same_bytes_and_changes_nothing(random_weights: Make) -> None:
    weights = random_weights(NetworkConfig())
    before = {name: array.copy() for name, array in weights.arrays.items()}
    assert onnx_bytes(weights) == onnx_bytes(weights)
    assert all(np.array_equal(before[name], array) for name, array in weights.arrays.items())


def test_the_graph_says_what_it_takes() -> None:
    weights = load("cardiac-cine")
    model = onnx.load_model_from_string(onnx_bytes(weights))
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["weights_sha256"] == weights.sha256
    assert json.loads(told["multiples"]) == [16, 16, 1]
    assert json.loads(told["preparation"])["view"] == "whole"
    assert [entry.version for entry in model.opset_import] == [OPSET]
    assert sum(np.prod(tensor.dims) for tensor in model.graph.initializer if "weight" in tensor.name) < 120_000


def test_without_the_package_it_is_said_how_to_get_it() -> None:
    code = "import sys; sys.modules['onnx'] = None\nfrom lightcrcf.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "export", "brain"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'pip install ".[export]"' in done.stderr
    assert done.stderr.count("\n") == 1
