from __future__ import annotations

from collections.abc import Callable

from lightcrcf_bench.publish.cost_goals import peer_goals_text
from lightcrcf_bench.records.schema import Forward, Record


def test_tools_side_by_side_are_held_against_ours(make_record: Callable[..., Record]) -> None:
    scores = {"ants-syn": [0.5] * 3, "lightcrcf-fast": [0.6] * 3}  # the fixture's seconds are ten times the Dice
    record = make_record(scores, name="oasis-peers")
    forwards = tuple(
        Forward(name=name, title=name, shape=(8, 8, 8), threads=2, each_ms=(ms,))
        for name, ms in (("lightcrcf", 20.0), ("voxelmorph", 200.0))
    )
    timings = tuple(timing.model_copy(update={"call_seconds": 5.0}) for timing in record.timings)
    text = peer_goals_text(record.model_copy(update={"forwards": forwards, "timings": timings}))
    assert "| VoxelMorph, forward and warp / ours | at least 15 | 10.0 | missed by 5.0 |" in text
    assert "| the whole command, fast, s | at most 4 | 6.0 | missed by 2.0 |" in text
    assert "| the whole command, default, s | at most 7 | not measured |  |" in text
    assert peer_goals_text(make_record(scores)) == "No goals were set."


def test_the_call_of_another_tool_is_compared_with_ours(make_record: Callable[..., Record]) -> None:
    record = make_record({"ants-syn": [0.5] * 3}, name="oasis-peers")
    ours = Forward(name="lightcrcf", title="ours", shape=(8, 8, 8), threads=2, each_ms=(20.0,))
    timings = [timing.model_copy(update={"call_seconds": 5.0}) for timing in record.timings]
    told = {**record.model_dump(exclude={"summary"}), "forwards": [ours], "timings": timings}
    text = peer_goals_text(Record.model_validate(told))
    assert "| ANTs SyN, its call / ours, network and warp | at least 200 | 250 | reached |" in text
