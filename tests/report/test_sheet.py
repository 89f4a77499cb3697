"""Reports of runs that were made before: one page for one, a contact sheet for many."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.demo.phantom import KnownPair
from lightcrcf.demo.run import write_inputs
from lightcrcf.errors import InputError
from lightcrcf.report.sheet import runs_in
from lightcrcf.volumes import Volume, read, write


@pytest.fixture(scope="module")
def study(pair: KnownPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs and two runs: one as it should be, one of a brain and noise."""
    folder = tmp_path_factory.mktemp("study")
    write_inputs(pair, folder / "inputs")
    noise = np.random.default_rng(3).permutation(pair.moving.data.ravel()).reshape(pair.moving.data.shape)
    write(folder / "inputs" / "noise.nii.gz", Volume(noise, pair.moving.grid))
    for name, moving in (("good", "moving"), ("bad <b>", "noise")):
        files = [f"--fixed={folder / 'inputs' / 'fixed.nii.gz'}", f"--moving={folder / 'inputs' / f'{moving}.nii.gz'}"]
        assert run(["register", *files, "--model", "none", "--out", str(folder / "runs" / name), "--report"]) == 0
    return folder


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    """The same elsewhere, where it may be damaged; the records name the inputs there."""
    target = tmp_path / "study"
    shutil.copytree(study, target)
    for record in target.glob("runs/*/run.json"):
        record.write_text(record.read_text().replace(str(study), str(target)))
    return target


def test_a_report_made_later_is_that_of_the_run(study: Path, tmp_path: Path) -> None:
    folder = study / "runs" / "good"
    before = (folder / "report.html").read_text(encoding="utf-8")
    assert run(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    assert (folder / "report.html").read_text(encoding="utf-8") == before
    after = (tmp_path / "page.html").read_text(encoding="utf-8")
    pictures = [re.findall(r"[acs][0-9]-[a-z]+\{[^}]+\}", page) for page in (before, after)]
    assert pictures[0] == pictures[1]


def test_without_a_place_it_goes_into_the_run(copy: Path) -> None:
    page = copy / "runs" / "good" / "report.html"
    page.unlink()
    assert run(["report", str(page.parent)]) == 0
    assert page.read_text(encoding="utf-8").endswith("</html>\n")


@pytest.mark.parametrize("moved", [True, False])
def test_inputs_that_moved_or_changed_are_told_in_one_line(
    moved: bool, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = copy / "inputs" / "moving.nii.gz", copy / "runs" / "good"
    if moved:
        path.rename(copy / "elsewhere.nii.gz")
    else:
        volume = read(path)
        write(path, Volume(volume.data + 1, volume.grid))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert run(["report", str(folder)]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "expected the moving of the run" in said
    assert (folder / "report.html").read_text(encoding="utf-8") == page


def test_a_sheet_shows_the_doubtful_first_and_links_to_the_pages(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.html"
    assert run(["report", str(study / "runs"), "--out", str(sheet)]) == 0
    said = capsys.readouterr().err
    assert "contact sheet of 2 runs" in said
    page = sheet.read_text(encoding="utf-8")
    cards = re.findall(r'<div class="card ([a-z]+)">', page)
    assert len(cards) == 2
    assert cards[0] in ("fail", "check")
    assert page.index("noise.nii.gz") < page.index("moving.nii.gz")
    for link in re.findall(r'<a href="([^"]+)"', page):
        assert (tmp_path / link.replace("%20", " ").replace("%3C", "<").replace("%3E", ">")).resolve().is_file()
    assert "<b>" not in page
    assert page.count("<image ") == 6
    assert "default-src 'none'" in page


def test_a_run_whose_inputs_are_gone_stays_on_the_sheet(copy: Path, tmp_path: Path) -> None:
    (copy / "inputs" / "noise.nii.gz").unlink()
    assert (
        run(["report", str(copy / "runs" / "good"), str(copy / "runs" / "bad <b>"), "--out", str(tmp_path / "s.html")])
        == 0
    )
    page = (tmp_path / "s.html").read_text(encoding="utf-8")
    assert page.count("<image ") == 3
    assert "No picture: " in page


def test_a_folder_without_runs_and_a_damaged_record_are_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(copy / "inputs")]) == 3
    assert "no run.json in it" in capsys.readouterr().err
    with pytest.raises(InputError, match="no such folder"):
        runs_in([copy / "nowhere"])
    (copy / "runs" / "good" / "run.json").write_text(json.dumps({"schema": "lightcrcf-run-1"}))
    assert run(["report", str(copy / "runs")]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_runs_are_found_two_levels_down_and_only_once(study: Path) -> None:
    names = ["bad <b>", "good"]
    assert [path.name for path in runs_in([study / "runs"])] == names
    assert [path.name for path in runs_in([study])] == names
    assert [path.name for path in runs_in([study / "runs" / "good", study])] == ["good", "bad <b>"]
