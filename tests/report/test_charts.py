"""Line charts."""

from __future__ import annotations

import numpy as np
import pytest

from lightcrcf.report.charts import Chart, Series, round_ticks


def chart(values: list[float], **options: bool) -> Chart:
    steps = np.arange(1.0, len(values) + 1)
    return Chart("Loss", "of it", [Series("loss", steps, np.array(values), **options)], len(values))


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.02, 0.029, ["-0.02", "-0.01", "0.00", "0.01", "0.02"]),
        (0, 32000, ["0", "10,000", "20,000", "30,000"]),
        (0, 3e-7, ["0", "1e-07", "2e-07", "3e-07"]),
    ],
)
def test_ticks_are_round(low: float, high: float, texts: list[str]) -> None:
    assert [text for _, text in round_ticks(low, high, most=5)] == texts


def test_larger_values_are_higher_up_and_later_ones_further_right() -> None:
    points = chart([1.0, 3.0, 2.0]).paths[0][2].removeprefix("M").split("L")
    x, y = zip(*[map(float, point.split()) for point in points], strict=True)
    assert x == tuple(sorted(x))
    assert y[1] < y[2] < y[0]
    assert 12 <= min(y) <= max(y) <= 152


def test_one_outlier_does_not_squeeze_the_rest() -> None:
    values = [1.0 + 0.001 * n for n in range(1000)]
    assert chart([1e6, *values]).limits[1] < 3
    assert chart([1e6, 1.0, 2.0]).limits[1] > 1e6  # few values are all shown


@pytest.mark.parametrize("values", [[], [0.0], [2.0, 2.0], [float("nan"), 1.0], [float("nan")]])
def test_odd_series_are_drawn(values: list[float]) -> None:
    drawn = chart(values, dotted=True)
    low, high = drawn.limits
    assert low < high
    assert "nan" not in str(drawn.paths) + str(drawn.dots)


def test_long_series_are_subsampled_to_means() -> None:
    series = Series("a", np.arange(10_000.0), np.tile([0.0, 1.0], 5000))
    steps, values = series.subsampled()
    assert len(steps) == len(values) <= 240
    assert np.allclose(values, 0.5, atol=0.02)


def test_a_running_mean_looks_back_only() -> None:
    mean = Series("a", np.arange(100.0), np.repeat([0.0, 1.0], 50)).averaged("mean", share=0.1)
    assert mean.values[49] == 0
    assert mean.values[54] == pytest.approx(0.5)
    assert mean.values[-1] == pytest.approx(1)
