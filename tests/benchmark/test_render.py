import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lightcrcf.errors import InputError
from lightcrcf_bench.publish import cost_figures, figure
from lightcrcf_bench.publish.accuracy_views import VIEWS
from lightcrcf_bench.publish.render import HISTORY, documents, main, render
from lightcrcf_bench.records import schema as records
from lightcrcf_bench.records.cost import read_cost
from lightcrcf_bench.records.schema import Record
from lightcrcf_bench.smoothness.record import read_smoothness

ROOT = Path(__file__).parents[2]
TEXT = "before\n\n<!-- record: trial {view} -->\nstale\n<!-- end of record -->\n\nafter\n"
Maker = Callable[..., Record]


@pytest.fixture
def root(tmp_path: Path, make_record: Maker) -> Path:
    records.write(tmp_path / HISTORY / "2026-03-01-trial.json", make_record({"best": (0.5, 0.6, 0.7)}))
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "deep" / "a.md").write_text(TEXT.format(view="pairs"))
    (tmp_path / "README.md").write_text(TEXT.format(view="summary"))
    return tmp_path


def shown(view: str, record: Record, folder: Path) -> str:
    records.write(folder / "2026-03-01-trial.json", record)
    return render(TEXT.format(view=view), folder)


def test_every_document_is_up_to_date_with_the_records() -> None:
    assert documents(ROOT)
    stale = [
        str(path.relative_to(ROOT))
        for path in documents(ROOT)
        if render(path.read_text(encoding="utf-8"), ROOT / HISTORY) != path.read_text(encoding="utf-8")
    ]
    assert not stale, "run: lightcrcf bench report"


def test_every_figure_is_up_to_date_with_its_record() -> None:
    for name, place in figure.FIGURES.items():
        if any((ROOT / HISTORY).glob(f"????-??-??-{name}.json")):
            assert figure.is_current(ROOT / place, records.latest(ROOT / HISTORY, name)), "run: lightcrcf bench report"
    assert not cost_figures.stale(ROOT, ROOT / HISTORY), "run: lightcrcf bench report"


def test_every_record_is_valid_named_after_itself_and_has_its_cases_beside_it() -> None:
    for path in sorted((ROOT / HISTORY).glob("*.json")):
        assert path.stem.partition("-")[0].isdigit()
        name, kind = path.stem.split("-", 3)[3], json.loads(path.read_text(encoding="utf-8"))["format"]
        if kind == "lightcrcf-cost":
            assert read_cost(path).name == name
        elif kind == "lightcrcf-benchmark":
            record = records.read(path)
            assert record.name == name
            assert path.with_suffix(".csv").read_text(encoding="utf-8") == records.as_csv(record)
        elif kind == "lightcrcf-smoothness":
            assert read_smoothness(path).name == name
        else:  # tests of its own
            assert f"lightcrcf-{name}".endswith(kind.removeprefix("lightcrcf"))


def test_a_summary_row(make_record: Maker, tmp_path: Path) -> None:
    text = shown("summary", make_record({"best": (0.5, 0.6, 0.7)}), tmp_path)
    assert "| BEST | 0.600 ± 0.100 | 0.500 | 1.20 |  |  | 6.0 | 100 |" in text
    assert "HD95, mm" in text
    assert "†" not in text
    assert text.startswith("before\n\n<!-- record: trial")
    assert text.endswith("<!-- end of record -->\n\nafter\n")
    assert "stale" not in text


def test_a_brief_table_has_few_rows_and_says_when_times_were_taken(make_record: Maker, tmp_path: Path) -> None:
    scores = {"ants-syn": (0.4, 0.5, 0.6), "ants-affine": (0.1, 0.2, 0.3)}
    old = make_record(scores, day=1)
    text = shown("brief", records.merge(old, make_record({"lightcrcf-default": (0.5, 0.6, 0.7)}, day=4)), tmp_path)
    assert "| method | Dice | SDlogJ | time, s |" in text
    assert "| ANTS-SYN | 0.500 |" in text
    assert "ANTS-AFFINE" not in text
    assert "only those of one day can be compared. 2026-03-01: ANTS-SYN. 2026-03-04: LIGHTCRCF-DEFAULT." in text
    assert "| BEST | 0.600 |" in shown("brief", make_record({"best": (0.5, 0.6, 0.7)}), tmp_path)


def test_times_taken_beside_other_work_are_marked(make_record: Maker, tmp_path: Path) -> None:
    text = shown("summary", make_record({"best": (0.5, 0.6, 0.7)}, load=6.0), tmp_path)
    assert "| 6.0† |" in text
    assert "† taken while other work" in text


