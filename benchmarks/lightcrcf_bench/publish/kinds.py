"""The kinds of records: how their names look, how they are read, and which tables they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lightcrcf.errors import InputError
from lightcrcf_bench.cohort import labelling, template
from lightcrcf_bench.cohort.contrasts import CARRIED, CarriedRecord, carried_text, times_text
from lightcrcf_bench.publish.accuracy_views import VIEWS
from lightcrcf_bench.publish.cost_goals import cost_goals_text, peer_goals_text
from lightcrcf_bench.publish.cost_views import COST_VIEWS
from lightcrcf_bench.publish.peer_views import PEER_VIEWS
from lightcrcf_bench.publish.smoothness_views import SMOOTHNESS_VIEWS
from lightcrcf_bench.quality import limits as quality_limits
from lightcrcf_bench.quality import reading
from lightcrcf_bench.quality.brain_masks import BRAIN_MASK, BrainMaskRecord, brain_mask_text
from lightcrcf_bench.records.ablation import ABLATION, AblationRecord, ablation_text
from lightcrcf_bench.records.cost import COSTS, latest_cost
from lightcrcf_bench.records.disturbed import DISTURBED, DisturbedRecord, disturbed_text
from lightcrcf_bench.records.history import has_record, newest, newest_valid, plain
from lightcrcf_bench.records.robustness import FORMAT, ROBUSTNESS, robustness_text
from lightcrcf_bench.records.schema import latest
from lightcrcf_bench.smoothness.frontier import FRONTIER
from lightcrcf_bench.smoothness.known import KNOWN
from lightcrcf_bench.smoothness.known_contrasts import KNOWN_CONTRASTS, KNOWN_RIGID
from lightcrcf_bench.smoothness.record import latest_smoothness
from lightcrcf_bench.smoothness.rescans import RESCANS, SAME_PERSON
from lightcrcf_bench.speed.releases import RELEASES, ReleasesRecord, releases_text
from lightcrcf_bench.speed.throughput import THROUGHPUT, ThroughputRecord, throughput_text
from lightcrcf_bench.training import settings

__all__ = ["KINDS", "NOT_YET", "Kind", "table_of"]

NOT_YET = "Not measured yet."


@dataclass(frozen=True)
class Kind:
    """One kind of record.

    Args:
        owns: whether a name is that of such a record.
        latest: the newest, from the folder and the name.
        views: tables by name.
        may_lack: whether documents may ask for it before it is measured.
    """

    owns: Callable[[str], bool]
    latest: Callable[[Path, str], Any]
    views: Mapping[str, Callable[[Any], str]]
    may_lack: bool = True


def _plain(form: str) -> Callable[[Path, str], Any]:
    return lambda folder, name: plain(newest(folder, name), form)


def _valid(model: type[BaseModel]) -> Callable[[Path, str], Any]:
    return lambda folder, name: newest_valid(folder, name, model)


KINDS = (
    Kind(lambda name: name in COSTS, latest_cost, {**COST_VIEWS, "goals": cost_goals_text}),
    Kind(
        partial(str.__eq__, THROUGHPUT),
        _valid(ThroughputRecord),
        {"pairs-per-hour": throughput_text},
    ),
    Kind(partial(str.__eq__, RELEASES), _valid(ReleasesRecord), {"commands": releases_text}),
    Kind(partial(str.__eq__, DISTURBED), _valid(DisturbedRecord), {"wanted": disturbed_text}),
    Kind(partial(str.__eq__, BRAIN_MASK), _valid(BrainMaskRecord), {"masks": brain_mask_text}),
    Kind(partial(str.__eq__, ROBUSTNESS), _plain(FORMAT), {"trials": robustness_text}),
    Kind(lambda name: name.endswith(labelling.NAME), _plain(labelling.FORMAT), {"fusions": labelling.labelling_text}),
    Kind(
        partial(str.__eq__, CARRIED),
        _valid(CarriedRecord),
        {"errors": carried_text, "times": times_text},
    ),
    Kind(partial(str.__eq__, template.NAME), _plain(template.FORMAT), {"averages": template.template_text}),
    Kind(
        partial(str.__eq__, quality_limits.NAME),
        _plain(quality_limits.FORMAT),
        {"verdicts": quality_limits.verdicts_text, "mixtures": quality_limits.mixtures_text},
    ),
    Kind(partial(str.__eq__, reading.NAME), _plain(reading.FORMAT), {"answers": reading.reading_text}),
    Kind(
        lambda name: name.endswith(settings.SETTINGS),
        _plain(settings.FORMAT),
        {"settings": settings.settings_text},
    ),
    Kind(lambda name: name.endswith(ABLATION), _valid(AblationRecord), {"variants": ablation_text}),
    Kind(
        lambda name: name in (SAME_PERSON, KNOWN, KNOWN_CONTRASTS, KNOWN_RIGID) or name.endswith((FRONTIER, RESCANS)),
        latest_smoothness,
        SMOOTHNESS_VIEWS,
    ),
    Kind(lambda name: name.endswith("-peers"), latest, {**VIEWS, **PEER_VIEWS, "goals": peer_goals_text}),
    Kind(lambda _: True, latest, {**VIEWS, **PEER_VIEWS}, may_lack=False),
)
"""The first that owns a name has it; the last is accuracy."""


def table_of(name: str, view: str, history: Path) -> str:
    """Return a table of the newest record of a name.

    Raises:
        InputError: if there is no such record or view.
    """
    kind = next(kind for kind in KINDS if kind.owns(name))
    if view not in kind.views:
        raise InputError(f"{name} {view}", expected=" or ".join(kind.views), got=view, remedy="name a view")
    if kind.may_lack and not has_record(history, name):
        return NOT_YET
    return kind.views[view](kind.latest(history, name))
