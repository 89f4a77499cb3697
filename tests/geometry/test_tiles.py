"""Rounding to bfloat16 against PyTorch's. What runs in kernels is tested where it runs, in tests/engines."""

from __future__ import annotations

import llvmlite.binding
import numba
import pytest

from lightcrcf.geometry.tiles import dot_product_is_native, vectors_are_long


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
