"""The interface of inference engines, and their factory; does not import PyTorch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError, UsageError, how_to_install
from lightcrcf.network.config import NetworkConfig, Shape
from lightcrcf.weights.store import Weights

__all__ = ["ENGINES", "Engine", "Shape", "available", "check_engine", "installed", "open_engine"]

Float32 = NDArray[np.float32]

ENGINES = ("native", "torch")


class Engine(ABC):
    """A network that computes the displacement of one pair at a time.

    Args:
        name: of the engine, one of `ENGINES`.
        device: "cpu" or "cuda".
        precision: of the convolutions, "f32" or "bf16". Flows are warped and composed in float32.
        config: of the network.
    """

    def __init__(self, name: str, device: str, precision: str, config: NetworkConfig) -> None:
        self.name, self.device, self.precision, self.config = name, device, precision, config

    def displacement(self, fixed: Float32, moving: Float32) -> Float32:
        """Return the displacement that warps `moving` onto `fixed`, at half resolution.

        Args:
            fixed, moving: (D, H, W) float32 normalised intensities on one grid, sizes multiples of `config.multiples`.

        Returns:
            (3, D/2, H/2, W/2) float32 in voxels of the half grid (`Grid.half`), pull-back. An axis without
            downsampling keeps its size.

        Raises:
            InputError: if the sizes differ or are no multiples.
        """
        for subject, image in (("fixed image", fixed), ("moving image", moving)):
            _check(subject, image, fixed.shape, self.config.multiples)
        return self._displacement(np.ascontiguousarray(fixed), np.ascontiguousarray(moving))

    @abstractmethod
    def _displacement(self, fixed: Float32, moving: Float32) -> Float32:
        """Return `displacement` of validated, C-contiguous images."""

    @abstractmethod
    def prepare(self, shape: Shape) -> None:
        """Compile and allocate in advance for images of this shape."""

    @abstractmethod
    def release(self) -> None:
        """Free buffers; the next pair allocates them again."""

    def device_peak_mib(self) -> float | None:
        """Return the peak memory on an accelerator, in MiB; None on the CPU."""
        return None


def _check(subject: str, image: Float32, shape: tuple[int, ...], multiples: Shape) -> None:
    fits = image.ndim == 3 and image.dtype == np.float32 and min(image.shape) > 0
    if not fits or image.shape != shape or any(n % m for n, m in zip(image.shape, multiples, strict=True)):
        raise InputError(
            subject,
            expected=f"a float32 volume with sizes that are multiples of {multiples}, alike for both images",
            got=f"{image.dtype} {image.shape}",
            remedy="pad both images to one grid",
        )


def available() -> dict[str, str]:
    """Return the installed engines and the versions of their packages, the default first; nothing is imported."""
    return {"native": version("lightcrcf"), **installed(ENGINES[1:])}


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed; nothing is imported."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # torch is an optional dependency
            continue
    return found


def open_engine(
    weights: Weights,
    *,
    name: Literal["auto", "native", "torch"] = "auto",
    device: Literal["cpu", "cuda"] = "cpu",
    precision: Literal["auto", "f32", "bf16"] = "auto",
    threads: int | None = None,
) -> Engine:
    """Open an engine for a network.

    Args:
        weights: from `lightcrcf.weights.store.load`.
        name: auto selects native on the CPU and torch on CUDA.
        device: cpu or cuda.
        precision: of the convolutions; auto is f32, whose results depend least on the processor. Where supported, bf16
            takes half the time and changes displacements by a few thousandths of a voxel.
        threads: number of CPU threads; all usable cores if None.

    Raises:
        UsageError: if the engine is not installed, or does not support these options here.
    """
    chosen = check_engine(name, device, precision, threads)
    return _open(weights, chosen, device, "f32" if precision == "auto" else precision, threads)


def check_engine(name: str, device: str, precision: str, threads: int | None) -> str:
    """Return the name of the engine that `open_engine` selects, without opening it.

    Raises:
        UsageError: if it is not installed, or the options are incompatible.
    """
    chosen = name if name != "auto" else "torch" if device == "cuda" else "native"
    _check_choice("engine", chosen, ENGINES)
    _check_choice("device", device, ("cpu", "cuda"))
    _check_choice("precision", precision, ("auto", "f32", "bf16"))
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise UsageError("threads", expected="a number, at least 1", got=str(threads), remedy="correct the number")
    if chosen not in available():
        raise UsageError(
            f"engine {chosen}", expected=f"{chosen} to be installed", got="no such package",
            remedy=how_to_install("train"),
        )  # fmt: skip
    if chosen == "native" and device != "cpu":
        raise UsageError("engine native", expected="device cpu", got=device, remedy="choose engine torch")
    return chosen


def _check_choice(subject: str, got: Any, choices: tuple[str, ...]) -> None:
    if got not in choices:
        raise UsageError(subject, expected=f"one of {', '.join(choices)}", got=str(got), remedy="correct the name")


def _open(weights: Weights, name: str, device: str, precision: str, threads: int | None) -> Engine:
    if name == "torch":
        from lightcrcf.engines.torch import TorchEngine

        return TorchEngine(weights, device=device, precision=precision, threads=threads)
    from lightcrcf.engines.native import NativeEngine

    return NativeEngine(weights, precision=precision, threads=threads)
