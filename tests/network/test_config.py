from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from math import prod

import pytest

from lightcrcf.errors import InputError, UsageError
from lightcrcf.network.config import VARIANTS, NetworkConfig, check_tensors, level_inputs, tensor_shapes, variant


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_a_configuration_survives_json(config: NetworkConfig) -> None:
    assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "wrong",
    [
        {"stream": "triple"},
        {"encoder": (8, 16, 24)},
        {"decoder": (8, 16, 16, 0)},
        {"decoder": (8, 16, 16, 1 << 20)},
        {"encoder": (8.5, 16, 24, 24)},
        {"groups": 0},
        {"branches": ("wavelet",)},
        {"slope": float("nan")},
        {"slope": "steep"},
        {"correlation": True, "stream": "single"},
    ],
)
def test_an_impossible_configuration_is_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match="network configuration"):
        NetworkConfig(**wrong)


def test_an_unknown_name_in_a_configuration_is_refused() -> None:
    with pytest.raises(InputError, match="widht"):
        NetworkConfig.from_dict({"widht": 3})


def test_variants_are_found_by_name() -> None:
    assert variant("single-pass") == NetworkConfig()
    with pytest.raises(UsageError, match="no-gfrep"):
        variant("biggest")


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("default", [8 + 8 + 3, 16 + 16 + 3, 24 + 24 + 3, 24 + 24]),
        ("correlation", [8 + 27 + 3, 16 + 27 + 3, 24 + 27 + 3, 24 + 27]),
        ("paper-single-stream", [8 + 16 + 2 + 3, 16 + 16 + 2 + 3, 16 + 16 + 2 + 3, 16 + 2]),
    ],
)
def test_channels_that_enter_each_level(name: str, channels: list[int]) -> None:
    assert [level_inputs(variant(name), level) for level in range(4)] == channels


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_has_at_most_120000_fused_parameters(config: NetworkConfig) -> None:
    assert sum(prod(shape) for shape in tensor_shapes(config).values()) <= 120_000


def test_branches_and_groups_leave_no_trace_in_the_fused_tensors() -> None:
    config = NetworkConfig()
    assert tensor_shapes(config) == tensor_shapes(replace(config, branches=(), groups=1))


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_tensors_that_do_not_fit_are_named(change: str) -> None:
    shapes = tensor_shapes(NetworkConfig())
    check_tensors("brain.safetensors", NetworkConfig(), shapes)
    name = "levels.2.head.bias" if change != "extra" else "levels.4.head.bias"
    got = {**shapes, name: (5,)}
    if change == "missing":
        del got[name]
    with pytest.raises(InputError, match=rf"brain\.safetensors: .*{name} {'missing' if change == 'missing' else ''}"):
        check_tensors("brain.safetensors", NetworkConfig(), got)


def test_a_configuration_needs_no_pytorch() -> None:
    program = "import sys, lightcrcf.network.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
