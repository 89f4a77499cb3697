"""The log of a run that takes hours: what it says, and how often."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightcrcf import progress
from lightcrcf.training.narrator import Narrator


def test_a_long_run_says_a_line_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [1000.0], list[str]()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    narrator = Narrator(said.append, 1000)
    for done in range(1, 41):
        now[0] += 2.0
        narrator.prepared(done, 40)
    assert said == ["15 of 40 images read and aligned", "30 of 40 images read and aligned"]
    said.clear()
    narrator.begins("brain", 200, 40, 0, Path("run"))
    for step in range(210, 300, 10):
        now[0] += 12.0
        narrator.trained(step, {"loss": 0.25, "seconds_per_step": 1.2})
    assert said == [
        f"training brain, on from step 200 of 1000, 40 images; log: {Path('run', 'log.jsonl')}",
        "step 210 of 1000: loss 0.25, 1.2 s a step, 16 min left",
        "step 240 of 1000: loss 0.25, 1.2 s a step, 15 min left",
        "step 270 of 1000: loss 0.25, 1.2 s a step, 15 min left",
    ]
    said.clear()
    narrator.saved(300, Path("c"))
    narrator.saved(300, Path("c"))
    now[0] += 3600.0
    narrator.ends(Path("a.safetensors"), "lightcrcf register", Path("report.html"))
    assert said == [
        "step 300 of 1000: checkpoint c",
        "trained in 1.0 h; report: report.html",
        "model a.safetensors; to use it: lightcrcf register",
    ]
