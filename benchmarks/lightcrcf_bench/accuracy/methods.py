"""Methods of the accuracy benchmark: commands, and the transforms and times that they return."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from lightcrcf.errors import InputError, LightCRCFError
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import read_affine, read_field, read_transform_folder
from lightcrcf_bench.accuracy import peers
from lightcrcf_bench.accuracy.environments import Environments
from lightcrcf_bench.accuracy.protocols import Images, PeerSettings, Protocol
from lightcrcf_bench.measure import CommandError, Measured, machine, run
from lightcrcf_bench.records.parts import Machine, Training
from lightcrcf_bench.speed.worker import limited

__all__ = [
    "OURS",
    "BenchSettings",
    "MethodResult",
    "MethodRunner",
    "OwnConfiguration",
    "RunMetadata",
    "method_runners",
    "own_runner",
    "peer_runner",
    "read_chain",
    "stages_of",
    "unregistered",
]  # fmt: skip

_METADATA = "measured.json"


class RunMetadata(BaseModel):
    """Metadata of one run: date, machine, versions, command, time and memory; stored beside its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measured: date
    machine: Machine
    versions: dict[str, str] = {}
    command: tuple[str, ...] = ()
    failure: str | None = None
    seconds: float | None = None
    call_seconds: float | None = None
    peak_mib: float | None = None
    load_before: float | None = None
    stages: str | None = None


@dataclass(frozen=True)
class MethodResult:
    """Result of a method on one pair.

    Args:
        metadata: how it was made, or why it failed.
        chain: fixed points to moving points; None after a failure.
    """

    metadata: RunMetadata
    chain: Chain | None = None


@dataclass(frozen=True)
class BenchSettings:
    """Settings of a benchmark run.

    Args:
        work: folder for what the methods leave.
        threads: for each method.
        reuse: take what `work` already holds of other tools' results.
        model: of our network, as for `lightcrcf register`; None for the protocol's.
        limit_seconds: stop a command that takes longer, and record it as failed.
        environments: in which other tools are installed.
    """

    work: Path
    threads: int
    reuse: bool = False
    model: str | None = None
    limit_seconds: float | None = None
    environments: Environments = field(default_factory=lambda: Environments(None))


@dataclass(frozen=True)
class MethodRunner:
    """A method that can be run, with its description in records.

    `warm_up` asks for a run that does not count first: ours compiles its kernels the first time after installing.
    """

    name: str
    title: str
    settings: str
    command: str
    timing: str
    run: Callable[[Images, BenchSettings], MethodResult]
    ours: bool = False
    model: str | None = None
    training: Training | None = None
    warm_up: bool = False


@dataclass(frozen=True)
class OwnConfiguration:
    """A configuration of LightCRCF.

    Args:
        title: for tables.
        preset: of the registration; None is the affine alignment alone.
        settings: description of the settings; a record adds the stages that ran.
        options: words after those of model, preset and threads.
    """

    title: str
    preset: str | None
    settings: str
    options: tuple[str, ...] = ()


OURS: dict[str, OwnConfiguration] = {
    "lightcrcf-affine": OwnConfiguration("LightCRCF, affine only", None, "no deformation"),
    "lightcrcf-network": OwnConfiguration(
        "LightCRCF, network alone", "fast", "preset fast without refinement", ("--refine", "0")
    ),
    "lightcrcf-fast": OwnConfiguration("LightCRCF fast", "fast", "preset fast"),
    "lightcrcf-default": OwnConfiguration("LightCRCF default", "default", "preset default"),
    "lightcrcf-accurate": OwnConfiguration("LightCRCF accurate", "accurate", "preset accurate"),
    "lightcrcf-diffeomorphic": OwnConfiguration(
        "LightCRCF default, diffeomorphic", "default", "preset default",
        ("--diffeomorphic",),
    ),
    "lightcrcf-bf16": OwnConfiguration(
        "LightCRCF fast, bf16", "fast", "preset fast", ("--precision", "bf16")
    ),
}  # fmt: skip


