"""What the accuracy benchmark compares: how each method is run on a pair, and what it leaves to be scored."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lightcrcf.benchmark import peers
from lightcrcf.benchmark.measure import machine, run
from lightcrcf.benchmark.records import Machine
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import read_affine, read_field, read_transform_folder

__all__ = ["METHODS", "Bench", "Contender", "Outcome", "Pair", "Stamp"]

_STAMP = "measured.json"


@dataclass(frozen=True)
class Pair:
    """The files of one registration."""

    fixed: str
    moving: str
    fixed_image: Path
    moving_image: Path
    fixed_labels: Path
    moving_labels: Path


class Stamp(BaseModel):
    """When, where and by what an outcome was made, and what it took; kept beside the outcome."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measured: date
    machine: Machine
    versions: dict[str, str]
    seconds: float | None = None
    peak_mib: float | None = None
    load_before: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What a method left for one pair.

    Args:
        stamp: how it was made.
        chain: fixed points to moving points; None if only labels are scored.
        moved_labels: labels as the method itself moved them; None to move them by `chain`.
    """

    stamp: Stamp
    chain: Chain | None
    moved_labels: Path | None = None


@dataclass(frozen=True)
class Bench:
    """Where and how to run.

    Args:
        work: folder for what the methods leave.
        threads: for each method.
        reuse: take what `work` already holds of other tools' results.
        model: of our network, as for `lightcrcf register`.
    """

    work: Path
    threads: int
    reuse: bool = False
    model: str = "auto"


@dataclass(frozen=True)
class Contender:
    """One method: how a record describes it and how it is run.

    `{threads}` and `{model}` in the texts are filled in. `warm_up` asks for a run that does not count first: ours
    compiles its kernels the first time after installing.
    """

    title: str
    settings: str
    command: str
    timing: str
    run: Callable[[Pair, Bench], Outcome]
    warm_up: bool = False


def _identity(_pair: Pair, _bench: Bench) -> Outcome:
    return Outcome(_stamp({}), Chain(Affine.identity(), None, Affine.identity()))


def _syn(pair: Pair, bench: Bench) -> Outcome:
    folder, stamp = _syn_folder(pair, bench)
    chain = Chain(Affine.identity(), read_field(folder / peers.WARP), read_affine(folder / peers.AFFINE))
    return Outcome(stamp, chain, folder / peers.LABELS)


def _syn_affine(pair: Pair, bench: Bench) -> Outcome:
    folder, stamp = _syn_folder(pair, bench)
    timeless = stamp.model_copy(update={"seconds": None, "peak_mib": None, "load_before": None})
    return Outcome(timeless, None, folder / peers.AFFINE_LABELS)


@cache  # both of SyN's stages are scored from one run
def _syn_folder(pair: Pair, bench: Bench) -> tuple[Path, Stamp]:
    """Run SyN, or take its results if they may be reused."""
    folder = bench.work / "ants-syn" / f"{pair.fixed}-{pair.moving}"
    if not (bench.reuse and (folder / _STAMP).is_file()):
        files = {
            "--fixed": pair.fixed_image,
            "--moving": pair.moving_image,
            "--moving-labels": pair.moving_labels,
            "--out": folder,
        }
        arguments = [str(word) for item in files.items() for word in item]
        module = [sys.executable, "-m", "lightcrcf.benchmark.peers"]
        taken = run([*module, *arguments, "--threads", str(bench.threads)])
        summary = json.loads((folder / peers.SUMMARY).read_text(encoding="utf-8"))
        stamp = _stamp(
            {"antspyx": summary["antspyx"]},
            seconds=summary["seconds"],
            peak_mib=taken.peak_mib,
            load_before=taken.load_before,
        )
        (folder / _STAMP).write_text(stamp.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return folder, Stamp.model_validate_json((folder / _STAMP).read_text(encoding="utf-8"))


def _affine_alone(pair: Pair, bench: Bench) -> Outcome:
    return _register(pair, bench, "lightcrcf-affine", "none")


def _network(pair: Pair, bench: Bench) -> Outcome:
    return _register(pair, bench, "lightcrcf", bench.model)


def _register(pair: Pair, bench: Bench, name: str, model: str) -> Outcome:
    folder = bench.work / name / f"{pair.fixed}-{pair.moving}"
    files = ["--fixed", str(pair.fixed_image), "--moving", str(pair.moving_image), "--out", str(folder)]
    options = ["--model", model, "--preset", "fast", "--threads", str(bench.threads)]
    taken = run([sys.executable, "-m", "lightcrcf", "register", *files, *options])
    told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    versions = {package: told["versions"][package] for package in ("lightcrcf", "openvino", "numba")}
    if told["model"]["name"]:
        versions[f"model {told['model']['name']}"] = told["model"]["sha256"][:12]
    stamp = _stamp(versions, seconds=taken.seconds, peak_mib=taken.peak_mib, load_before=taken.load_before)
    return Outcome(stamp, read_transform_folder(folder))


def _stamp(versions: dict[str, str], **taken: float) -> Stamp:
    return Stamp(measured=date.today(), machine=machine(), versions=versions, **taken)


_OURS = "lightcrcf register --fixed F --moving M --out DIR --preset fast --threads {threads} --model"
_SYN = "ants.registration(fixed, moving, type_of_transform='SyN')"
_COLD = "the whole command from start to exit, reading and writing included; {threads} threads"

METHODS: dict[str, Contender] = {
    "identity": Contender("No registration", "the files' headers", "none", "nothing to time", _identity),
    "ants-affine": Contender(
        "ANTs affine",
        "the affine stage of the same SyN run: 12 parameters, Mattes mutual information",
        _SYN,
        "part of SyN's",
        _syn_affine,
    ),
    "ants-syn": Contender(
        "ANTs SyN",
        "antspyx defaults: affine and SyN by Mattes mutual information, 40 x 20 x 0 iterations; seed 1",
        _SYN,
        "the call alone, affine included, volumes already in memory; {threads} ITK threads",
        _syn,
    ),
    "lightcrcf-affine": Contender(
        "LightCRCF, affine only", "the affine alignment alone", f"{_OURS} none", _COLD, _affine_alone, warm_up=True
    ),
    "lightcrcf": Contender(
        "LightCRCF, network alone",
        "affine alignment and one pass of the network",
        f"{_OURS} {{model}}",
        _COLD,
        _network,
        warm_up=True,
    ),
}
