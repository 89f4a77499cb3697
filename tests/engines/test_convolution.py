"""The own convolution against PyTorch's, on grids of all kinds."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lightcrcf.engines.convolution import PackedConvolution, convolve
from lightcrcf.geometry.threads import use_threads

SHAPES = [
    (3, 4, 1),
    (1, 1, 1),
    (5, 7, 13),
    (4, 3, 80),
    (2, 3, 575),
    (2, 2, 1300),
    (19, 40, 6),
    (2, 133, 3),
    (2, 25, 80),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("inputs", "outputs"), [((1,), 1), ((2, 1), 5), ((8, 8, 3), 8), ((4,), 3)])
def test_it_is_pytorchs(
    rng: np.random.Generator, shape: tuple[int, int, int], inputs: tuple[int, ...], outputs: int
) -> None:
    sources = [rng.normal(size=(n, *shape)).astype(np.float32) for n in inputs]
    weight = rng.normal(size=(outputs, sum(inputs), 3, 3, 3)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    got = convolve(sources, PackedConvolution(weight, bias, 0.2), np.full((outputs, *shape), np.nan, np.float32))
    joint = torch.from_numpy(np.concatenate(sources))[None]
    expected = torch.nn.functional.conv3d(joint, torch.from_numpy(weight), torch.from_numpy(bias), padding=1)
    wanted = torch.nn.functional.leaky_relu(expected, 0.2)[0].numpy()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_it_can_be_done_in_two_parts(rng: np.random.Generator, shape: tuple[int, int, int]) -> None:
    sources = [rng.normal(size=(n, *shape)).astype(np.float32) for n in (3, 2)]
    weight, bias = rng.normal(size=(5, 5, 3, 3, 3)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    whole, begun, out = (np.full((5, *shape), np.nan, np.float32) for _ in range(3))
    convolve(sources, PackedConvolution(weight, bias, 0.2), whole)
    convolve(sources[:1], PackedConvolution(weight[:, :3], bias, 1.0), begun)
    convolve(sources[1:], PackedConvolution(weight[:, 3:], np.zeros_like(bias), 0.2), out, begun)
    np.testing.assert_allclose(out, whole, rtol=0, atol=1e-5 * np.abs(whole).max())


def test_threads_do_not_change_a_bit(rng: np.random.Generator) -> None:
    source = rng.normal(size=(3, 10, 21, 33)).astype(np.float32)
    weight = rng.normal(size=(8, 3, 3, 3, 3)).astype(np.float32)
    packed = PackedConvolution(weight, np.zeros(8, np.float32), 1.0)
    found = []
    for threads in (1, 2):
        with use_threads(threads):
            found.append(convolve([source], packed, np.empty((8, 10, 21, 33), np.float32)))
    np.testing.assert_array_equal(*found)


def test_sources_of_any_layout(rng: np.random.Generator) -> None:
    source = rng.normal(size=(6, 5, 4, 2)).astype(np.float32).transpose(3, 0, 1, 2)
    packed = PackedConvolution(np.ones((1, 2, 3, 3, 3), np.float32), np.zeros(1, np.float32), 1.0)
    out = (np.empty((1, 6, 5, 4), np.float32) for _ in range(2))
    got, expected = (convolve([image], packed, o) for image, o in zip((source, source.copy("C")), out, strict=True))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names a processor of another kind")
def test_processors_with_shorter_vectors_compute_the_same(rng: np.random.Generator, tmp_path: Path) -> None:
    source = rng.normal(size=(3, 4, 9, 33)).astype(np.float32)
    weight, bias = rng.normal(size=(5, 3, 3, 3, 3)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    np.savez(tmp_path / "in.npz", source=source, weight=weight, bias=bias)
    code = (
        "import numpy as np\n"
        "from lightcrcf.engines.convolution import WIDE, PackedConvolution, convolve\n"
        "from lightcrcf.geometry.tiles import dot_product_is_native\n"
        "given = np.load('in.npz')\n"
        "out = np.empty((5, 4, 9, 33), np.float32)\n"
        "convolve([given['source']], PackedConvolution(given['weight'], given['bias'], 0.2), out)\n"
        "np.save('out.npy', out)\n"
        "print(WIDE, dot_product_is_native())"
    )
    kept = {**os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=kept, capture_output=True, text=True)
    assert ran.stdout.strip() == "(4, 1) False", ran.stderr
    wanted = convolve([source], PackedConvolution(weight, bias, 0.2), np.empty((5, 4, 9, 33), np.float32))
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_other_channels_than_the_weights_are_for_are_refused() -> None:
    packed = PackedConvolution(np.ones((3, 2, 3, 3, 3), np.float32), np.zeros(3, np.float32), 1.0)
    two, three = np.zeros((2, 4, 5, 6), np.float32), np.zeros((3, 4, 5, 6), np.float32)
    with pytest.raises(ValueError, match="2 to 3 channels, not 5 to 3"):
        convolve([two, three], packed, three)
    with pytest.raises(ValueError, match="not 2 to 2"):
        convolve([two], packed, two.copy())
    with pytest.raises(ValueError, match="start of shape"):
        convolve([two], packed, three, two)
