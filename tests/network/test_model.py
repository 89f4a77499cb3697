from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lightcrcf.errors import InputError
from lightcrcf.network.config import LEVELS, VARIANTS, NetworkConfig, tensor_shapes, variant
from lightcrcf.network.gfrep import GfRep
from lightcrcf.network.model import LightCRCF, correlate, space_to_depth

Randomise = Callable[[nn.Module], None]
NOT_MULTIPLES = (19, 34, 47)
MULTIPLES = (16, 48, 32)
variants = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
streams = pytest.mark.parametrize("name", ["default", "paper-single-stream"])


def pair(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return torch.rand(1, 1, *shape), torch.rand(1, 1, *shape)


def smooth_pair(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Images without noise, in which a rounded displacement changes nothing but itself."""
    coarse = pair(tuple(n // 8 + 2 for n in shape))
    first, second = (interpolate(image, size=shape, mode="trilinear", align_corners=True) for image in coarse)
    return first, second


def moving_several_voxels(model: LightCRCF) -> LightCRCF:
    """Heads as after training, at most 2 voxels at each level: they start near zero, where nothing could go wrong."""

    def scale(head: GfRep, _: object, flow: Tensor) -> Tensor:
        factor = 2 / flow.abs().max()
        last = head.heads[0] if head.mix is None else head.mix
        last.weight.mul_(factor)
        last.bias.mul_(factor)
        return flow * factor

    hooks = [level.head.register_forward_hook(scale) for level in model.levels]
    with torch.no_grad():
        model(*pair((32, 16, 48)))
    for hook in hooks:
        hook.remove()
    return model


@variants
@pytest.mark.parametrize("shape", [MULTIPLES, NOT_MULTIPLES])
def test_the_fused_network_equals_every_branch_of_the_unfused_one(
    config: NetworkConfig, shape: tuple[int, ...], randomise: Randomise
) -> None:
    model = LightCRCF(config, normalise=True).eval()
    randomise(model)
    model = moving_several_voxels(model)
    fused = model.fuse()
    for block in model.modules_to_fuse():
        block.forward = block.branches  # type: ignore[method-assign]
    images = pair(shape)
    with torch.no_grad():
        wanted, got = model(*images), fused(*images)
    assert wanted[-1].abs().max() > (1 if any(config.antisymmetric) else 3)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


@variants
def test_fusing_leaves_its_source_as_it_was(config: NetworkConfig) -> None:
    model = LightCRCF(config, normalise=True).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fused = model.fuse()
    fused.encoder[0].main.weight.data.zero_()
    assert model.training
    assert model.config == config
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@variants
def test_plain_arrays_describe_the_fused_network_whole(config: NetworkConfig) -> None:
    model = moving_several_voxels(LightCRCF(config))
    arrays = model.plain_arrays()
    assert {name: array.shape for name, array in arrays.items()} == tensor_shapes(config)
    images = pair(MULTIPLES)
    with torch.no_grad():
        torch.testing.assert_close(
            LightCRCF.from_plain_arrays(config, arrays)(*images)[-1], model.fuse()(*images)[-1], atol=0, rtol=0
        )


def test_plain_arrays_of_another_network_are_refused() -> None:
    arrays = LightCRCF(variant("default")).plain_arrays()
    with pytest.raises(InputError, match="weights"):
        LightCRCF.from_plain_arrays(variant("correlation"), arrays)


@streams
def test_known_shifts_at_every_level_compose_to_their_doubled_sum(name: str) -> None:
    model = LightCRCF(variant(name)).fuse()
    shifts = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.25, -0.5], [-0.75, 0.5, 0.25], [0.5, 1.0, -1.5]])
    with torch.no_grad():
        for level, shift in zip(model.levels, shifts, strict=True):
            level.head.heads[0].weight.zero_()
            level.head.heads[0].bias.copy_(shift)
        fields = model(*pair(MULTIPLES))
    wanted = torch.zeros(3)
    for level, field in zip(reversed(range(LEVELS)), fields, strict=True):
        wanted = 2 * wanted + shifts[level] * model.config.passes[level]
        torch.testing.assert_close(field, wanted.view(1, 3, 1, 1, 1).expand_as(field), atol=1e-5, rtol=0)


def permuted_channels(permutation: tuple[int, ...]) -> list[int]:
    """New space-to-depth channel to old: channel 4a + 2b + c becomes that of the permuted (a, b, c)."""
    channels = torch.arange(8).view(2, 2, 2).permute(permutation)
    return channels.flatten().tolist()


def permute_network(model: LightCRCF, permutation: tuple[int, ...]) -> LightCRCF:
    """The network that does to permuted images what `model` does to images, if no axis is confused with another."""
    arrays = model.plain_arrays()
    axes = (0, 1, *(p + 2 for p in permutation))
    turned = {name: a.transpose(axes) if a.ndim == 5 else a for name, a in arrays.items()}
    blocks = permuted_channels(permutation)
    first = turned["encoder.0.weight"]
    order = blocks if first.shape[1] == 8 else [*blocks, *(8 + b for b in blocks)]
    turned["encoder.0.weight"] = first[:, order]
    for level in range(LEVELS):
        for kind in ("weight", "bias"):
            turned[f"levels.{level}.head.{kind}"] = turned[f"levels.{level}.head.{kind}"][list(permutation)]
        if level < LEVELS - 1:
            inputs = turned[f"levels.{level}.first.weight"]
            turned[f"levels.{level}.first.weight"] = np.concatenate(
                [inputs[:, :-3], inputs[:, -3:][:, list(permutation)]], axis=1
            )
    return LightCRCF.from_plain_arrays(model.config, {k: np.ascontiguousarray(v) for k, v in turned.items()})


@streams
@pytest.mark.parametrize("permutation", list(permutations(range(3)))[1:])
def test_no_axis_is_confused_with_another(name: str, permutation: tuple[int, ...]) -> None:
    model = moving_several_voxels(LightCRCF(variant(name))).fuse()
    images = pair(MULTIPLES)
    axes = (0, 1, *(p + 2 for p in permutation))
    with torch.no_grad():
        wanted = model(*images)[-1].permute(axes)[:, list(permutation)]
        got = permute_network(model, permutation)(*(image.permute(axes) for image in images))[-1]
    assert wanted.abs().max() > 1
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=0)


@variants
def test_any_size_is_padded_with_zeros_at_the_end(config: NetworkConfig) -> None:
    model = moving_several_voxels(LightCRCF(config)).fuse()
    images = pair(NOT_MULTIPLES)
    whole_shape = [-(-n // m) * m for n, m in zip(NOT_MULTIPLES, config.multiples, strict=True)]
    padded = [torch.zeros(1, 1, *whole_shape) for _ in images]
    for image, larger in zip(images, padded, strict=True):
        larger[:, :, :19, :34, :47] = image
    with torch.no_grad():
        fields, whole = model(*images), model(*padded)
    if config.pool == (2, 2, 2):
        assert [tuple(u.shape[2:]) for u in fields] == [(2, 3, 3), (3, 5, 6), (5, 9, 12), (10, 17, 24)]
    else:
        assert [tuple(u.shape[2:]) for u in fields] == [(2, 3, 47), (3, 5, 47), (5, 9, 47), (10, 17, 47)]
    for u, larger in zip(fields, whole, strict=True):
        d, h, w = u.shape[2:]
        torch.testing.assert_close(u, larger[:, :, :d, :h, :w], atol=0, rtol=0)


@streams
def test_pairs_of_a_batch_do_not_mix(name: str) -> None:
    model = moving_several_voxels(LightCRCF(variant(name))).fuse()
    pairs = [pair((16, 32, 16)) for _ in range(3)]
    with torch.no_grad():
        together = model(*(torch.cat(images) for images in zip(*pairs, strict=True)))[-1]
        alone = torch.cat([model(*images)[-1] for images in pairs])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@streams
def test_a_coarser_last_level_gives_the_same_fields_so_far(name: str) -> None:
    model = LightCRCF(variant(name))
    images = pair(MULTIPLES)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(*images, finest=2), model(*images)[:2], strict=True))


def test_space_to_depth_keeps_images_apart() -> None:
    images = torch.rand(2, 3, 4, 6, 10)
    blocks = space_to_depth(images)
    for c, i, j, k in np.ndindex(3, 2, 2, 2):
        assert torch.equal(blocks[:, 8 * c + 4 * i + 2 * j + k], images[:, c, i::2, j::2, k::2])


def test_correlations_are_products_with_the_27_neighbours() -> None:
    fixed, warped = torch.rand(2, 3, 5, 7, 11), torch.rand(2, 3, 5, 7, 11)
    found = correlate(fixed, warped)
    for channel, offset in enumerate(np.ndindex(3, 3, 3)):
        for x in ((0, 0, 0), (4, 6, 10), (2, 3, 5)):
            y = tuple(a + o - 1 for a, o in zip(x, offset, strict=True))
            inside = all(0 <= a < n for a, n in zip(y, (5, 7, 11), strict=True))
            there = warped[(..., *y)] if inside else torch.zeros(2, 3)
            wanted = (fixed[(..., *x)] * there).mean(dim=1)
            torch.testing.assert_close(found[(slice(None), channel, *x)], wanted)


@variants
def test_a_network_can_go_on_from_fused_weights(config: NetworkConfig) -> None:
    source = moving_several_voxels(LightCRCF(config))
    target = LightCRCF(config)
    target.load_fused(source.plain_arrays())
    for name, array in source.plain_arrays().items():
        np.testing.assert_allclose(target.plain_arrays()[name], array, atol=5e-6)
    images = smooth_pair(NOT_MULTIPLES)
    with torch.no_grad():
        got, wanted = target(*images)[-1], source(*images)[-1]
    # 1e-5 of the displacement at most, whatever the kernels: weights are rounded once more, here and there.
    assert float((got - wanted).abs().mean()) < 1e-4 * float(wanted.abs().mean())
    with pytest.raises(InputError):
        target.load_fused({})


def test_a_network_that_sees_no_force_starts_one_that_does() -> None:
    config = variant("force")
    blind, seeing = moving_several_voxels(LightCRCF(replace(config, force=False))), LightCRCF(config)
    seeing.load_fused(blind.plain_arrays())
    images = smooth_pair(NOT_MULTIPLES)
    with torch.no_grad():
        got, wanted = seeing(*images)[-1], blind(*images)[-1]
    assert float((got - wanted).abs().mean()) < 1e-4 * float(wanted.abs().mean())
    with pytest.raises(InputError):
        blind.load_fused(seeing.plain_arrays())


def test_the_force_of_each_level_but_the_coarsest_is_seen_and_not_learned_from() -> None:
    model, seen = LightCRCF(NetworkConfig(passes=(2, 3, 1, 1), force=True)), []

    def force(fixed: Tensor, moved: Tensor) -> Tensor:
        seen.append(tuple(fixed.shape[2:]))
        return torch.full((1, 3, *fixed.shape[2:]), 0.5, requires_grad=True)

    images = pair(MULTIPLES)
    before = model(*images)[-1].detach()
    model.force = force
    fields = model(*images)
    assert seen == [(2, 6, 4), *[(4, 12, 8)] * 3, *[MULTIPLES] * 2]
    assert not torch.equal(fields[-1], before)
    fields[-1].sum().backward()
    assert model.levels[0].first.main.weight.grad[:, -3:].abs().max() > 0


@pytest.mark.parametrize(("name", "stays"), [("antisymmetric", True), ("force", False)])
def test_an_antisymmetric_level_leaves_alone_what_any_field_has_aligned(name: str, stays: bool) -> None:
    model = LightCRCF(variant(name))
    flat, features, field = torch.full((1, 1, 8, 8, 8), 0.5), torch.rand(1, 16, 1, 1, 1), torch.randn(1, 3, 8, 8, 8)
    everywhere = features.expand(1, 16, 8, 8, 8)  # warped, they are the same
    with torch.no_grad():
        residual = model._residual(1, everywhere, everywhere, field, (flat, flat))
    assert (residual.abs().max() < 1e-6) == stays
