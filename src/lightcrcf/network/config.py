"""Configurations of networks; does not import PyTorch, so that every engine can use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from typing import Any, Literal

from lightcrcf.errors import InputError, UsageError

__all__ = [
    "LEVELS",
    "VARIANTS",
    "NetworkConfig",
    "Shape",
    "check_tensors",
    "level_inputs",
    "multiply_adds",
    "tensor_shapes",
    "variant",
]

LEVELS = 4
"""Resolutions at which flows are predicted: 1/2, 1/4, 1/8 and 1/16 of the working resolution."""

Shape = tuple[int, int, int]

TEXTURE = ("anisotropic", "sobel", "laplacian")

_RETIRED = frozenset({"steps"})  # earlier versions wrote it: steps without weights after the finest level


@dataclass(frozen=True)
class NetworkConfig:
    """The configuration of a network. Tuples run from fine to coarse: 1/2, 1/4, 1/8, 1/16.

    Args:
        stream: "dual", one encoder shared by both images whose moving features are warped; or "single",
            one encoder over both images together, with the warped moving image fed to each level.
        encoder: feature channels of each level.
        decoder: channels of the two TaRep blocks of each level.
        groups: flow groups of the GfRep head; 1 is a plain convolution.
        branches: training branches of TaRep in addition to the 3x3x3 kernel; empty is a plain convolution.
        correlation: whether to replace the warped moving features by 27 local correlations with the fixed features.
        slope: negative slope of the leaky ReLU.
        passes: iterations per level with shared weights; one at the coarsest.
        pool: downsampling factor between levels along each axis: 2, or 1 for an axis of few thick slices.
        force: whether each pass but the coarsest one also sees the force of the local correlation, which the refinement
            climbs, of both images at its resolution; at the finest level at full resolution. See `network.force`.
        antisymmetric: levels whose passes take half the difference between the residual flow and that of both images
            exchanged, so that they leave alone what is aligned; fine to coarse.
    """

    stream: Literal["dual", "single"] = "dual"
    encoder: tuple[int, ...] = (8, 16, 24, 24)
    decoder: tuple[int, ...] = (8, 16, 16, 12)
    groups: int = 4
    branches: tuple[str, ...] = TEXTURE
    correlation: bool = False
    slope: float = 0.2
    passes: tuple[int, ...] = (1, 1, 1, 1)
    pool: Shape = (2, 2, 2)
    force: bool = False
    antisymmetric: tuple[bool, ...] = (False,) * LEVELS

    def __post_init__(self) -> None:
        wrong = (
            self.stream not in ("dual", "single")
            or len(self.encoder) != LEVELS
            or len(self.decoder) != LEVELS
            or not all(isinstance(c, int) and 1 <= c <= 1024 for c in (*self.encoder, *self.decoder, self.groups))
            or not isinstance(self.slope, int | float)
            or not 0 <= self.slope <= 1
            or not set(self.branches) <= set(TEXTURE)
            or ((self.correlation or self.force) and self.stream == "single")
            or len(self.passes) != LEVELS
            or not all(isinstance(n, int) and 1 <= n <= 16 for n in self.passes)
            or self.passes[-1] != 1
            or (self.stream == "single" and max(self.passes) > 1)
            or len(self.pool) != 3
            or not all(isinstance(n, int) and n in (1, 2) for n in self.pool)
            or max(self.pool) != 2
            or not isinstance(self.antisymmetric, tuple)
            or [type(each) for each in self.antisymmetric] != [bool] * LEVELS
            or (any(self.antisymmetric) and (self.stream == "single" or self.correlation))
        )
        if wrong:
            raise InputError(
                "network configuration",
                expected=f"{LEVELS} encoder and decoder widths and passes, known branches {TEXTURE}, a known stream; "
                "correlation, force and antisymmetric levels only where they go together",
                got=str(self),
                remedy="see lightcrcf.network.config.VARIANTS",
            )

    @property
    def blocks(self) -> int:
        """Voxels of a space-to-depth block: the input channels of the encoder per image."""
        return self.pool[0] * self.pool[1] * self.pool[2]

    @property
    def multiples(self) -> Shape:
        """Divisors of the working sizes."""
        a, b, c = (n**LEVELS for n in self.pool)
        return a, b, c

    def coarser(self, shape: tuple[int, ...], times: int) -> Shape:
        """Return the sizes after downsampling a number of times, rounded up.

        Example:
            >>> NetworkConfig(pool=(2, 2, 1)).coarser((30, 48, 10), 2)
            (8, 12, 10)
        """
        d, h, w = (-(-n // p**times) for n, p in zip(shape, self.pool, strict=True))
        return d, h, w

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary of JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Parse the output of `to_dict`, of earlier versions too.

        Raises:
            InputError: for unknown names or invalid values.
        """
        values = {name: value for name, value in values.items() if name not in _RETIRED}
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise InputError(
                "network configuration",
                expected=f"the names {sorted(f.name for f in fields(cls))}",
                got=f"{sorted(unknown)}",
                remedy="use the version that wrote this model",
            )
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)