def method_runners(protocol: Protocol, bench: BenchSettings) -> dict[str, MethodRunner]:
    """Return all methods for a protocol, by name.

    With a model of the caller's choice, the rows of our network are named after it too: `lightcrcf-fast@NAME`.
    """
    rows = [unregistered()]
    rows += [peer_runner(protocol.folder, name, settings, bench) for name, settings in protocol.peers.items()]
    rows += [own_runner(protocol, name, own, bench) for name, own in OURS.items()]
    return {row.name.partition("@")[0]: row for row in rows}


def read_chain(tool: str, folder: Path) -> Chain:
    """Read the transform that a tool of `peers` wrote, from fixed to moving points.

    Affines are files of ITK, or greedy's 4x4 matrix in RAS; a tool without one left the whole displacement. Labels
    moved by the chain are, voxel for voxel, those that the tool moves itself; a test checks it.

    Raises:
        InputError: if a file is missing or damaged.
    """
    affine = folder / peers.AFFINE
    after = Affine.identity()
    if tool not in peers.WHOLE:
        after = Affine(np.loadtxt(affine)) if tool == "greedy" else read_affine(affine)
    displacement = read_field(folder / peers.WARP) if (folder / peers.WARP).exists() else None
    return Chain(Affine.identity(), displacement, after)


def unregistered() -> MethodRunner:
    """Return the method "no registration": the alignment of the headers."""
    return MethodRunner("identity", "No registration", "the files' headers", "none", "nothing to time", _identity)


def _identity(_pair: Images, _bench: BenchSettings) -> MethodResult:
    return MethodResult(_metadata(), Chain(Affine.identity(), None, Affine.identity()))


def peer_runner(place: str, name: str, settings: PeerSettings, bench: BenchSettings) -> MethodRunner:
    """Return the method for another tool.

    Args:
        place: folder below `work` for what it leaves.
        name: of the method.
        settings: of the tool.
        bench: how to run.
    """
    stages = [("affine", settings.affine), ("deformable", settings.deform)]
    words = "; ".join(f"{stage}: {words}" for stage, words in stages if words)

    def register(pair: Images, bench: BenchSettings) -> MethodResult:
        return _run_peer(settings, pair, bench, bench.work / place / name / f"{pair.fixed}-{pair.moving}")

    return MethodRunner(
        name=name,
        title=settings.title,
        settings=settings.about,
        command=f"{settings.tool} ({words}; {bench.threads} threads)",
        timing=_timing(bench),
        run=register,
    )


def _run_peer(settings: PeerSettings, pair: Images, bench: BenchSettings, folder: Path) -> MethodResult:
    stages = (f"--affine={settings.affine}", f"--deform={settings.deform}", "--threads", str(bench.threads))
    words = (settings.tool, *_files(pair, folder), *stages)
    metadata = _kept(folder, words) if bench.reuse else None
    if metadata is None:
        metadata = _fresh_peer(words, bench, folder)
    if metadata.failure is not None:
        return MethodResult(metadata)
    return MethodResult(metadata, read_chain(settings.tool, folder))