def test_what_was_not_measured_in_one_day_says_so(make_record: Maker, tmp_path: Path) -> None:
    old = make_record({"peer": (0.4, 0.3, 0.5), "ours": (0.4, 0.5, 0.5)}, day=1)
    assert "different days" not in shown("summary", old, tmp_path)
    record = records.merge(old, make_record({"ours": (0.5, 0.6, 0.7)}, day=4))
    text = shown("summary", record, tmp_path)
    assert "- Scored: ours 2026-03-04; other tools, on which our code has no bearing, 2026-03-01." in text
    assert "only those of one day can be compared. 2026-03-01: PEER. 2026-03-04: OURS." in text
    assert "cores, 2026-03-01." in shown("methods", record, tmp_path)
    assert "cores, 2026-03-04." in shown("methods", record, tmp_path)


def test_failures_are_counted_and_explained(make_record: Maker, tmp_path: Path) -> None:
    record = make_record({"best": (0.5, None, 0.7), "worst": (None, None, None)})
    text = shown("summary", record, tmp_path)
    assert "| BEST (1 of 3 failed) | 0.600" in text
    assert "| WORST (3 of 3 failed) |  |" in text
    assert "BEST failed on b ← c: out of luck" in text
    assert "| b ← c | failed | failed |" in shown("pairs", record, tmp_path)


def test_labels_in_training_are_never_overlooked(make_record: Maker, tmp_path: Path) -> None:
    alone = shown("summary", make_record({"ours": (0.5, 0.6, 0.7)}), tmp_path)
    assert "Our networks here are unsupervised." in alone
    mixed = shown("summary", make_record({"ours": (0.5, 0.6, 0.7), "ours-labels": (0.6, 0.7, 0.8)}), tmp_path)
    assert "| OURS-LABELS (weakly supervised) |" in mixed
    assert "mixes unsupervised and weakly supervised" in mixed
    assert "| OURS-OTHER (training unknown) |" in shown(
        "summary", make_record({"ours-other": (0.5, 0.6, 0.7)}), tmp_path
    )


def test_tests_tell_effect_and_correction(make_record: Maker, tmp_path: Path) -> None:
    record = make_record({"peer": (0.4, 0.3, 0.5), "ours": (0.5, 0.5, 0.6)})
    text = shown("dice-tests", record, tmp_path)
    assert "| OURS | PEER | 3 | +0.1333 | +0.1000 to +0.2000 | +1.00 | 0.25 | 0.25 |" in text
    assert "With 3 pairs the smallest p that this test can give is 0.25." in text
    assert "+0.2667" in shown("hd95-tests", record, tmp_path)
    assert "No network of ours" in shown("dice-tests", make_record({"peer": (0.4, 0.3, 0.5)}), tmp_path)


def test_dice_of_each_structure(make_record: Maker, tmp_path: Path) -> None:
    text = shown("structures", make_record({"peer": (0.4, None, 0.6), "lost": (None, None, None)}), tmp_path)
    assert "| structure | PEER (1 of 3 failed) | LOST (3 of 3 failed) |" in text
    assert "| the left one | 0.500 |  |" in text
    assert "| 12 | 0.250 |  |" in text


def test_methods_are_described(make_record: Maker, tmp_path: Path) -> None:
    text = shown("methods", make_record({"best": (0.5, 0.6, 0.7)}), tmp_path)
    assert (
        "- BEST: defaults (tool 1.2). `tool fixed moving`. Time: two threads; a processor, 2 cores, 2026-03-01." in text
    )


@pytest.mark.parametrize("view", VIEWS)
def test_rendering_again_changes_nothing(view: str, make_record: Maker, tmp_path: Path) -> None:
    text = shown(view, make_record({"peer": (0.4, None, 0.5), "ours": (0.5, 0.6, 0.7)}), tmp_path)
    assert render(text, tmp_path) == text


def test_check_finds_stale_documents_and_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (root / "README.md").read_text()
    assert main(["--root", str(root), "--check"]) == 1
    assert (root / "README.md").read_text() == before
    assert capsys.readouterr().err.count("out of date") == 2


def test_rendering_brings_documents_and_figures_up_to_date(
    root: Path, make_record: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure, "FIGURES", {"trial": Path("docs/trial.svg")})
    assert main(["--root", str(root)]) == 0
    assert main(["--root", str(root), "--check"]) == 0
    records.write(root / HISTORY / "2026-03-02-trial.json", make_record({"best": (0.25, 0.25, 0.25)}))
    assert main(["--root", str(root), "--check"]) == 1
    assert main(["--root", str(root)]) == 0
    assert figure.is_current(root / "docs/trial.svg", records.latest(root / HISTORY, "trial"))


def test_text_without_records_stays() -> None:
    assert render("<!-- a comment -->\n| a |\n", Path("nowhere")) == "<!-- a comment -->\n| a |\n"


def test_unknown_views_and_records_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match="summary or brief or methods"):
        render(TEXT.format(view="pie"), root / HISTORY)
    with pytest.raises(InputError, match="a record named trial"):
        render(TEXT.format(view="pairs"), root)
