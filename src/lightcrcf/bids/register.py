"""Registration of a BIDS data set to a template: a lead image per participant, which carries its other contrasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightcrcf.batch.manifest import Manifest
from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.pairs import Pair
from lightcrcf.batch.progress import BatchProgress
from lightcrcf.batch.run import run_batch
from lightcrcf.batch.summary import Summary, write_summary
from lightcrcf.batch.work import state_of
from lightcrcf.bids.contrasts import Lead, alignment_options, contrasts_of
from lightcrcf.bids.dataset import DataSet, NamedImage
from lightcrcf.bids.names import ImageName
from lightcrcf.bids.publish import (
    WORK,
    BidsTemplate,
    check_derivatives_folder,
    describe,
    publish_contrast,
    publish_lead,
)

__all__ = ["ParticipantSummary", "register_participants"]

_CONTRASTS = "contrasts"


@dataclass(frozen=True)
class ParticipantSummary(Summary):
    """State of the participants of a data set.

    Args:
        participants: by label, the state of each image, such as "T1w" or "ses-a_T2w".
    """

    participants: dict[str, dict[str, str]]

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {**super().as_dict(), "participants": self.participants}

    def __str__(self) -> str:
        lines = (
            f"sub-{label}: " + ", ".join(f"{image} {state}" for image, state in images.items())
            for label, images in self.participants.items()
        )
        return "\n".join([*lines, super().__str__().replace("pairs", "images", 1)])


def register_participants(
    source: DataSet,
    out: Path,
    template: BidsTemplate,
    options: BatchOptions,
    *,
    suffix: str = "T1w",
    contrasts: Sequence[str] = (),
    participants: Sequence[str] = (),
    workers: int = 1,
    scheduler: str | None = None,
    begun: Callable[[int], None] | None = None,
    progress: Callable[[BatchProgress], None] | None = None,
) -> ParticipantSummary:
    """Register the images of participants to a template; finished images of an earlier call are skipped.

    Further contrasts are aligned rigidly with the lead image of the participant, if possible of the same session, and
    carried by its transform. Calls for different participants may run in `out` concurrently.

    Args:
        source: the data set.
        out: the derivatives data set, created if needed.
        template: the fixed image.
        options: of the registrations.
        suffix: of the lead images.
        contrasts: suffixes of further contrasts; see `dataset.CONTRASTS`.
        participants: labels without "sub-"; all if empty.
        workers, scheduler, begun, progress: see `batch.run.run_batch`.

    Returns:
        The state of the images of these participants.

    Raises:
        UsageError: for invalid options.
        InputError: if there are no images, or `out` holds another data set.
    """
    images, more = source.images(suffix, participants), source.contrasts(contrasts, participants)
    check_derivatives_folder(out)
    pairs = [Pair(f"{n.stem}_{n.suffix}-to-{template.label}", template.path.absolute(), path) for path, n in images]
    how: dict[str, Any] = {
        "workers": workers, "scheduler": scheduler, "resume": True, "retry_failed": True, "begun": begun,
        "progress": progress, "claims": sorted({f"-sub-{name.entities['sub']}" for _, name in images}),
    }  # fmt: skip
    work = out / WORK
    run_batch(pairs, work, options, **how)
    describe(source, out, options.transform)
    leads = _leads(pairs, images, Manifest(work))
    for lead in leads:
        publish_lead(lead, source, out, template)
    carried = contrasts_of(source, more, leads, out.absolute(), template.label)
    if carried:
        run_batch([contrast.pair for contrast in carried], work / _CONTRASTS, alignment_options(options), **how)
    records = _records(work)
    for contrast in carried:
        results, record = Manifest(work / _CONTRASTS).results(contrast.pair), records[contrast.pair.id]
        publish_contrast(contrast, results, state_of(record), source, out, template)
    write_summary(work, list(records.values()))
    return _summary(records, [*zip(pairs, (n for _, n in images), strict=True), *((c.pair, c.name) for c in carried)])


def _leads(pairs: Sequence[Pair], images: Sequence[NamedImage], manifest: Manifest) -> list[Lead]:
    return [
        Lead(path.absolute(), name, manifest.results(pair), state_of(manifest.record(pair) or {"status": "failed"}))
        for pair, (path, name) in zip(pairs, images, strict=True)
    ]


def _records(work: Path) -> dict[str, dict[str, Any]]:
    """Return the records of all images of all calls, by id; those of further contrasts with their folder."""
    further = [
        {**record, "folder": f"{_CONTRASTS}/pairs/{record['id']}"} for record in Manifest(work / _CONTRASTS).records()
    ]
    known = {record["id"]: record for record in (*Manifest(work).records(), *further)}
    return dict(sorted(known.items()))


def _summary(records: Mapping[str, Mapping[str, Any]], images: Sequence[tuple[Pair, ImageName]]) -> ParticipantSummary:
    states, failures = dict[str, dict[str, str]](), {}
    for pair, name in images:
        record, label = records[pair.id], name.entities["sub"]
        image = f"{name.stem}_{name.suffix}".removeprefix(f"sub-{label}_")
        states.setdefault(label, {})[image] = state_of(record)
        if record["status"] == "failed":
            failures[pair.id] = record["error"]
    counted = Counter(state for found in states.values() for state in found.values())
    counts = {state: counted[state] for state in ("pass", "check", "fail", "failed")}
    return ParticipantSummary(len(images), counts, failures, dict(sorted(states.items())))
