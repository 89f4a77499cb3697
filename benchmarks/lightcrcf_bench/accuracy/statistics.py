"""Paired comparison of our methods with others: Wilcoxon, Holm, rank-biserial correlation and bootstrap.

`docs/decisions/0002-dependencies.md` says which parts are SciPy's, and why the others are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lightcrcf_bench.records.parts import Method
from lightcrcf_bench.records.schema import Record

__all__ = [
    "Comparison",
    "PairedStatistics",
    "bootstrap_interval",
    "compare",
    "holm",
    "rank_biserial",
    "smallest_p",
    "wilcoxon",
]

Float = NDArray[np.float64]
_RESAMPLES, _SEED = 10_000, 0


@dataclass(frozen=True)
class PairedStatistics:
    """Statistics of paired differences.

    Args:
        low: lower end of the bootstrap 95 % interval of the mean.
        high: its upper end.
        rank_biserial: matched-pairs rank-biserial correlation, -1 to 1; positive for larger values of ours.
        p: two-sided, paired Wilcoxon signed-rank test, exact.
        p_holm: p with Holm's correction for the number of peers.
    """

    low: float
    high: float
    rank_biserial: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """One of our methods against one peer, over the pairs on which neither failed.

    Args:
        ours: our method.
        peer: the other method.
        pairs: number of pairs.
        difference: mean of ours minus peer.
        tested: statistics; None for a single pair.
    """

    ours: Method
    peer: Method
    pairs: int
    difference: float
    tested: PairedStatistics | None


def compare(record: Record, measure: Literal["dice", "hd95"]) -> list[Comparison]:
    """Compare each of our deformable methods with each peer, with Holm's correction over the peers.

    Peers are all other methods except "no registration".
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
    """Return the two-sided p of the signed-rank test without zero differences.

    The null distribution is computed for the given mid-ranks, so that it is exact with ties too.

    Source: Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1945.

    Example:
        >>> wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5])
        0.0625
    """
    doubled, positive = _signed_ranks(differences)
    ways = np.zeros(int(doubled.sum()) + 1)  # number of sign patterns for each doubled sum of positive ranks
    ways[0] = 1
    for rank in doubled:
        ways[rank:] = ways[rank:] + ways[: ways.size - rank]
    reached = int(doubled[positive].sum())
    tail = min(ways[: reached + 1].sum(), ways[reached:].sum())
    return float(min(1.0, 2 * tail / ways.sum()))


def smallest_p(pairs: int) -> float:
    """Return the smallest possible p of the signed-rank test for a number of pairs.

    Example:
        >>> smallest_p(5)
        0.0625
    """
    return float(2.0 ** (1 - pairs))


def rank_biserial(differences: ArrayLike) -> float:
    """Return the matched-pairs rank-biserial correlation; 0 if all differences are zero.

    Example:
        >>> rank_biserial([1, 2, -3, 4])
        0.4
    """
    doubled, positive = _signed_ranks(differences)
    total = int(doubled.sum())
    return float(2 * doubled[positive].sum() - total) / total if total else 0.0


def holm(tests: Sequence[float]) -> list[float]:
    """Return p values with Holm's step-down correction.

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
    """Return the 95 % percentile bootstrap interval of the mean; reproducible."""
    sample = (np.asarray(differences, dtype=np.float64),)
    random = np.random.default_rng(_SEED)
    found = stats.bootstrap(sample, np.mean, n_resamples=_RESAMPLES, method="percentile", rng=random)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _tests(columns: Sequence[Float]) -> list[PairedStatistics]:
    tests = [wilcoxon(differences) for differences in columns]
    return [
        PairedStatistics(*bootstrap_interval(differences), rank_biserial(differences), p, p_holm)
        for differences, p, p_holm in zip(columns, tests, holm(tests), strict=True)
    ]


def _differences(record: Record, ours: str, peer: str, measure: str) -> Float:
    both = record.shared((ours, peer), measure)
    return np.array([a - b for a, b in both], dtype=np.float64).round(9)  # so that rounding makes no ranks


def _signed_ranks(differences: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return doubled mid-ranks (integers) of nonzero differences, and the mask of positive ones."""
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    return (2 * stats.rankdata(np.abs(values))).astype(np.int64), values > 0
