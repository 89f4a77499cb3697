from datetime import date
from pathlib import Path

import pytest

from lightcrcf.benchmark import records
from lightcrcf.benchmark.records import Case, Data, Machine, Method, Record
from lightcrcf.benchmark.render import HISTORY, documents, main, render
from lightcrcf.errors import InputError

ROOT = Path(__file__).parents[2]
TEXT = "before\n\n<!-- record: trial {view} -->\nstale\n<!-- end of record -->\n\nafter\n"


def trial(dice: float) -> Record:
    machine = Machine(cpu="a processor", cores=2, memory_gib=8.0, system="Linux x86_64", python="3.12.0")
    method = Method(
        name="best",
        title="The best",
        versions={"tool": "1.2"},
        settings="defaults",
        command="tool",
        timing="two threads",
        measured=date(2026, 3, 1),
        machine=machine,
    )
    case = Case(
        method="best",
        fixed="a",
        moving="b",
        dice=dice,
        hd95_mm=1.25,
        folding_percent=0.0,
        seconds=3.21,
        dice_by_label={7: dice},
    )
    return Record(
        name="trial",
        title="A trial",
        data=Data(name="two brains", split="val", labels="one structure", terms="none", pairs=(("a", "b"),)),
        protocol="By hand.",
        methods=(method,),
        cases=(case,),
        commands=("run it",),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    records.write(tmp_path / HISTORY / "2026-03-01-trial.json", trial(0.5678))
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "deep" / "a.md").write_text(TEXT.format(view="pairs"))
    (tmp_path / "README.md").write_text(TEXT.format(view="summary"))
    return tmp_path


def test_every_document_is_up_to_date_with_the_records() -> None:
    assert documents(ROOT)
    stale = [
        str(path.relative_to(ROOT))
        for path in documents(ROOT)
        if render(path.read_text(encoding="utf-8"), ROOT / HISTORY) != path.read_text(encoding="utf-8")
    ]
    assert not stale, "run: python -m lightcrcf.benchmark.render"


def test_every_record_is_valid_and_named_after_itself() -> None:
    for path in sorted((ROOT / HISTORY).glob("*.json")):
        assert path.stem.partition("-")[0].isdigit()
        assert path.stem.split("-", 3)[3] == records.read(path).name


def test_summary_and_pairs(root: Path) -> None:
    summary = render(TEXT.format(view="summary"), root / HISTORY)
    assert "| The best | 0.568 | 0.568 | 1.25 | 0 |  | 3.2 |  |" in summary
    assert "two threads; a processor, 2 cores, 2026-03-01" in summary
    pairs = render(TEXT.format(view="pairs"), root / HISTORY)
    assert "| a ← b | 0.568 |" in pairs
    for text in (summary, pairs):
        assert text.startswith("before\n\n<!-- record: trial")
        assert text.endswith("<!-- end of record -->\n\nafter\n")
        assert "stale" not in text
        assert render(text, root / HISTORY) == text


def test_check_finds_stale_documents_and_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (root / "README.md").read_text()
    assert main(["--root", str(root), "--check"]) == 1
    assert (root / "README.md").read_text() == before
    assert capsys.readouterr().err.count("out of date") == 2


def test_rendering_brings_documents_up_to_date(root: Path) -> None:
    assert main(["--root", str(root)]) == 0
    assert main(["--root", str(root), "--check"]) == 0
    records.write(root / HISTORY / "2026-03-02-trial.json", trial(0.25))
    assert main(["--root", str(root), "--check"]) == 1


def test_text_without_records_stays() -> None:
    assert render("<!-- a comment -->\n| a |\n", Path("nowhere")) == "<!-- a comment -->\n| a |\n"


def test_unknown_views_and_records_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match="summary or pairs"):
        render(TEXT.format(view="pie"), root / HISTORY)
    with pytest.raises(InputError, match="a record named trial"):
        render(TEXT.format(view="pairs"), root)
