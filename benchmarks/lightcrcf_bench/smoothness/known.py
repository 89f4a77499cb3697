"""A deformation that is known: how far the field that a tool finds is from the one by which the image was moved.

A field that some tool found between two persons moves the image of a third; the tools register the third person with
that. The truth is the whole map of points, so it does not matter on what grid a tool gives its field, and whether an
affine comes with it. Truths are made by ANTs SyN and by ours, at several smoothnesses each: a tool finds its own kind
of field more easily.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from lightcrcf.affine.align import align
from lightcrcf.errors import InputError
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.accuracy.methods import BenchSettings
from lightcrcf_bench.accuracy.protocols import PROTOCOLS, Images
from lightcrcf_bench.smoothness.ladder import DEFAULT, elastix_rung, ladder
from lightcrcf_bench.smoothness.record import Cases
from lightcrcf_bench.smoothness.scores import distances, points_of, volume_change
from lightcrcf_bench.smoothness.simulate import left, moved, noise_level, noisy, random_of
from lightcrcf_bench.smoothness.study import Planned, Ready, Rung, Split, Study, subjects

__all__ = ["KNOWN", "MAKERS", "conjugated", "known_deformation", "known_name", "moved_case", "triples", "truth_on"]

KNOWN = "known-deformation"
MAKERS = ("syn-1.5-0", "syn-3-0", "syn-3-1.5", f"{DEFAULT}-0.5", f"{DEFAULT}-1", f"{DEFAULT}-2")
"""Methods whose fields are the truths."""
_PERSONS = 5
Triple = tuple[str, str, str]


def triples(persons: list[str]) -> list[Triple]:
    """Return cyclic triples: fixed and moving subject of the truth, and the subject whose image it deforms.

    Example:
        >>> triples(["a", "b", "c"])
        [('a', 'b', 'c'), ('b', 'c', 'a'), ('c', 'a', 'b')]
    """
    count = len(persons)
    return [(persons[n], persons[(n + 1) % count], persons[(n + 2) % count]) for n in range(count)]


def known_name(split: Split = "val") -> str:
    """Return the name of the record."""
    return KNOWN if split == "val" else f"{KNOWN}-train"


def known_deformation(folder: Path, split: Split, bench: BenchSettings) -> Study:
    """Return the study: each maker's field of the first three persons, then of the next.

    Args:
        folder: of all data sets.
        split: of the persons.
        bench: how to run.

    Raises:
        InputError: if the data are not there.
    """
    protocol = PROTOCOLS["brain"]
    rungs = {**ladder(protocol, bench), **elastix_rung(protocol, bench)}
    persons = subjects(folder, protocol.folder, split)[:_PERSONS]
    images = {person: folder / protocol.folder / protocol.image.format(subject=person) for person in persons}
    planned = [
        Planned(_case(maker, triple), partial(_prepared, rungs[maker], triple, images))
        for triple in triples(persons)
        for maker in MAKERS
    ]
    option = "" if split == "val" else f"--split {split} "
    return Study(
        name=known_name(split),
        title="A known deformation of a brain: how far the field that is found is from it",
        data=Cases(
            name=protocol.data.name,
            split=split,
            persons=f"the first {len(persons)} persons of {split}, three to each case, in a cycle",
            terms=protocol.data.terms,
            names=tuple(case.name for case in planned),
        ),
        protocol=(
            "A field found between two persons, its affine aside, is brought to a third person by an affine and moves "
            "their image, interpolated once by cubics; noise of the image's own level is added to both. Error: "
            "distance in mm, at each voxel of the moved brain, of where the whole map that a tool found takes it from "
            "where the truth takes it. Methods run in turn on each case."
        ),
        commands=(
            f"python -m lightcrcf_bench.smoothness known-deformation {option}--data ../shared/data "
            f"--out benchmarks/history/DATE-{known_name(split)}.json",
            "lightcrcf bench report",
        ),
        planned=planned,
        rungs=rungs,
    )


def conjugated(chain: Chain, there: Affine) -> Chain:
    """Return the deformation of a chain without its affine, conjugated to another space: back(deformation(there(x))).

    Args:
        chain: whose field it is.
        there: from points of the other space to those of the field.
    """
    return Chain(there, chain.field, there.inverse())


def _case(maker: str, triple: Triple) -> str:
    fixed, moving, third = triple
    return f"{maker} {fixed} <- {moving} on {third}"


def _prepared(maker: Rung, triple: Triple, images: dict[str, Path], bench: BenchSettings) -> Ready:
    third = read(images[triple[2]])
    truth = truth_on(third, maker, triple[:2], images, bench)
    return moved_case(_case(maker.runner.name, triple), (third, third), truth, bench)


def truth_on(third: Volume, maker: Rung, pair: tuple[str, str], images: dict[str, Path], bench: BenchSettings) -> Chain:
    """Return a method's field of two persons, as a map of a third one's space.

    It is found once and kept in the bench's `work` for all that is measured against it, as the tools' results are.

    Args:
        third: whose space it is.
        maker: the method.
        pair: fixed and moving person.
        images: of the persons.
        bench: how to run.

    Raises:
        InputError: if the method fails.
    """
    fixed, moving = pair
    result = maker.runner.run(Images(fixed, moving, images[fixed], images[moving]), bench)
    if result.chain is None or result.chain.field is None:
        got = result.metadata.failure or "no field"
        raise InputError(maker.runner.name, expected="a field for the truth", got=got, remedy="see why it failed")
    return conjugated(result.chain, align(third, read(images[fixed])).affine)


def moved_case(name: str, scans: tuple[Volume, Volume], truth: Chain, bench: BenchSettings) -> Ready:
    """Return a case whose truth is known: one scan moved by it is fixed, the other one moving; both get noise.

    Args:
        name: decides the noise.
        scans: of one space; the first is moved.
        truth: from points of the moved one to those of the other.
        bench: below whose `work` both images are left.
    """
    random, place = random_of(name), name.replace(" <- ", "-").replace(" ", "_")
    still = moved(scans[0], truth)
    shown = [noisy(scan, noise_level(of), random) for scan, of in zip((still, scans[1]), scans, strict=True)]
    brain = np.asarray(still.data > 0)
    points = points_of(brain, still.grid)
    wanted, truth_spread = truth.points(points), volume_change(truth, still.grid, brain)["sdlogj_inside"]

    def score(chain: Chain) -> dict[str, float]:
        errors = distances(chain, points, wanted)
        return {
            "error_mean_mm": float(errors.mean()),
            "error_median_mm": float(np.median(errors)),
            "error_p95_mm": float(np.percentile(errors, 95)),
            "truth_sdlogj_inside": truth_spread,
            "sdlogj_inside": volume_change(chain, still.grid, brain)["sdlogj_inside"],
        }

    return Ready(left(bench.work / KNOWN, place, *shown), score)
