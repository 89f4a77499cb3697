"""The layers of the network, in each precision and with each instruction set, against PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool3d, conv3d, interpolate, leaky_relu

from lightcrcf import _core
from lightcrcf.engines.bfloat16 import Bfloat16Features, Bfloat16Layers, bfloat16_is_native, pack_pairs
from lightcrcf.engines.float32 import Float32Layers
from lightcrcf.engines.layers import Features, Layers
from lightcrcf.geometry.kernels import warp
from lightcrcf.geometry.threads import use_threads
from lightcrcf.network.config import Shape
from lightcrcf.network.model import correlate, space_to_depth

Float32 = NDArray[np.float32]
SHAPES = [
    (3, 4, 1), (1, 1, 1), (5, 7, 13), (5, 7, 11), (4, 3, 80), (2, 3, 575), (2, 2, 1300), (19, 40, 6), (2, 133, 3),
    (2, 25, 80),
]  # fmt: skip
STRIDES = [(1, 1, 1), (2, 2, 2), (2, 2, 1), (1, 2, 2)]
ROUNDING = 2**-8  # of a bfloat16, relative


@pytest.fixture(params=["baseline", "avx2", "avx512", "bfloat16"])
def layers(request: pytest.FixtureRequest) -> Iterator[Layers]:
    if request.param == "bfloat16":
        if not bfloat16_is_native():
            pytest.skip("this processor has no dot product in bfloat16")
        yield Bfloat16Layers()
        return
    _core.limit_isa(request.param)
    if _core.isa() != request.param:
        pytest.skip("not an instruction set of this processor")
    yield Float32Layers()
    _core.limit_isa("avx512bf16")


def tensor(layers: Layers, values: Float32) -> torch.Tensor:
    """The values as the layers see them."""
    found = torch.from_numpy(np.ascontiguousarray(values))
    return found.bfloat16().float() if isinstance(layers, Bfloat16Layers) else found


def filled(layers: Layers, values: Float32) -> Features:
    return layers.to_features(values, layers.input_features(len(values), values.shape[1:]))  # type: ignore[arg-type]


def read(features: Features) -> Float32:
    """The voxels of features; their margins must be zero."""
    if not isinstance(features, Bfloat16Features):
        return np.asarray(features)
    depth, height, width = features.shape
    grid = features.data[: features.pairs * features.size].reshape(features.pairs, depth + 2, height + 2, features.row)
    outside = grid.copy()
    outside[:, 1:-1, 1:-1, 1 : width + 1] = 0
    assert not outside.any()
    return features.voxels()


def close(layers: Layers, got: Features, wanted: torch.Tensor) -> None:
    rounding = ROUNDING if isinstance(got, Bfloat16Features) else 0
    values = wanted.numpy()
    np.testing.assert_allclose(read(got), values, rtol=rounding, atol=1e-5 * np.abs(values).max())


def normal(rng: np.random.Generator, *shape: int) -> Float32:
    return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("parts", "outputs"), [((1,), 1), ((2, 1), 5), ((8, 8, 3), 8), ((4,), 3), ((5, 9, 3), 12)])
@pytest.mark.parametrize("stride", STRIDES)
def test_a_convolution_is_pytorchs(
    rng: np.random.Generator, layers: Layers, shape: Shape, parts: tuple[int, ...], outputs: int, stride: Shape
) -> None:
    values = [normal(rng, n, *shape) for n in parts]
    weight, bias = normal(rng, outputs, sum(parts), 3, 3, 3), normal(rng, outputs)
    depth, height, width = (-(-n // s) for n, s in zip(shape, stride, strict=True))
    out = layers.features(outputs, (depth, height, width))
    packed = layers.convolution("any", weight, bias, 0.2, parts, stride)
    got = layers.convolve([filled(layers, x) for x in values], packed, out, stride)
    joint = tensor(layers, np.concatenate(values))[None]
    wanted = conv3d(joint, tensor(layers, weight), torch.from_numpy(bias), padding=1, stride=stride)
    close(layers, got, leaky_relu(wanted, 0.2)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_flow_is_pytorchs(rng: np.random.Generator, layers: Layers, shape: Shape) -> None:
    x, weight, bias = normal(rng, 5, *shape), normal(rng, 3, 5, 3, 3, 3), normal(rng, 3)
    out = np.full((3, *shape), np.nan, np.float32)
    got = layers.flow([filled(layers, x)], layers.convolution("any", weight, bias, 1.0, (5,)), out)
    close(layers, got, conv3d(tensor(layers, x)[None], tensor(layers, weight), torch.from_numpy(bias), padding=1)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_convolution_can_be_done_in_two_parts(rng: np.random.Generator, shape: Shape) -> None:
    layers, sources = Float32Layers(), [normal(rng, n, *shape) for n in (3, 2)]
    weight, bias = normal(rng, 5, 5, 3, 3, 3), normal(rng, 5)
    whole, begun, out = (np.full((5, *shape), np.nan, np.float32) for _ in range(3))
    layers.convolve(sources, layers.convolution("whole", weight, bias, 0.2, (3, 2)), whole)
    layers.convolve(sources[:1], layers.convolution("begun", weight[:, :3], bias, 1.0, (3,)), begun)
    rest = layers.convolution("rest", weight[:, 3:], np.zeros_like(bias), 0.2, (2,))
    layers.convolve(sources[1:], rest, out, start=begun)
    np.testing.assert_allclose(out, whole, rtol=0, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("pool", [(2, 2, 2), (2, 2, 1), (1, 2, 2), (2, 1, 1)])
def test_space_to_depth(rng: np.random.Generator, layers: Layers, pool: Shape) -> None:
    image = normal(rng, 4, 6, 42)
    wanted = space_to_depth(tensor(layers, image)[None, None], pool)[0]
    out = layers.features(len(wanted), tuple(wanted.shape[1:]))  # type: ignore[arg-type]
    layers.space_to_depth(image, pool, out)
    np.testing.assert_array_equal(read(out), wanted.numpy())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 3, 8, 17])
def test_features_are_warped_as_images(rng: np.random.Generator, layers: Layers, shape: Shape, channels: int) -> None:
    x, u = normal(rng, channels, *shape), 3 * normal(rng, 3, *shape)  # beyond the borders too
    held, out = layers.channels_last(channels, shape), layers.features(channels, shape)
    layers.to_channels_last(filled(layers, x), held)
    layers.warp(held, u, out)
    close(layers, out, torch.from_numpy(warp(tensor(layers, x).numpy(), u)))


def test_nan_in_a_displacement_reads_nothing_outside(rng: np.random.Generator, layers: Layers) -> None:
    shape = (3, 4, 5)
    held, out, x = layers.channels_last(8, shape), layers.features(8, shape), normal(rng, 8, *shape)
    layers.to_channels_last(filled(layers, x), held)
    layers.warp(held, np.full((3, *shape), np.nan, np.float32), out)
    np.testing.assert_array_equal(read(out)[:, 1, 1, 1], tensor(layers, x)[:, 0, 0, 0].numpy())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_correlations_are_pytorchs(rng: np.random.Generator, layers: Layers, shape: Shape, channels: int) -> None:
    fixed, warped = normal(rng, channels, *shape), normal(rng, channels, *shape)
    out = layers.features(27, shape)
    layers.correlate(filled(layers, fixed), filled(layers, warped), out)
    close(layers, out, correlate(tensor(layers, fixed)[None], tensor(layers, warped)[None])[0])


@pytest.mark.parametrize("pool", [(2, 2, 2), (2, 2, 1), (1, 2, 2)])
def test_upsampling_takes_the_nearest(rng: np.random.Generator, layers: Layers, pool: Shape) -> None:
    x = normal(rng, 5, 3, 4, 21)
    wanted = interpolate(tensor(layers, x)[None], scale_factor=[float(n) for n in pool])[0]
    out = layers.features(5, tuple(wanted.shape[1:]))  # type: ignore[arg-type]
    layers.repeat(filled(layers, x), pool, out)
    np.testing.assert_array_equal(read(out), wanted.numpy())


@pytest.mark.parametrize("pool", [(2, 2, 2), (2, 2, 1), (1, 2, 2)])
def test_images_are_averaged(rng: np.random.Generator, pool: Shape) -> None:
    image = normal(rng, 4, 6, 42)
    wanted = avg_pool3d(torch.from_numpy(image)[None], pool)[0].numpy()
    out = np.full_like(wanted, np.nan)
    _core.average_pool(image, pool, out)
    np.testing.assert_allclose(out, wanted, atol=1e-6)


@pytest.mark.parametrize("pool", [(2, 2, 2), (2, 2, 1), (1, 2, 2)])
def test_depth_to_space_inverts_space_to_depth(rng: np.random.Generator, pool: Shape) -> None:
    image = normal(rng, 4, 6, 42)
    blocks = space_to_depth(torch.from_numpy(image)[None, None], pool)[0].numpy()
    out = np.empty_like(image)
    _core.depth_to_space(np.ascontiguousarray(blocks), pool, out)
    np.testing.assert_array_equal(out, image)


@pytest.mark.parametrize("stride", STRIDES)
def test_threads_do_not_change_a_bit(rng: np.random.Generator, layers: Layers, stride: Shape) -> None:
    shape, source = (10, 21, 33), filled(layers, normal(rng, 8, 10, 21, 33))
    packed = layers.convolution("any", normal(rng, 16, 8, 3, 3, 3), normal(rng, 16), 0.2, (8,), stride)
    depth, height, width = (-(-n // s) for n, s in zip(shape, stride, strict=True))
    found = []
    for threads in (1, 2, 3):
        out = layers.features(16, (depth, height, width))
        with use_threads(threads):
            _core.set_thread_count(threads)
            layers.convolve([source], packed, out, stride)
        found.append(read(out))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_features_take_memory_of_the_same_grid(layers: Layers) -> None:
    memory = layers.features(8, (3, 4, 5))
    for channels, shape, shared in (
        (3, (3, 4, 5), True),
        (8, (3, 4, 5), True),
        (9, (3, 4, 5), False),
        (3, (3, 5, 4), False),
    ):
        made = layers.features(channels, shape, memory)
        arrays = [f.data if isinstance(f, Bfloat16Features) else f for f in (made, memory)]
        assert np.shares_memory(*arrays) == shared


def test_pairs_are_rounded_as_pytorch_rounds(rng: np.random.Generator) -> None:
    edges = np.array([0.0, -0.0, 1.00390625, 1.01171875, -1.00390625, 3e38, 1e-30], np.float32)  # two ties among them
    low = np.concatenate([edges, rng.normal(size=1000).astype(np.float32) * np.float32(1e3)])
    high = low[::-1]
    halves = pack_pairs(low, high).view(np.uint32)
    for got, wanted in ((halves << np.uint32(16), low), (halves & np.uint32(0xFFFF0000), high)):
        expected = torch.from_numpy(wanted.copy()).bfloat16().float().numpy()
        np.testing.assert_array_equal(got.view(np.float32), expected)


def test_shapes_that_do_not_fit_are_refused(rng: np.random.Generator, layers: Layers) -> None:
    shape, other = (4, 5, 6), (4, 5, 7)
    source, bias = filled(layers, normal(rng, 4, *shape)), normal(rng, 8)
    packed = layers.convolution("any", normal(rng, 8, 4, 3, 3, 3), bias, 0.2, (4,))
    square = layers.convolution("any", normal(rng, 4, 4, 3, 3, 3), bias[:4], 0.2, (4,))
    with pytest.raises(ValueError):  # noqa: PT011
        layers.convolve([source], packed, layers.features(8, (4, 5, 5)))
    with pytest.raises(ValueError, match="weights do not fit"):
        layers.convolve([source, source], packed, layers.features(8, shape))
    with pytest.raises(ValueError):  # noqa: PT011
        layers.convolve([source], packed, layers.features(8, shape), (2, 3, 2))
    with pytest.raises(ValueError, match="may not be an input"):
        layers.convolve([source], square, source)
    with pytest.raises(ValueError):  # noqa: PT011
        layers.warp(layers.channels_last(4, other), np.zeros((3, *shape), np.float32), layers.features(4, shape))
    with pytest.raises(ValueError, match="three channels"):
        layers.warp(layers.channels_last(4, shape), np.zeros((2, *shape), np.float32), layers.features(4, shape))
    with pytest.raises(ValueError):  # noqa: PT011
        layers.space_to_depth(np.zeros((8, 10, 13), np.float32), (2, 2, 2), layers.features(8, shape))
