"""Weights of the network that finds brains: read with care, and no model for registration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError, UsageError
from lightcrcf.weights import store
from lightcrcf.weights.brain import brain_weights, read_brain_weights, write_brain_weights


def test_the_shipped_ones_are_whole_and_small() -> None:
    arrays = brain_weights()
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values())
    file = Path(str(store._shipped())) / f"{store.BRAIN_MODEL}.safetensors"
    assert file.stat().st_size < 1 << 20
    assert "CC BY-SA" in file.with_suffix(".md").read_text(encoding="utf-8")


def test_they_come_back(tmp_path: Path) -> None:
    write_brain_weights(tmp_path / "mine.safetensors", brain_weights(), name="mine")
    again = read_brain_weights(tmp_path / "mine.safetensors")
    assert all(np.array_equal(again[name], array) for name, array in brain_weights().items())


def test_others_are_refused(tmp_path: Path) -> None:
    shipped = Path(str(store._shipped())) / "brain.safetensors"
    with pytest.raises(InputError, match="weights of the network that finds brains"):
        read_brain_weights(shipped)
    fewer = {name: array for name, array in brain_weights().items() if name != "head.bias"}
    write_brain_weights(tmp_path / "fewer.safetensors", fewer, name="fewer")
    with pytest.raises(InputError, match="weights of the network that finds brains"):
        read_brain_weights(tmp_path / "fewer.safetensors")


def test_they_are_no_model_that_registers() -> None:
    assert store.BRAIN_MODEL not in store.names()
    with pytest.raises(UsageError, match="one of"):
        store.load(store.BRAIN_MODEL)
