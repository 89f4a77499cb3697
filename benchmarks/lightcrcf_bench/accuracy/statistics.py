"""Whether a method of ours differs from others on the same pairs, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf_bench.records.schema import Method, Record

__all__ = ["Comparison", "Tested", "bootstrap_interval", "compare", "holm", "rank_biserial", "smallest_p", "wilcoxon"]

Float = NDArray[np.float64]
_RESAMPLES, _SEED = 10_000, 0


@dataclass(frozen=True)
class Tested:
    """How sure the mean of several differences is.

    Args:
        low: of the bootstrap 95 % interval of the mean.
        high: of the same.
        rank_biserial: share of the ranks that favour larger values of ours, minus the share against; -1 to 1.
        p: two-sided, paired Wilcoxon signed-rank test, exact.
        p_holm: corrected for the number of peers that were tested.
    """

    low: float
    high: float
    rank_biserial: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """One of ours against one peer, over the pairs on which both ran and neither failed.

    Args:
        ours: method.
        peer: method.
        pairs: how many.
        difference: mean of ours minus peer.
        tested: None where there is one pair only, which tests nothing.
    """

    ours: Method
    peer: Method
    pairs: int
    difference: float
    tested: Tested | None


def compare(record: Record, measure: Literal["dice", "hd95"]) -> list[Comparison]:
    """Each deformable method of ours against each peer; Holm's correction runs over the peers of one of ours.

    Peers are all methods of others, no registration excepted.
    """
    peers = [method for method in record.methods if not method.ours and method.name != "identity"]
    rows: list[Comparison] = []
    for ours in (method for method in record.methods if method.model is not None):
        columns = [(peer, _differences(record, ours.name, peer.name, measure)) for peer in peers]
        columns = [(peer, differences) for peer, differences in columns if differences.size]
        tests = iter(_tests([differences for _, differences in columns if differences.size > 1]))
        for peer, differences in columns:
            tested = next(tests) if differences.size > 1 else None
            rows.append(Comparison(ours, peer, differences.size, float(differences.mean()), tested))
    return rows


def wilcoxon(differences: ArrayLike) -> float:
    """Two-sided p of the signed-rank test, from the exact distribution; pairs without a difference are left out.

    The distribution is that of the ranks as they are, mid-ranks of ties included, so it is exact with ties too.

    Source: Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1945.

    Example:
        >>> wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5])
        0.0625
    """
    doubled, positive = _signed_ranks(differences)
    ways = np.zeros(int(doubled.sum()) + 1)  # of signs that give each sum of the positive ranks, doubled
    ways[0] = 1
    for rank in doubled:
        ways[rank:] = ways[rank:] + ways[: ways.size - rank]
    reached = int(doubled[positive].sum())
    tail = min(ways[: reached + 1].sum(), ways[reached:].sum())
    return float(min(1.0, 2 * tail / ways.sum()))


def smallest_p(pairs: int) -> float:
    """The smallest p that the signed-rank test can give with so many pairs.

    Example:
        >>> smallest_p(5)
        0.0625
    """
    return float(2.0 ** (1 - pairs))


def rank_biserial(differences: ArrayLike) -> float:
    """Share of the ranks of positive differences minus that of negative ones; 0 if all are zero.

    Example:
        >>> rank_biserial([1, 2, -3, 4])
        0.4
    """
    doubled, positive = _signed_ranks(differences)
    total = int(doubled.sum())
    return float(2 * doubled[positive].sum() - total) / total if total else 0.0


def holm(tests: Sequence[float]) -> list[float]:
    """p values corrected for their number.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected, running = [0.0] * len(tests), 0.0
    for place, index in enumerate(np.argsort(tests, kind="stable").tolist()):
        running = max(running, min(1.0, (len(tests) - place) * tests[index]))
        corrected[index] = running
    return corrected


def bootstrap_interval(differences: ArrayLike) -> tuple[float, float]:
    """The 95 % percentile interval of the mean, over pairs drawn again; the same input gives the same interval."""
    values = np.asarray(differences, dtype=np.float64)
    drawn = np.random.default_rng(_SEED).integers(values.size, size=(_RESAMPLES, values.size))
    low, high = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def _tests(columns: Sequence[Float]) -> list[Tested]:
    tests = [wilcoxon(differences) for differences in columns]
    return [
        Tested(*bootstrap_interval(differences), rank_biserial(differences), p, p_holm)
        for differences, p, p_holm in zip(columns, tests, holm(tests), strict=True)
    ]


def _differences(record: Record, ours: str, peer: str, measure: str) -> Float:
    both = record.shared((ours, peer), measure)
    return np.array([a - b for a, b in both], dtype=np.float64).round(9)  # so that rounding makes no ranks


def _signed_ranks(differences: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Twice the mid-ranks of the sizes, which are whole numbers, and which differences are positive; without zeros."""
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    _, place, counts = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    return (2 * below + counts + 1)[place].astype(np.int64), values > 0
