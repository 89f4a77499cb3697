"""The network for brain extraction: a small U-Net of plain convolutions over space-to-depth input.

The input has two channels, unit intensities and the field of view; the output is one logit per voxel. Levels have
voxels of 2, 4, 8 and 16 input voxels; upsampling is nearest-neighbour, skip connections are concatenated.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from lightcrcf.network.brain_config import BLOCKS, CONVOLUTIONS, SLOPE
from lightcrcf.network.model import space_to_depth

__all__ = ["BrainNet"]


class BrainNet(nn.Module):
    """A U-Net from (N, 2, D, H, W), sizes multiples of 16, to logits (N, 1, D, H, W).

    Example:
        >>> tuple(BrainNet()(torch.rand(1, 2, 16, 32, 16)).shape)
        (1, 1, 16, 32, 16)
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {name: nn.Conv3d(i, o, 3, stride=s, padding=1) for name, (i, o, s) in CONVOLUTIONS.items()}
        )
        for layer in self.layers.values():
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers["head"].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of brain."""
        down = [self._layer("down0", space_to_depth(x))]
        for level in (1, 2, 3):
            down.append(self._layer(f"same{level}", self._layer(f"down{level}", down[-1])))
        y = down.pop()
        for level in (2, 1, 0):
            y = self._layer(f"up{level}", torch.cat([interpolate(y, scale_factor=2.0), down.pop()], 1))
        blocks = self.layers["head"](self._layer("last", y))
        return depth_to_space(blocks)

    def _layer(self, name: str, x: Tensor) -> Tensor:
        return leaky_relu(self.layers[name](x), SLOPE)

    @classmethod
    def from_plain_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> BrainNet:
        """Return the network with weights from `plain_arrays`."""
        model = cls()
        model.load_state_dict({f"layers.{name}": torch.tensor(array) for name, array in arrays.items()})
        return model

    def plain_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return weights and biases, "NAME.weight" and "NAME.bias"."""
        return {k.removeprefix("layers."): v.detach().float().cpu().numpy() for k, v in self.state_dict().items()}


def depth_to_space(blocks: Tensor) -> Tensor:
    """Invert `space_to_depth` for one channel: (N, 8, D, H, W) to (N, 1, 2D, 2H, 2W)."""
    n, _, d, h, w = blocks.shape
    parts = blocks.reshape(n, *[BLOCKS] * 3, d, h, w).permute(0, 4, 1, 5, 2, 6, 3)
    return parts.reshape(n, 1, BLOCKS * d, BLOCKS * h, BLOCKS * w)