def _fresh_peer(words: tuple[str, ...], bench: BenchSettings, folder: Path) -> RunMetadata:
    folder.mkdir(parents=True, exist_ok=True)
    for left in (_METADATA, peers.AFFINE, peers.WARP):
        (folder / left).unlink(missing_ok=True)
    try:
        program = (str(bench.environments.python(words[0])), "-I", peers.__file__)
        taken = run((*program, *words), bench.limit_seconds, limited(bench.threads))
    except InputError as error:
        return _metadata(command=words, failure=str(error))  # not kept: it may be installed another time
    except CommandError as error:
        metadata = _metadata(command=words, failure=error.reason)
        if error.stopped:
            return metadata  # not kept: on a machine with less to do it may come to its end
    else:
        fields = json.loads((folder / peers.SUMMARY).read_text(encoding="utf-8"))
        metadata = _metadata(taken, command=words, versions=fields["versions"], call_seconds=fields["call_seconds"])
    (folder / _METADATA).write_text(metadata.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return metadata


def _kept(folder: Path, words: tuple[str, ...]) -> RunMetadata | None:
    """Return the metadata of an earlier run of the same command; None without one."""
    try:
        metadata = RunMetadata.model_validate_json((folder / _METADATA).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
    return metadata if metadata.command == words else None


def _files(pair: Images, folder: Path) -> tuple[str, ...]:
    """Return the file options, common to our command and the script of the peers."""
    given = {
        "--fixed": pair.fixed_image, "--moving": pair.moving_image, "--out": folder,
        "--fixed-mask": pair.fixed_mask, "--moving-mask": pair.moving_mask,
    }  # fmt: skip
    return tuple(word for name, path in given.items() if path is not None for word in (name, str(path)))


def own_runner(protocol: Protocol, name: str, own: OwnConfiguration, bench: BenchSettings) -> MethodRunner:
    """Return the method for a configuration of LightCRCF, with the model of the settings or of the protocol."""
    model = "none" if own.preset is None else bench.model or protocol.model
    known = model.rpartition("/")[2].removesuffix(".safetensors")
    chosen = own.preset is not None and bench.model is not None
    options = ("--model", model, "--preset", own.preset or "fast", "--threads", str(bench.threads), *own.options)
    shown = " ".join(("--model", known, *options[2:]))

    def register(pair: Images, bench: BenchSettings) -> MethodResult:
        folder = bench.work / protocol.folder / f"{name}-{known}" / f"{pair.fixed}-{pair.moving}"
        return _register(pair, bench, options, folder)

    return MethodRunner(
        name=f"{name}@{known}" if chosen else name,
        title=f"{own.title}, {known}" if chosen else own.title,
        settings=own.settings,
        command=f"lightcrcf register --fixed F --moving M --out DIR {shown}",
        timing=_timing(bench),
        run=register,
        ours=True,
        model=None if own.preset is None else known,
        training=None if model == "none" else _training(model),
        warm_up=True,
    )


def _training(model: str) -> Training | None:
    """Return the supervision of a model; None if its file is missing."""
    from lightcrcf.weights.store import load

    try:
        return "unsupervised" if load(model).supervision == "none" else "weakly supervised"
    except LightCRCFError:
        return None


def _register(pair: Images, bench: BenchSettings, options: tuple[str, ...], folder: Path) -> MethodResult:
    words = ("register", *_files(pair, folder), *options)
    try:
        taken = run((sys.executable, "-m", "lightcrcf", *words), bench.limit_seconds)
    except CommandError as error:
        return MethodResult(_metadata(failure=error.reason))
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    versions = {"lightcrcf": record["versions"]["lightcrcf"]}
    if record["model"]["name"]:
        versions[f"model {record['model']['name']}"] = record["model"]["sha256"][:12]
    metadata = _metadata(taken, versions=versions, stages=stages_of(record))
    return MethodResult(metadata, read_transform_folder(folder))


def stages_of(run: Mapping[str, Any]) -> str:
    """Describe the stages that a registration ran, by its `run.json`.

    Example:
        >>> levels = [{"scale": 2}, {"scale": 2, "finer_images": True}]
        >>> stages_of({
        ...     "affine": {"measure": "correlation"}, "engine": None, "diffeomorphic": None,
        ...     "refinement": {"start": "identity", "levels": levels},
        ... })
        'affine alignment, refinement from the identity at 1/2 and 1/1'
    """
    stages = ["affine alignment" if run["affine"].get("measure") else "alignment by the headers or a given affine"]
    if run["engine"] is not None:
        stages.append(f"network in {run['engine']['precision']}")
    if run["refinement"] is not None:
        levels = run["refinement"]["levels"]
        *coarse, finest = (f"1/{level['scale'] // (1 + level.get('finer_images', False))}" for level in levels)
        scales = f"{', '.join(coarse)} and {finest}" if coarse else finest
        start = {"network": "the network's field", "identity": "the identity"}[run["refinement"]["start"]]
        stages.append(f"refinement from {start} at {scales}")
    if run["diffeomorphic"] is not None:
        stages.append("removal of folds")
    return ", ".join(stages)


def _timing(bench: BenchSettings) -> str:
    return f"the whole command from start to exit, reading and writing included; {bench.threads} threads"


def _metadata(taken: Measured | None = None, **fields: object) -> RunMetadata:
    figures = {} if taken is None else vars(taken)
    return RunMetadata.model_validate({"measured": date.today(), "machine": machine(), **figures, **fields})
