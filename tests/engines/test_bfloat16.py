"""The own convolution in bfloat16, and what lies between convolutions, against PyTorch and the float32 kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import conv3d, leaky_relu

from lightcrcf.engines import blocks
from lightcrcf.engines.bfloat16 import Bfloat16Convolution, Bfloat16Features, convolve, convolve_flow
from lightcrcf.engines.bfloat16_features import space_to_depth_bfloat16, to_channels_last, warp_bfloat16
from lightcrcf.geometry.kernels import compose, warp
from lightcrcf.geometry.threads import use_threads
from lightcrcf.geometry.tiles import dot_product_is_native, pack_pairs
from lightcrcf.network.config import Shape

pytestmark = pytest.mark.skipif(not dot_product_is_native(), reason="this processor has no dot product in bfloat16")

Float32 = NDArray[np.float32]
SHAPES = [
    (3, 4, 1),
    (1, 1, 1),
    (5, 7, 13),
    (4, 3, 80),
    (2, 3, 575),
    (19, 40, 6),
    (2, 133, 3),
    (2, 25, 80),
]
ROUNDING = 2**-8  # of a bfloat16, relative


def rounded(x: Float32) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x)).bfloat16().float()


def filled(x: Float32) -> Bfloat16Features:
    """Features that hold x (C, D, H, W)."""
    channels, depth, height, width = x.shape
    features = Bfloat16Features(channels, (depth, height, width))
    padded = np.zeros((2 * features.pairs, depth + 2, height + 2, features.row), np.float32)
    padded[:channels, 1:-1, 1:-1, 1 : width + 1] = x
    features.data[: features.pairs * features.size] = pack_pairs(padded[0::2], padded[1::2]).ravel()
    return features


def margins(features: Bfloat16Features) -> NDArray[np.int32]:
    depth, height, width = features.shape
    grid = features.data[: features.pairs * features.size].reshape(features.pairs, depth + 2, height + 2, features.row)
    outside = grid.copy()
    outside[:, 1:-1, 1:-1, 1 : width + 1] = 0
    return outside


def made(rng: np.random.Generator, inputs: int, outputs: int, shape: Shape) -> tuple[Float32, Float32, Float32]:
    """Features, weights and biases."""
    x = rng.normal(size=(inputs, *shape)).astype(np.float32)
    weight = rng.normal(size=(outputs, inputs, 3, 3, 3)).astype(np.float32)
    return x, weight, rng.normal(size=outputs).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (8, 8), (11, 16), (16, 12)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (2, 2, 1), (1, 2, 2)])
def test_it_is_pytorchs(rng: np.random.Generator, shape: Shape, inputs: int, outputs: int, stride: Shape) -> None:
    x, weight, bias = made(rng, inputs, outputs, shape)
    source = filled(x)
    np.testing.assert_array_equal(source.voxels()[:inputs], rounded(x))
    depth, height, width = (-(-n // s) for n, s in zip(shape, stride, strict=True))
    out = Bfloat16Features(outputs, (depth, height, width))
    convolve(source, Bfloat16Convolution(weight, bias, 0.2), out, stride=stride)
    wanted = conv3d(rounded(x)[None], rounded(weight), torch.from_numpy(bias), padding=1, stride=stride)
    wanted = leaky_relu(wanted, 0.2)[0].numpy()
    got = out.voxels()
    np.testing.assert_allclose(got[:outputs], wanted, rtol=ROUNDING, atol=1e-5 * np.abs(wanted).max())
    assert not got[outputs:].any()
    assert not margins(out).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_flow_is_pytorchs_and_composed_with_a_field(rng: np.random.Generator, shape: Shape) -> None:
    x, weight, bias = made(rng, 5, 3, shape)
    packed, source = Bfloat16Convolution(weight, bias, 1.0, flow=True), filled(x)
    flow = convolve_flow(source, packed, np.full((3, *shape), np.nan, np.float32))
    wanted = conv3d(rounded(x)[None], rounded(weight), torch.from_numpy(bias), padding=1)[0].numpy()
    np.testing.assert_allclose(flow, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    field = rng.normal(size=(3, *shape)).astype(np.float32)
    composed = convolve_flow(source, packed, np.full((3, *shape), np.nan, np.float32), field)
    np.testing.assert_allclose(composed, compose(field, flow), rtol=0, atol=1e-5)


def test_an_input_of_several_parts(rng: np.random.Generator) -> None:
    """Each part begins eight channels further on; the last one a flow of three."""
    parts, shape = (5, 9, 3), (4, 5, 6)
    x, weight, bias = made(rng, sum(parts), 8, shape)
    laid = np.zeros((8 + 16 + 3, *shape), np.float32)
    for at, begin, n in ((0, 0, 5), (8, 5, 9), (24, 14, 3)):
        laid[at : at + n] = x[begin : begin + n]
    apart, together = Bfloat16Features(8, shape), Bfloat16Features(8, shape)
    convolve(filled(laid), Bfloat16Convolution(weight, bias, 0.2, parts), apart)
    convolve(filled(x), Bfloat16Convolution(weight, bias, 0.2), together)
    wanted = together.voxels()
    np.testing.assert_allclose(apart.voxels(), wanted, rtol=ROUNDING, atol=1e-5 * np.abs(wanted).max())


def test_the_result_may_begin_behind_other_features(rng: np.random.Generator) -> None:
    shape = (3, 5, 7)
    x, weight, bias = made(rng, 4, 8, shape)
    alone, behind = Bfloat16Features(8, shape), Bfloat16Features(24, shape)
    packed = Bfloat16Convolution(weight, bias, 0.2)
    convolve(filled(x), packed, alone)
    convolve(filled(x), packed, behind, first=4)
    found = behind.voxels()
    np.testing.assert_array_equal(found[8:16], alone.voxels())
    assert not found[:8].any()
    assert not found[16:].any()


@pytest.mark.parametrize("pool", [(2, 2, 2), (2, 2, 1), (1, 2, 2), (2, 1, 1)])
def test_space_to_depth(rng: np.random.Generator, pool: Shape) -> None:
    image = rng.normal(size=(4, 6, 40)).astype(np.float32)
    wanted = blocks.space_to_depth(image, pool=pool)[0]
    out = Bfloat16Features(len(wanted), (4 // pool[0], 6 // pool[1], 40 // pool[2]))
    space_to_depth_bfloat16(image, pool, out)
    np.testing.assert_array_equal(out.voxels()[: len(wanted)], rounded(wanted))
    assert not margins(out).any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [3, 8, 17])
def test_features_are_moved_as_by_warp(rng: np.random.Generator, shape: Shape, channels: int) -> None:
    x = rng.normal(size=(channels, *shape)).astype(np.float32)
    u = rng.normal(scale=3, size=(3, *shape)).astype(np.float32)  # beyond the borders too
    source = filled(x)
    out = Bfloat16Features(2 * source.pairs + 3, shape)
    warp_bfloat16(to_channels_last(source, np.empty((source.pairs // 4, *shape, 4), np.int32)), u, out, 0)
    found, wanted = out.voxels(), warp(rounded(x).numpy(), u)
    np.testing.assert_allclose(found[:channels], wanted, rtol=ROUNDING, atol=1e-6)
    at = 2 * source.pairs
    np.testing.assert_array_equal(found[at : at + 3], rounded(u))
    assert not margins(out).any()


def test_nan_in_a_displacement_reads_nothing_outside(rng: np.random.Generator) -> None:
    shape = (3, 4, 5)
    source, out = filled(rng.normal(size=(8, *shape)).astype(np.float32)), Bfloat16Features(11, shape)
    held = to_channels_last(source, np.empty((1, *shape, 4), np.int32))
    warp_bfloat16(held, np.full((3, *shape), np.nan, np.float32), out, 0)
    np.testing.assert_array_equal(out.voxels()[:8, 1, 1, 1], source.voxels()[:, 0, 0, 0])


def test_threads_do_not_change_a_bit(rng: np.random.Generator) -> None:
    x, weight, bias = made(rng, 8, 16, (10, 21, 33))
    source, packed = filled(x), Bfloat16Convolution(weight, bias, 0.2)
    found = []
    for threads in (1, 2):
        out = Bfloat16Features(16, (10, 21, 33))
        with use_threads(threads):
            convolve(source, packed, out)
        found.append(out.data)
    np.testing.assert_array_equal(*found)


def test_shapes_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    x, weight, bias = made(rng, 4, 8, (3, 4, 5))
    source, packed = filled(x), Bfloat16Convolution(weight, bias, 0.2)
    with pytest.raises(ValueError, match="not 4 to 4 of"):
        convolve(source, packed, Bfloat16Features(8, (3, 4, 6)))
    with pytest.raises(ValueError, match="not 4 to 3 of"):
        convolve(source, packed, Bfloat16Features(8, (3, 4, 5)), first=1)
    with pytest.raises(ValueError, match="8 pairs of"):
        convolve(source, Bfloat16Convolution(*made(rng, 16, 8, (1, 1, 1))[1:], 0.2), Bfloat16Features(8, (3, 4, 5)))
    flow = Bfloat16Convolution(weight[:3], bias[:3], 1.0, flow=True)
    with pytest.raises(ValueError, match="2 pairs to"):
        convolve_flow(source, flow, np.empty((3, 3, 4, 6), np.float32))
    with pytest.raises(ValueError, match="2 pairs to"):
        convolve_flow(source, flow, np.empty((3, 3, 4, 5), np.float32), np.empty((3, 3, 4, 6), np.float32))
