import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from lightcrcf_bench.accuracy.statistics import bootstrap_interval, compare, holm, rank_biserial, smallest_p, wilcoxon
from lightcrcf_bench.records.schema import Record


@pytest.mark.parametrize("pairs", [3, 5, 12, 20])
def test_the_signed_rank_test_is_scipys(pairs: int) -> None:
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.4, 1.0, pairs)
        assert wilcoxon(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


def test_with_ties_it_is_the_permutation_test() -> None:
    differences = np.array([1, 1, -1, 2, 2, 3, -2, 5], dtype=float)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1)
    ranks = stats.rankdata(np.abs(differences))
    reached = abs((ranks * np.sign(differences)).sum())
    by_hand = np.mean(np.abs((signs * ranks[:, None]).sum(axis=0)) >= reached)
    assert wilcoxon(differences) == pytest.approx(by_hand)


def test_pairs_without_a_difference_are_left_out() -> None:
    assert wilcoxon([0, 0, 1, 2, 3]) == wilcoxon([1, 2, 3]) == smallest_p(3) == 0.25
    assert wilcoxon([0, 0]) == 1.0
    assert rank_biserial([0, 0]) == 0.0


def test_holm_by_hand_and_never_above_one() -> None:
    assert holm([0.04, 0.01, 0.02]) == [0.04, 0.03, 0.04]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_interval_covers_the_mean_and_repeats() -> None:
    differences = np.random.default_rng(3).normal(0.05, 0.02, 20)
    low, high = bootstrap_interval(differences)
    assert low < differences.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * differences.std() / np.sqrt(20), rel=0.1)
    assert bootstrap_interval(differences) == (low, high)


def test_ours_is_compared_with_every_peer_on_pairs_that_both_have(make_record: Callable[..., Record]) -> None:
    record = make_record(
        {"identity": (0.1, 0.1, 0.1), "peer": (0.4, 0.3, 0.5), "other": (0.6, None, 0.2), "ours": (0.5, 0.5, 0.5)}
    )
    rows = compare(record, "dice")
    assert [(row.ours.name, row.peer.name, row.pairs) for row in rows] == [("ours", "peer", 3), ("ours", "other", 2)]
    assert rows[0].difference == pytest.approx(0.1)
    assert rows[1].difference == pytest.approx(0.1)
    assert rows[0].tested is not None
    assert (rows[0].tested.p, rows[0].tested.p_holm) == (0.5, 1.0)
    assert compare(record, "hd95")[0].difference == pytest.approx(0.2)
    assert compare(make_record({"peer": (0.1, 0.2, 0.3)}), "dice") == []


def test_one_pair_tests_nothing_and_costs_the_others_nothing(make_record: Callable[..., Record]) -> None:
    scores = {"peer": (0.4, 0.3, 0.4), "ours": (0.5, 0.6, 0.7)}
    (alone,) = compare(make_record(scores), "dice")
    both = compare(make_record({"slow": (0.45, math.nan, math.nan), **scores}), "dice")
    assert [(row.peer.name, row.pairs, row.difference) for row in both] == [
        ("slow", 1, pytest.approx(0.05)),
        ("peer", 3, pytest.approx(alone.difference)),
    ]
    assert both[0].tested is None
    assert both[1].tested == alone.tested
    assert alone.tested is not None
    assert alone.tested.p == alone.tested.p_holm == 0.25
