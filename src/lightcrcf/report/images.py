"""Slices as small image files inside of a page: data URIs."""

from __future__ import annotations

import io
from base64 import b64encode

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["FOLD_COLOUR", "LARGEST_RATIO", "RATIO_COLOURS", "gray_uri", "ratio_uri"]

Float32 = NDArray[np.float32]

FOLD_COLOUR = "#ff00ff"
LARGEST_RATIO = 3.0
# Smaller than before, unchanged, larger; ColorBrewer's RdBu, which colour-blind people can read.
RATIO_COLOURS = ("#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7",
                 "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f")  # fmt: skip

_QUALITY = 88
_SHADES = 121
_FOLD, _OUTSIDE = _SHADES, _SHADES + 1


def gray_uri(image: Float32) -> str:
    """Return (rows, columns) grey values from 0 to 1, NaN for black, as a JPEG data URI; output is deterministic."""
    levels = np.round(255 * np.nan_to_num(image)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "JPEG", quality=_QUALITY)
    return _uri(stream, "jpeg")


def ratio_uri(ratio: Float32) -> str:
    """Return (rows, columns) volume ratios, NaN for black, as a coloured PNG data URI; folds have their own colour.

    The colour scale is logarithmic, from 1 / `LARGEST_RATIO` to `LARGEST_RATIO`.
    """
    inside = np.isfinite(ratio)
    folded = inside & (ratio <= 0)
    positive = np.where(inside & ~folded, ratio, 1.0)
    place = np.log(positive) / (2 * np.log(LARGEST_RATIO)) + 0.5
    index = np.round(np.clip(place, 0, 1) * (_SHADES - 1)).astype(np.uint8)
    index[folded], index[~inside] = _FOLD, _OUTSIDE
    picture = Image.fromarray(index, mode="L")
    picture.putpalette([*_shades().ravel().tolist(), *_rgb(FOLD_COLOUR), 0, 0, 0])
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return _uri(stream, "png")


def _shades() -> NDArray[np.uint8]:
    anchors = np.array([_rgb(colour) for colour in RATIO_COLOURS], dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, _SHADES)
    channels = [np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T]
    return np.asarray(np.round(np.stack(channels, axis=-1)), dtype=np.uint8)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _uri(stream: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(stream.getvalue()).decode('ascii')}"
