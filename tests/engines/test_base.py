from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lightcrcf import _core
from lightcrcf.engines import base
from lightcrcf.engines.base import ENGINES, available, open_engine
from lightcrcf.errors import InputError, UsageError, how_to_install
from lightcrcf.network.config import NetworkConfig
from lightcrcf.weights.store import Weights

Make = Callable[[NetworkConfig], Weights]


@pytest.fixture
def weights(random_weights: Make) -> Weights:
    return random_weights(NetworkConfig(encoder=(2, 2, 2, 2), decoder=(2, 2, 2, 2)))


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", program], check=False, capture_output=True, text=True)


def test_native_is_the_default_on_the_cpu(weights: Weights) -> None:
    engine = open_engine(weights)
    assert (engine.name, engine.device, engine.precision) == ("native", "cpu", "f32")
    assert list(available()) == list(ENGINES)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("shape", [(32, 32), (16, 40, 32), (0, 16, 16), (1, 16, 32, 16)])
def test_sizes_that_the_network_cannot_halve_are_refused(name: str, shape: tuple[int, ...], weights: Weights) -> None:
    image = np.zeros(shape, np.float32)
    with pytest.raises(InputError, match=r"multiples of \(16, 16, 16\)"):
        open_engine(weights, name=name).displacement(image, image)


def test_images_of_two_sizes_or_another_type_are_refused(weights: Weights) -> None:
    engine, image = open_engine(weights), np.zeros((16, 32, 48), np.float32)
    with pytest.raises(InputError, match=r"moving image.*\(32, 16, 48\)"):
        engine.displacement(image, image.reshape(32, 16, 48))
    with pytest.raises(InputError, match=r"fixed image.*float64"):
        engine.displacement(image.astype(np.float64), image)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "onnx"}, "native, torch"),
        ({"device": "tpu"}, "cpu, cuda"),
        ({"precision": "f16"}, "f32, bf16"),
        ({"threads": 0}, "at least 1"),
        ({"name": "native", "device": "cuda"}, "engine torch"),
    ],
)
def test_impossible_choices_are_refused(options: dict[str, Any], said: str, weights: Weights) -> None:
    with pytest.raises(UsageError, match=said):
        open_engine(weights, **options)


def test_cuda_without_a_gpu_is_refused(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="choose device cpu"):
        open_engine(weights, device="cuda")


def test_bf16_without_the_processor_for_it_is_refused(weights: Weights) -> None:
    _core.limit_isa("avx512")
    try:
        with pytest.raises(UsageError, match="expected a processor with AVX512-BF16, got none; choose f32"):
            open_engine(weights, precision="bf16")
        with pytest.raises(RuntimeError, match="AVX512-BF16"):
            _core.pack_bfloat16(np.zeros((1, 2, 3, 4), np.float32), np.zeros(1000, np.int32))
    finally:
        _core.limit_isa("avx512bf16")


def test_an_engine_that_is_not_installed_is_named_with_the_way_to_get_it(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "available", lambda: {"native": "0.1"})
    with pytest.raises(UsageError, match=re.escape(how_to_install("train"))):
        open_engine(weights, name="torch")


def test_choosing_an_engine_imports_no_pytorch() -> None:
    program = "import sys, lightcrcf.engines.base as b; b.available(); sys.exit('torch' in sys.modules)"
    assert run(program).returncode == 0


def test_the_default_engine_needs_no_other_library() -> None:
    found = run("import sys, lightcrcf.engines.native; print(*sys.modules)").stdout.split()
    assert not [module for module in found if module.split(".")[0] in ("torch", "onnx")]