_TWO_PASSES = (2, 1, 1, 1)
_VARIANTS: Mapping[str, NetworkConfig] = {
    "default": NetworkConfig(passes=_TWO_PASSES),
    "force": NetworkConfig(passes=(1, 3, 3, 1), force=True),
    "antisymmetric": NetworkConfig(passes=(1, 1, 3, 1), force=True, antisymmetric=(False, True, True, True)),
    "single-pass": NetworkConfig(),
    "paper-single-stream": NetworkConfig(stream="single", encoder=(8, 16, 16, 16), decoder=(16, 16, 16, 16)),
    "no-tarep": NetworkConfig(passes=_TWO_PASSES, branches=()),
    "no-gfrep": NetworkConfig(passes=_TWO_PASSES, groups=1),
    "correlation": NetworkConfig(correlation=True, decoder=(8, 16, 16, 8)),
}
VARIANTS: Mapping[str, NetworkConfig] = {
    **_VARIANTS,
    "thick-slices": replace(_VARIANTS["default"], pool=(2, 2, 1)),
    **{f"thick-slices-{name}": replace(net, pool=(2, 2, 1)) for name, net in _VARIANTS.items() if name != "default"},
}
"""Configurations by name; those for thick slices do not downsample across slices."""


def variant(name: str) -> NetworkConfig:
    """Return the configuration of a variant by name.

    Raises:
        UsageError: if there is none.
    """
    if name not in VARIANTS:
        raise UsageError("variant", expected=f"one of {', '.join(VARIANTS)}", got=name, remedy="correct the name")
    return VARIANTS[name]


def level_inputs(config: NetworkConfig, level: int) -> int:
    """Return the input channels of the decoder of `level` (0 is 1/2, 3 is 1/16).

    dual: fixed features, warped moving features (or 27 correlations), flow, force if there is one.
    single: joint features, decoder features of the coarser level, fixed and warped moving image, flow.
    The coarsest level has no flow, no force and no coarser level.
    """
    coarsest = level == LEVELS - 1
    flow = 0 if coarsest else 3
    if config.stream == "single":
        return config.encoder[level] + 2 + flow + (0 if coarsest else config.decoder[level + 1])
    return config.encoder[level] + (27 if config.correlation else config.encoder[level]) + flow * (1 + config.force)


def tensor_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the weights and biases of the fused network.

    Example:
        >>> from math import prod
        >>> shapes = tensor_shapes(NetworkConfig())
        >>> shapes["levels.0.first.weight"]
        (8, 19, 3, 3, 3)
        >>> sum(prod(shape) for shape in shapes.values())
        111752
    """
    inputs = (config.blocks if config.stream == "dual" else 2 * config.blocks, *config.encoder[:-1])
    kernels = {f"encoder.{n}": pair for n, pair in enumerate(zip(config.encoder, inputs, strict=True))}
    for level, width in enumerate(config.decoder):
        kernels[f"levels.{level}.first"] = (width, level_inputs(config, level))
        kernels[f"levels.{level}.second"] = (width, width)
        kernels[f"levels.{level}.head"] = (3, width)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, pair in kernels.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (*pair, 3, 3, 3), pair[:1]
    return shapes


def multiply_adds(config: NetworkConfig, shape: Shape) -> int:
    """Return the number of multiply-adds of the convolutions for a pair on a working grid of `shape`.

    Example:
        >>> round(multiply_adds(VARIANTS["default"], (160, 192, 160)) / 1e9, 1)
        13.0
    """
    images, total = 2 if config.stream == "dual" else 1, 0
    for name, kernel in tensor_shapes(config).items():
        if not name.endswith("weight"):
            continue
        encoder, level = name.startswith("encoder"), int(name.split(".")[1])
        times = images if encoder else config.passes[level] * (1 + config.antisymmetric[level])
        total += times * prod(kernel) * prod(config.coarser(shape, level + 1))
    return total


def check_tensors(subject: str, config: NetworkConfig, got: Mapping[str, tuple[int, ...]]) -> None:
    """Compare names and shapes with `tensor_shapes`.

    Raises:
        InputError: for `subject`, if they differ.
    """
    wanted = tensor_shapes(config)
    wrong = sorted(name for name in {*wanted, *got} if wanted.get(name) != got.get(name))
    if wrong:
        raise InputError(
            subject,
            expected=f"the tensors of {config}",
            got=f"{wrong[0]} {got.get(wrong[0], 'missing')}",
            remedy="use the version that wrote this model",
        )
