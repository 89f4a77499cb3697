"""Forward passes of networks without public weights: `python -I networks.py NAME --pair DIR --threads N --out FILE`.

VoxelMorph comes from its package. The others are built here, plainly, to their published sizes: the number of
parameters is the published one or close to it, so that the arithmetic is too. Weights are random, which changes no
time. Like `peers.py` this runs in an environment of its own, and imports nothing of ours.

Source:
    EOIR: Chen et al., "Encoder-Only Image Registration", arXiv 2509.00451.
    LapIRN: Mok and Chung, "Large Deformation Diffeomorphic Image Registration with Laplacian Pyramid Networks",
    MICCAI 2020.
    TransMorph: Chen et al., "TransMorph: Transformer for unsupervised medical image registration", MedIA 2022.
    VoxelMorph: Balakrishnan et al., "VoxelMorph: A Learning Framework for Deformable Medical Image Registration",
    TMI 2019.
"""

# mypy: disable-error-code="no-any-return, return-value, index, operator, arg-type"
# PyTorch tells no types of what modules hold and give.

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NETWORKS", "eoir", "lapirn", "main", "multiply_adds", "transmorph", "voxelmorph"]

Shape = tuple[int, int, int]
_SLOPE = 0.2
_PACKAGES = {"voxelmorph": ("voxelmorph",)}


def _conv(inputs: int, outputs: int, *, stride: int = 1, bias: bool = True) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 3, stride, 1, bias=bias)


def _pull(x: Tensor, flow: Tensor) -> Tensor:
    """Warp x by `flow` (1, 3, D, H, W), in voxels."""
    sizes = flow.shape[2:]
    axes = [torch.arange(n, dtype=flow.dtype) for n in sizes]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij")) + flow[0]
    unit = torch.stack([2 * p / (n - 1) - 1 for p, n in zip(place, sizes, strict=True)][::-1], dim=-1)
    return functional.grid_sample(x, unit[None], mode="bilinear", align_corners=True)


def _resized(x: Tensor, factor: float) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="trilinear", align_corners=True)


