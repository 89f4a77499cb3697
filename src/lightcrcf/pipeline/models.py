"""Which network suits a pair of images, if any."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lightcrcf.pipeline.foreground import Content
from lightcrcf.weights.store import Weights, load, names

__all__ = ["Choice", "choose_model"]


@dataclass(frozen=True)
class Choice:
    """A model, or None, and why.

    Args:
        weights: None for an affine result.
        reason: in plain words.
        mismatch: what about the pair lies outside of the model's training; empty if nothing.
    """

    weights: Weights | None
    reason: str
    mismatch: tuple[str, ...] = ()


def choose_model(model: str | os.PathLike[str], fixed: Content, moving: Content) -> Choice:
    """The model that was asked for, or with "auto" the shipped one that was trained on such images.

    Raises:
        UsageError: for an unknown name.
        InputError: for a damaged file.
    """
    kinds = {"fixed": fixed.kind, "moving": moving.kind}
    if os.fspath(model) == "none":
        return Choice(None, "no model, as asked: affine only")
    if os.fspath(model) != "auto":
        weights = load(model)
        wrong = tuple(_wrong(role, kind, weights) for role, kind in kinds.items() if kind != weights.content)
        return Choice(weights, "as asked", wrong)
    for name in names():
        weights = load(name)
        if all(kind == weights.content for kind in kinds.values()):
            return Choice(weights, f"both images look like {_phrase(weights.content)}")
    seen = " and ".join(f"the {role} image looks like {_phrase(kind)}" for role, kind in kinds.items())
    reason = f"no model fits: {seen}; the result is affine only"
    return Choice(None, reason, (reason,))


def _wrong(role: str, kind: str, weights: Weights) -> str:
    return f"{weights.name} was trained on {_phrase(weights.content)}, but the {role} image looks like {_phrase(kind)}"


def _phrase(kind: str) -> str:
    return "something else" if kind == "other" else f"a {kind}"
