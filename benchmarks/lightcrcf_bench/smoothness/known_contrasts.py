"""Known deformations and known rigid moves between contrasts of one person, whose scans lie on one grid."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.matrices import rotation_about_axes
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.accuracy.methods import BenchSettings, OwnConfiguration, own_runner, peer_runner, unregistered
from lightcrcf_bench.accuracy.protocols import PROTOCOLS, PeerSettings, Protocol
from lightcrcf_bench.smoothness.known import moved_case, truth_on
from lightcrcf_bench.smoothness.ladder import DEFAULT, across_ladder, ladder
from lightcrcf_bench.smoothness.record import Cases
from lightcrcf_bench.smoothness.simulate import random_of
from lightcrcf_bench.smoothness.study import Planned, Ready, Rung, Study, subjects

__all__ = ["KNOWN_CONTRASTS", "KNOWN_RIGID", "MAKERS_ACROSS", "known_contrasts", "known_rigid", "rigid_move"]

KNOWN_CONTRASTS, KNOWN_RIGID = "known-contrasts", "known-rigid"
MAKERS_ACROSS = ("syn-3-0", "syn-3-1.5", f"{DEFAULT}-1")
"""Methods whose fields are the truths."""
_PAIRS = (("T2w", "T1w"), ("T1w", "T2w"), ("FLAIR", "T1w"), ("T1w", "FLAIR"))  # moved and fixed, moving
_MOVES, _DEGREES, _MM = 3, 20.0, 20.0
_FOLDER, _PERSON = "contrasts", "07"
_ERROR = "distance in mm, at each voxel of the fixed brain, of where a tool takes it from where the truth takes it"
_COMMAND = "python -m lightcrcf_bench.smoothness"


def known_contrasts(folder: Path, bench: BenchSettings) -> Study:
    """Return the study of known deformations: fields between two other subjects, applied to T1, T2 and FLAIR of one.

    Args:
        folder: of all data sets.
        bench: how to run.

    Raises:
        InputError: if the data are not there.
    """
    protocol = PROTOCOLS["brain"]
    persons = subjects(folder, protocol.folder, "val")[:2]
    images = {person: folder / protocol.folder / protocol.image.format(subject=person) for person in persons}
    makers = ladder(protocol, bench)
    return _study(
        KNOWN_CONTRASTS,
        "A known deformation between contrasts: how far the map that is found is from it",
        "A field that a tool found between two other persons, its affine aside, is brought to the person by an affine "
        "and moves the fixed image, interpolated once by cubics; the moving one is another contrast.",
        [
            Planned(
                f"{maker} {_case(*pair)}",
                partial(_deformed, makers[maker], (persons[0], persons[1]), images, folder, pair),
            )
            for maker in MAKERS_ACROSS
            for pair in _PAIRS
        ],
        across_ladder(protocol, bench),
    )


def known_rigid(folder: Path, bench: BenchSettings) -> Study:
    """Return the study of known rigid moves, up to 20 degrees and 20 mm, between T1, T2 and FLAIR of one subject.

    Args:
        folder: of all data sets.
        bench: how to run.
    """
    return _study(
        KNOWN_RIGID,
        "A known rigid move between contrasts: how far the one that is found is from it",
        f"The fixed image is turned by up to {_DEGREES:g} degrees and shifted by up to {_MM:g} mm about and along each "
        "axis, interpolated once by cubics; the moving one is another contrast.",
        [
            Planned(f"{number} {_case(*pair)}", partial(_turned, f"{number} {_case(*pair)}", folder, pair))
            for number in range(1, _MOVES + 1)
            for pair in _PAIRS
        ],
        _rigid_ladder(PROTOCOLS["brain"], bench),
    )


def rigid_move(name: str, grid: Grid) -> Affine:
    """Return a turn and a shift about the middle of a grid, which a name alone decides.

    Args:
        name: of the case.
        grid: of the image.
    """
    random, centre = random_of(name), grid.world((np.array(grid.shape) - 1) / 2)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_about_axes(random.uniform(-_DEGREES, _DEGREES, 3))
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + random.uniform(-_MM, _MM, 3)
    return Affine(matrix)


def _study(name: str, title: str, protocol: str, planned: list[Planned], rungs: dict[str, Rung]) -> Study:
    return Study(
        name=name,
        title=title,
        data=Cases(
            name="T1, T2 and FLAIR of a person with multiple sclerosis, skull-stripped, on one grid of 1 mm",
            split="val",
            persons="one person, not used in training",
            terms="CC BY 4.0; Lesjak et al. 2018",
            names=tuple(case.name for case in planned),
        ),
        protocol=f"{protocol} Noise of each image's own level is added to it. Error: {_ERROR}.",
        commands=(
            f"{_COMMAND} {name} --data ../shared/data --out benchmarks/history/DATE-{name}.json",
            "lightcrcf bench report",
        ),
        planned=planned,
        rungs=rungs,
    )


def _case(fixed: str, moving: str) -> str:
    return f"{fixed} <- {moving}"


def _scans(folder: Path, pair: tuple[str, str]) -> tuple[Volume, Volume]:
    files = [folder / _FOLDER / f"sub-{_PERSON}_{contrast}.nii.gz" for contrast in pair]
    for file in files:
        if not file.is_file():
            raise InputError(str(file), expected="a volume", got="no such file", remedy="check --data")
    return read(files[0]), read(files[1])


def _deformed(
    maker: Rung,
    persons: tuple[str, str],
    images: dict[str, Path],
    folder: Path,
    pair: tuple[str, str],
    bench: BenchSettings,
) -> Ready:
    t1, scans = _scans(folder, ("T1w", "T1w"))[0], _scans(folder, pair)
    truth = truth_on(t1, maker, persons, images, bench)
    return moved_case(f"{maker.runner.name} {_case(*pair)}", scans, truth, bench)


def _turned(name: str, folder: Path, pair: tuple[str, str], bench: BenchSettings) -> Ready:
    scans = _scans(folder, pair)
    return moved_case(name, scans, Chain(Affine.identity(), None, rigid_move(name, scans[0].grid)), bench)


def _rigid_ladder(protocol: Protocol, bench: BenchSettings) -> dict[str, Rung]:
    own = OwnConfiguration("LightCRCF, rigid", None, "the rigid alignment alone", ("--transform", "rigid"))
    peers = {
        "greedy-rigid": PeerSettings(
            "greedy", "greedy NMI, rigid", "-ia-image-centers -dof 6 -m NMI -n 100x50x10 -seed 1", "", "6 parameters"
        ),
        "ants-rigid": PeerSettings("ants", "ANTs, rigid", "Rigid", "", "antspyx defaults, Mattes mutual information"),
        "simpleitk-rigid": PeerSettings(
            "demons", "SimpleITK Mattes, rigid", "moments 200 rigid", "",
            "Mattes mutual information of a fifth of the voxels, three resolutions",
        ),
    }  # fmt: skip
    rungs = [Rung(unregistered(), "identity", usual=True)]
    rungs += [Rung(own_runner(protocol, "lightcrcf-rigid", own, bench), "lightcrcf-rigid", usual=True)]
    rungs += [
        Rung(peer_runner(protocol.folder, name, settings, bench), name, usual=True) for name, settings in peers.items()
    ]
    return {rung.runner.name.partition("@")[0]: rung for rung in rungs}
