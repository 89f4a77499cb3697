"""Registrations that a record of quality counts one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume
from lightcrcf_bench.records.disturbed import Disturbed

__all__ = ["STILL", "Plan", "Register", "Run", "counted"]

STILL = Chain(Affine.identity(), None, Affine.identity())
"""The map that moves nothing."""


@dataclass(frozen=True)
class Run:
    """Result of a registration."""

    chain: Chain
    verdict: str

    @property
    def affine(self) -> Affine:
        """Its affine, without the field."""
        return self.chain.after


Register = Callable[[Volume, Volume], Run]


@dataclass(frozen=True)
class Plan:
    """Cases that share images: their name, and what gives them, one after another, by a function that registers."""

    name: str
    run: Callable[[Register], Iterator[Disturbed]]


def counted(kind: str, who: str, found: Run, figures: dict[str, float]) -> Disturbed:
    """Return a case of the record, its figures rounded."""
    rounded = {name: round(value, 4) for name, value in figures.items()}
    return Disturbed.model_validate({"kind": kind, "case": who, "verdict": found.verdict, "figures": rounded})
