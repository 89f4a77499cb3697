from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lightcrcf.engines import base, bfloat16_network
from lightcrcf.engines import openvino as openvino_engine
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


def test_openvino_is_the_default_on_the_cpu(weights: Weights) -> None:
    engine = open_engine(weights)
    assert (engine.name, engine.device, engine.precision) == ("openvino", "cpu", "f32")
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
        ({"name": "onnx"}, "openvino, torch"),
        ({"device": "tpu"}, "cpu, cuda"),
        ({"precision": "f16"}, "f32, bf16"),
        ({"threads": 0}, "at least 1"),
        ({"name": "openvino", "device": "cuda"}, "engine torch"),
    ],
)
def test_impossible_choices_are_refused(options: dict[str, Any], said: str, weights: Weights) -> None:
    with pytest.raises(UsageError, match=said):
        open_engine(weights, **options)


def test_threads_are_not_pinned(weights: Weights) -> None:
    network = openvino_engine.OpenVINOEngine(weights, precision="f32", threads=1)
    network.prepare((16, 32, 16))
    assert network._encoder.get_compiled_model().get_property("ENABLE_CPU_PINNING") is False  # two would share a core


def test_cuda_without_a_gpu_is_refused(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="choose device cpu"):
        open_engine(weights, device="cuda")


def test_bf16_without_the_processor_for_it_is_refused(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "bfloat16_is_native", lambda: False)
    monkeypatch.setattr(bfloat16_network, "dot_product_is_native", lambda: False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    with pytest.raises(UsageError, match="expected a processor with AVX512-BF16 or AMX, got none; choose f32"):
        open_engine(weights, precision="bf16")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(UsageError, match="or none that ONEDNN_MAX_CPU_ISA=AVX2 lets OpenVINO use; choose f32"):
        open_engine(weights, precision="bf16")


def test_bf16_in_our_kernels_asks_nothing_of_openvino(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "bfloat16_is_native", lambda: False)
    monkeypatch.setattr(bfloat16_network, "dot_product_is_native", lambda: True)
    assert open_engine(weights, precision="bf16").precision == "bf16"


def test_bf16_that_the_environment_forbids_openvino_is_not_native() -> None:
    """It says that the processor has it all the same, and fails as it compiles."""
    program = (
        "from lightcrcf.engines import openvino as engine\n"
        "from lightcrcf.engines.graphs import smallest_graph\n"
        "native = engine.bfloat16_is_native()\n"
        "if native:\n"
        "    engine._core().compile_model(smallest_graph(), 'CPU', {'INFERENCE_PRECISION_HINT': 'bf16'})\n"
        "print(native)\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert (ran.returncode, ran.stdout) == (0, "False\n"), ran.stderr


def test_an_engine_that_is_not_installed_is_named_with_the_way_to_get_it(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "available", lambda: {"openvino": "2026.0"})
    with pytest.raises(UsageError, match=re.escape(how_to_install("train"))):
        open_engine(weights, name="torch")


def test_choosing_an_engine_imports_none() -> None:
    program = "import sys, lightcrcf.engines.base as b; b.available(); sys.exit(bool({*b.ENGINES} & {*sys.modules}))"
    assert run(program).returncode == 0


def test_the_default_engine_needs_no_pytorch_and_reports_to_nobody() -> None:
    found = run("import sys, lightcrcf.engines.openvino; print(*sys.modules)").stdout.split()
    assert "openvino" in found
    assert not [module for module in found if module.split(".")[0] in ("torch", "onnx", "openvino_telemetry")]


def test_the_model_converter_is_left_to_those_who_ask_for_it() -> None:
    program = "import lightcrcf.engines.openvino, importlib.util as u; assert u.find_spec('openvino.tools.ovc')"
    assert run(program).returncode == 0
