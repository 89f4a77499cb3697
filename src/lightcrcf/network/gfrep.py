"""GfRep, group-flow re-parameterisation: several flow heads in training, one 3x3x3 convolution at inference.

flow = 1x1x1( concatenation over groups g of 3x3x3_g (x) )

The chain is linear and adds no expressivity over one convolution; it changes the optimisation.
The heads start near zero and the 1x1x1 convolution as their mean: with both near zero the gradient would vanish.

Source: Liu et al., Medical Physics 2025, doi 10.1002/mp.17827; identities IV and V of `reparam`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightcrcf.network import reparam
from lightcrcf.network.convolution import convolve
from lightcrcf.network.tarep import bias_of, convolutions

__all__ = ["GfRep"]

FLOW = 3


class GfRep(nn.Module):
    """Flow head: `inputs` channels to a 3-channel flow, 3x3x3, padding 1.

    Args:
        inputs: channels.
        groups: number of flow groups; 1 is a plain convolution.
    """

    def __init__(self, inputs: int, groups: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv3d(inputs, FLOW, 3, padding=1) for _ in range(groups))
        for head in convolutions(self.heads):
            nn.init.normal_(head.weight, std=1e-3)
            nn.init.zeros_(bias_of(head))
        self.mix = nn.Conv3d(FLOW * groups, FLOW, 1) if groups > 1 else None
        if self.mix is not None:
            with torch.no_grad():
                self.mix.weight.copy_(torch.eye(FLOW).repeat(1, groups).view(FLOW, -1, 1, 1, 1) / groups)
                bias_of(self.mix).zero_()

    def fused_kernel(self) -> tuple[Tensor, Tensor]:
        """Return weight (3, in, 3, 3, 3) and bias (3,) of the equivalent plain convolution."""
        weight, bias = reparam.concatenate([(head.weight, bias_of(head)) for head in convolutions(self.heads)])
        if self.mix is None:
            return weight, bias
        # The 8 bits of bfloat16 are too few for products of small weights.
        with torch.autocast(weight.device.type, enabled=False):
            return reparam.after_pointwise(weight, bias, self.mix.weight, bias_of(self.mix))

    def trainable_offsets(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return weights and biases whose offset is that of the fused kernel and bias while groups are averaged."""
        heads = convolutions(self.heads)
        return [head.weight for head in heads], [bias_of(head) for head in heads]

    def branches(self, x: Tensor) -> Tensor:
        """Return the flow by the definition, group by group."""
        flows = torch.cat([head(x) for head in self.heads], dim=1)
        return flows if self.mix is None else self.mix(flows)

    def forward(self, x: Tensor) -> Tensor:
        """Return the flow (N, 3, D, H, W), in voxels of this level, of features (N, in, D, H, W)."""
        return convolve(x, *self.fused_kernel())
