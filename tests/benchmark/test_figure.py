from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from lightcrcf_bench.publish import figure
from lightcrcf_bench.records.schema import Record

Maker = Callable[..., Record]


def test_it_shows_methods_with_dice_and_time(make_record: Maker) -> None:
    record = make_record({"identity": (0.1, 0.1, 0.1), "peer": (0.4, 0.3, 0.5), "ours-labels": (0.6, 0.7, 0.8)})
    shown = figure.points(record)
    assert [(point.title, point.ours, point.saw_labels) for point in shown] == [
        ("PEER", False, False),
        ("OURS-LABELS", True, True),
    ]
    assert (shown[0].seconds, shown[0].dice, shown[0].lowest, shown[0].highest) == (4.0, 0.4, 0.3, 0.5)


def test_an_option_of_a_preset_is_not_drawn(make_record: Maker) -> None:
    record = make_record({"peer": (0.4, 0.3, 0.5), "lightcrcf-diffeomorphic": (0.6, 0.7, 0.8)})
    assert [point.title for point in figure.points(record)] == ["PEER"]


def test_only_what_saw_no_labels_is_joined_and_filled(make_record: Maker) -> None:
    record = make_record({"ours": (0.4, 0.4, 0.4), "ours-b": (0.6, 0.6, 0.6), "ours-labels": (0.6, 0.7, 0.8)}, load=7.0)
    axes = Figure().add_subplot()
    figure.plot(axes, record)
    markers, joined = axes.lines[:3], axes.lines[3]
    assert [marker.get_markerfacecolor() == "white" for marker in markers] == [False, False, True]
    assert list(joined.get_ydata()) == [0.4, 0.6]
    assert [text.get_text() for text in axes.texts] == ["OURS†", "OURS-B†", "OURS-LABELS†\nlabels in training"]
    assert "† taken while other work" in axes.get_xlabel()


def test_the_same_record_gives_the_same_bytes(make_record: Maker, tmp_path: Path) -> None:
    record = make_record({"peer": (0.4, 0.3, 0.5), "ours": (0.6, 0.7, 0.8)})
    figure.draw(tmp_path / "deep" / "one.svg", record)
    figure.draw(tmp_path / "two.svg", record)
    assert (tmp_path / "deep" / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_an_old_figure_is_noticed(make_record: Maker, tmp_path: Path) -> None:
    record = make_record({"peer": (0.4, 0.3, 0.5)})
    path = tmp_path / "one.svg"
    assert not figure.is_current(path, record)
    figure.draw(path, record)
    assert figure.is_current(path, record)
    assert not figure.is_current(path, make_record({"peer": (0.4, 0.3, 0.51)}))


def test_a_record_without_times_gives_an_empty_figure(make_record: Maker, tmp_path: Path) -> None:
    record = make_record({"identity": (0.4, 0.3, 0.5)})
    figure.draw(tmp_path / "one.svg", record)
    assert figure.is_current(tmp_path / "one.svg", record)