class _Eoir(nn.Module):
    """Three convolutions at full resolution on both images; at five resolutions a flow from sum and difference."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (1, width, 2 * width, width)
        self.encoder = nn.Sequential(
            *(nn.Sequential(_conv(a, b), nn.InstanceNorm3d(b), nn.PReLU()) for a, b in pairwise(widths))
        )
        self.flows = nn.ModuleList(
            nn.Sequential(_conv(2 * width, 2 * width), nn.ReLU(), _conv(2 * width, 27), nn.ReLU(), _conv(27, 3))
            for _ in range(5)
        )

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        features = self.encoder(torch.cat([moving, fixed]))
        levels = [features]
        for _ in range(4):
            levels.append(_resized(levels[-1], 0.5))
        flow = None
        for level, head in zip(reversed(levels), self.flows, strict=True):
            x, y = level[:1], level[1:]
            up = None if flow is None else 2 * _resized(flow, 2)
            x = x if up is None else _pull(x, up)
            flow = head(torch.cat([y + x, y - x], dim=1))
            flow = flow / 2**7
            for _ in range(7):
                flow = flow + _pull(flow, flow)
            flow = flow if up is None else flow + _pull(up, flow)
        return flow


class _Residual(nn.Module):
    """Two convolutions, each after its activation, around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (_conv(width, width, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(functional.leaky_relu(x, _SLOPE))
        return x + self.second(functional.leaky_relu(y, _SLOPE))


class _LapirnLevel(nn.Module):
    """One level: two convolutions, halved, five residual blocks, enlarged, a flow."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv(inputs, width, bias=False), nn.LeakyReLU(_SLOPE), _conv(width, width, bias=False)
        )
        self.down = _conv(width, width, stride=2, bias=False)
        self.blocks = nn.Sequential(*(nn.Sequential(_Residual(width), nn.LeakyReLU(_SLOPE)) for _ in range(5)))
        self.up = nn.ConvTranspose3d(width, width, 2, 2, bias=False)
        self.flow = nn.Sequential(
            _conv(2 * width, width, bias=False), nn.LeakyReLU(_SLOPE), _conv(width, 3, bias=False), nn.Softsign()
        )

    def forward(self, x: Tensor, coarser: Tensor | None) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        inner = self.down(features)
        inner = self.up(self.blocks(inner if coarser is None else inner + coarser))
        return self.flow(torch.cat([inner, features], dim=1)), inner


class _Lapirn(nn.Module):
    """Three levels, each of which sees the moving image through the coarser level's displacement."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_LapirnLevel(inputs, 4 * start) for inputs in (2, 5, 5))

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        images = [torch.cat([moving, fixed], dim=1)]
        for _ in range(2):
            images.append(functional.avg_pool3d(images[-1], 3, 2, 1, count_include_pad=False))
        flow, inner = None, None
        for pair, level in zip(reversed(images), self.levels, strict=True):
            if flow is None:
                flow, inner = level(pair, None)
                continue
            up = 2 * functional.interpolate(flow, size=pair.shape[2:], mode="trilinear", align_corners=True)
            residual, inner = level(torch.cat([_pull(pair[:, :1], up), pair[:, 1:], up], dim=1), inner)
            flow = up + residual
        return flow


class _WindowAttention(nn.Module):
    """Attention inside windows, with a bias by relative place, and a mask where the windows were shifted."""

    def __init__(self, width: int, heads: int, window: Shape) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.table = nn.Parameter(torch.zeros(int(np.prod([2 * n - 1 for n in window])), heads))
        places = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij")).reshape(3, -1)
        relative = places[:, :, None] - places[:, None] + np.array(window)[:, None, None] - 1
        index = np.ravel_multi_index(tuple(relative), tuple(2 * n - 1 for n in window))
        self.register_buffer("index", torch.from_numpy(index))
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=True), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        windows, places, width = x.shape
        q, k, v = self.qkv(x).reshape(windows, places, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index].permute(2, 0, 1)[None]
        weights = (q * (width // self.heads) ** -0.5) @ k.transpose(-1, -2) + bias
        if mask is not None:
            weights = weights + mask[:, None]
        return self.out((weights.softmax(-1) @ v).transpose(1, 2).reshape(windows, places, width))


class _SwinBlock(nn.Module):
    """Attention in windows, shifted in every second block, and a perceptron."""

    def __init__(self, width: int, heads: int, window: Shape, shifted: bool) -> None:
        super().__init__()
        self.window, self.shift = window, tuple(n // 2 if shifted else 0 for n in window)
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _WindowAttention(width, heads, window)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        sizes = x.shape[1:4]
        rest = [(-n) % w for n, w in zip(sizes, self.window, strict=True)]
        y = functional.pad(self.before(x), (0, 0, 0, rest[2], 0, rest[1], 0, rest[0]))
        y = y.roll([-n for n in self.shift], (1, 2, 3))
        mask = self._mask(y.shape[1:4]) if any(self.shift) else None
        y = self._joined(self.attention(self._split(y), mask), y.shape[1:4])
        y = y.roll(self.shift, (1, 2, 3))[:, : sizes[0], : sizes[1], : sizes[2]]
        x = x + y
        return x + self.perceptron(self.between(x))

    def _split(self, y: Tensor) -> Tensor:
        a, b, c = self.window
        _, d, h, w, width = y.shape
        blocks = y.reshape(d // a, a, h // b, b, w // c, c, width).permute(0, 2, 4, 1, 3, 5, 6)
        return blocks.reshape(-1, a * b * c, width)

    def _joined(self, y: Tensor, sizes: Sequence[int]) -> Tensor:
        (a, b, c), (d, h, w) = self.window, sizes
        blocks = y.reshape(d // a, h // b, w // c, a, b, c, -1).permute(0, 3, 1, 4, 2, 5, 6)
        return blocks.reshape(1, d, h, w, -1)

    def _mask(self, sizes: Sequence[int]) -> Tensor:
        region = torch.zeros(1, *sizes, 1)
        for axis, (n, w, s) in enumerate(zip(sizes, self.window, self.shift, strict=True)):
            along = (torch.arange(n) >= n - w).float() + (torch.arange(n) >= n - s).float()
            region = region + along.reshape([-1 if a == axis + 1 else 1 for a in range(5)]) * 3**axis
        parts = self._split(region)[..., 0]
        return (parts[:, None] != parts[:, :, None]).float() * -100


class _Merge(nn.Module):
    """Half of the resolution, twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(8 * width), nn.Linear(8 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, [0, 0, *(n % 2 * k for n in (x.shape[3], x.shape[2], x.shape[1]) for k in (0, 1))])
        eighths = [x[:, i::2, j::2, k::2] for i, j, k in np.ndindex(2, 2, 2)]
        return self.reduce(self.norm(torch.cat(eighths, dim=-1)))


def _convolved(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, outputs, bias=False), nn.InstanceNorm3d(outputs), nn.LeakyReLU())


class _TransMorph(nn.Module):
    """A Swin transformer over blocks of four voxels, and a convolutional decoder with shortcuts."""

    def __init__(self, shape: Shape, width: int = 96) -> None:
        super().__init__()
        window: Shape = (shape[0] // 32, shape[1] // 32, shape[2] // 32)
        self.patches, self.norm = nn.Conv3d(2, width, 4, 4), nn.LayerNorm(width)
        self.stages, self.norms, self.merges = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, (depth, heads) in enumerate(((2, 4), (2, 4), (4, 8), (2, 8))):
            wide = width * 2**level
            self.stages.append(nn.Sequential(*(_SwinBlock(wide, heads, window, n % 2 == 1) for n in range(depth))))
            self.norms.append(nn.LayerNorm(wide))
            if level < 3:
                self.merges.append(_Merge(wide))
        self.at_half, self.at_full = _convolved(2, width // 2), _convolved(2, 16)
        widths = (8 * width, 4 * width, 2 * width, width, width // 2, 16)
        skips = (4 * width, 2 * width, width, width // 2, 16)
        self.ups = nn.ModuleList(
            nn.Sequential(_convolved(a + skip, b), _convolved(b, b))
            for a, b, skip in zip(widths, widths[1:], skips, strict=False)
        )
        self.flow = _conv(16, 3)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        pair = torch.cat([moving, fixed], dim=1)
        x = self.norm(self.patches(pair).permute(0, 2, 3, 4, 1))
        levels = []
        for level, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            x = stage(x)
            levels.append(norm(x).permute(0, 4, 1, 2, 3))
            x = self.merges[level](x) if level < 3 else x
        skips = [
            levels[2],
            levels[1],
            levels[0],
            self.at_half(functional.avg_pool3d(pair, 3, 2, 1)),
            self.at_full(pair),
        ]
        y = levels[3]
        for up, skip in zip(self.ups, skips, strict=True):
            y = functional.interpolate(y, size=skip.shape[2:], mode="trilinear", align_corners=False)
            y = up(torch.cat([y, skip], dim=1))
        return self.flow(y)


def eoir(_shape: Shape) -> nn.Module:
    """Return EOIR with 8 channels: 111,208 parameters."""
    return _Eoir(8)


def lapirn(_shape: Shape) -> nn.Module:
    """Return LapIRN with 7 starting channels, for displacements: 923,748 parameters."""
    return _Lapirn(7)


def transmorph(shape: Shape) -> nn.Module:
    """Return TransMorph of the published size, 46.7 million parameters."""
    return _TransMorph(shape)


def voxelmorph(_shape: Shape) -> nn.Module:
    """Return VoxelMorph of its package, with the widths of VoxelMorph-2."""
    from voxelmorph.nn.models import VxmPairwise

    class Pairwise(nn.Module):
        """Takes and gives what the others do."""

        def __init__(self) -> None:
            super().__init__()
            self.network = VxmPairwise(3, 1, 1, nb_features=[[16, 32, 32, 32], [32, 32, 32, 32]], integration_steps=7)

        def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
            return self.network(moving, fixed)

    return Pairwise()


NETWORKS: dict[str, Callable[[Shape], nn.Module]] = {
    "voxelmorph": voxelmorph, "eoir-8": eoir, "lapirn": lapirn, "transmorph": transmorph,
}  # fmt: skip


def multiply_adds(network: nn.Module, fixed: Tensor, moving: Tensor) -> float:
    """Count the 10^9 multiply-adds of convolutions and linear layers in one forward pass, while it runs."""
    counted = 0

    def count(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        weight = layer.weight
        if isinstance(layer, nn.ConvTranspose3d):
            counted += _inputs[0].numel() * weight[0].numel()
        else:
            places = output.numel() // output.shape[-1 if isinstance(layer, nn.Linear) else 1]
            counted += places * weight.numel()

    kinds = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)
    hooks = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, kinds)]
    network(fixed, moving)
    for hook in hooks:
        hook.remove()
    return counted / 1e9


def main(arguments: Sequence[str] | None = None) -> None:
    """Time forward passes on a pair, the moving image warped at the end."""
    parser = argparse.ArgumentParser(prog="networks.py", description=__doc__)
    parser.add_argument("name", choices=NETWORKS)
    parser.add_argument("--pair", type=Path, required=True, help="folder with fixed.npy and moving.npy")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    torch.manual_seed(1)
    fixed, moving = (torch.from_numpy(np.load(given.pair / f"{name}.npy"))[None, None] for name in ("fixed", "moving"))
    network = NETWORKS[given.name](tuple(fixed.shape[2:])).eval()
    with torch.no_grad():
        gmac = multiply_adds(network, fixed, moving)  # warms up too
        times = [_milliseconds(network, fixed, moving) for _ in range(given.repetitions)]
    found = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gmac": round(gmac, 3),
        "each_ms": times,
        "versions": {
            name: version(name) for name in ("torch", *(["voxelmorph"] if given.name == "voxelmorph" else []))
        },
    }
    given.out.write_text(json.dumps(found) + "\n", encoding="utf-8")


def _milliseconds(network: nn.Module, fixed: Tensor, moving: Tensor) -> float:
    start = time.perf_counter()
    _pull(moving, network(fixed, moving))
    return round(1e3 * (time.perf_counter() - start), 3)


if __name__ == "__main__":
    main()
