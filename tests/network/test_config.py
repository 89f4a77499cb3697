from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from math import prod
from typing import Any

import pytest
import torch

from lightcrcf.errors import InputError, UsageError
from lightcrcf.network.config import (
    VARIANTS,
    NetworkConfig,
    check_tensors,
    level_inputs,
    multiply_adds,
    tensor_shapes,
    variant,
)
from lightcrcf.network.convolution import convolve
from lightcrcf.network.model import LightCRCF


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
        {"force": True, "stream": "single"},
    ],
)
def test_an_impossible_configuration_is_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match="network configuration"):
        NetworkConfig(**wrong)


def test_an_unknown_name_in_a_configuration_is_refused() -> None:
    with pytest.raises(InputError, match="widht"):
        NetworkConfig.from_dict({"widht": 3})


def test_steps_after_the_finest_level_of_an_earlier_version_are_left_out() -> None:
    config = variant("force")
    assert NetworkConfig.from_dict({**config.to_dict(), "steps": 8}) == config


def test_variants_are_found_by_name() -> None:
    assert variant("single-pass") == NetworkConfig()
    with pytest.raises(UsageError, match="no-gfrep"):
        variant("biggest")


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("default", [8 + 8 + 3, 16 + 16 + 3, 24 + 24 + 3, 24 + 24]),
        ("force", [8 + 8 + 6, 16 + 16 + 6, 24 + 24 + 6, 24 + 24]),
        ("correlation", [8 + 27 + 3, 16 + 27 + 3, 24 + 27 + 3, 24 + 27]),
        ("paper-single-stream", [8 + 16 + 2 + 3, 16 + 16 + 2 + 3, 16 + 16 + 2 + 3, 16 + 2]),
    ],
)
def test_channels_that_enter_each_level(name: str, channels: list[int]) -> None:
    assert [level_inputs(variant(name), level) for level in range(4)] == channels


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_has_at_most_120000_fused_parameters(config: NetworkConfig) -> None:
    assert sum(prod(shape) for shape in tensor_shapes(config).values()) <= 120_000


@pytest.mark.parametrize(
    "name", ["default", "force", "antisymmetric", "single-pass", "no-tarep", "no-gfrep", "correlation"]
)
def test_a_brain_needs_at_most_14_billion_multiply_adds(name: str) -> None:
    assert multiply_adds(VARIANTS[name], (160, 192, 160)) <= 14e9


@pytest.mark.parametrize("antisymmetric", [(False,) * 4, (True, False, True, True)])
def test_multiply_adds_are_those_of_the_convolutions_that_run(antisymmetric: tuple[bool, ...]) -> None:
    """Counted while it runs: few channels, three passes at the finest level."""
    config = NetworkConfig(
        encoder=(2, 3, 4, 5), decoder=(3, 2, 4, 2), passes=(3, 1, 2, 1), branches=(), groups=1,
        antisymmetric=antisymmetric,
    )  # fmt: skip
    counted: list[int] = []
    model = LightCRCF(config)
    with pytest.MonkeyPatch.context() as patch:

        def counting(x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> torch.Tensor:
            output = convolve(x, weight, *rest)
            counted.append(output.numel() * weight[0].numel())
            return output

        patch.setattr("lightcrcf.network.tarep.convolve", counting)
        patch.setattr("lightcrcf.network.gfrep.convolve", counting)
        model(torch.rand(1, 1, 32, 48, 16), torch.rand(1, 1, 32, 48, 16))
    assert sum(counted) == multiply_adds(config, (32, 48, 16))


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
