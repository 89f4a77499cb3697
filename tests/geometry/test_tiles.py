"""Rounding to bfloat16 against PyTorch's. What runs in kernels is tested where it runs, in tests/engines."""

from __future__ import annotations

import llvmlite.binding
import numba
import numpy as np
import pytest
import torch

from lightcrcf.geometry.tiles import dot_product_is_native, pack_pairs, vectors_are_long


def test_pairs_are_rounded_as_pytorch_rounds(rng: np.random.Generator) -> None:
    edges = np.array([0.0, -0.0, 1.00390625, 1.01171875, -1.00390625, 3e38, 1e-30], np.float32)  # two ties among them
    low = np.concatenate([edges, rng.normal(size=1000).astype(np.float32) * np.float32(1e3)])
    high = low[::-1]
    halves = pack_pairs(low, high).view(np.uint32)
    for got, wanted in ((halves << np.uint32(16), low), (halves & np.uint32(0xFFFF0000), high)):
        expected = torch.from_numpy(wanted.copy()).bfloat16().float().numpy()
        np.testing.assert_array_equal(got.view(np.float32), expected)


def test_a_processor_without_the_instruction_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: {"avx2": True})
    assert not dot_product_is_native()


def test_a_processor_of_which_nothing_is_known_does_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> None:
        raise RuntimeError("cannot tell")

    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", unknown)
    assert not dot_product_is_native()
    assert not vectors_are_long()


def test_kernels_for_another_processor_do_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CPU_NAME", "generic")
    assert not dot_product_is_native()


def test_an_older_compiler_does_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvmlite.binding, "llvm_version_info", (15, 0, 7))
    assert not dot_product_is_native()
