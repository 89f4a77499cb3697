"""Options that several commands have: what they are called, what they take, what their help says."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

__all__ = [
    "ChannelWeight",
    "Coarsen",
    "Device",
    "DeviceOption",
    "EngineName",
    "EngineOption",
    "FillOption",
    "Init",
    "Jacobian",
    "Model",
    "Precision",
    "PrecisionOption",
    "Preset",
    "PresetOption",
    "Refine",
    "Scheduler",
    "SimilarityName",
    "SimilarityOption",
    "Smoothness",
    "Transform",
    "TransformOption",
    "Workers",
]  # fmt: skip


class Preset(str, Enum):
    """How much time to spend after the affine alignment."""

    fast = "fast"
    default = "default"
    accurate = "accurate"


class Transform(str, Enum):
    """What may move."""

    rigid = "rigid"
    similarity = "similarity"
    affine = "affine"
    deformable = "deformable"


class EngineName(str, Enum):
    """What runs the network."""

    auto = "auto"
    openvino = "openvino"
    torch = "torch"


class Device(str, Enum):
    """Where the network runs."""

    cpu = "cpu"
    cuda = "cuda"


class Precision(str, Enum):
    """Arithmetic of the network."""

    auto = "auto"
    f32 = "f32"
    bf16 = "bf16"


class SimilarityName(str, Enum):
    """Whether the images are of one contrast."""

    auto = "auto"
    same = "same"
    any = "any"


Model = Annotated[
    str, typer.Option(help="auto, none (no network), a name from `lightcrcf models list`, or a .safetensors file.")
]
Init = Annotated[
    str, typer.Option(help="auto: affine alignment included; none: trust the headers; or an ITK affine file.")
]
PresetOption = Annotated[
    Preset, typer.Option(help="fast: the network alone; default: and some refinement; accurate: and more.")
]
TransformOption = Annotated[
    Transform, typer.Option(help="rigid; similarity: and one scale; affine; deformable: and a field.")
]
Refine = Annotated[int | None, typer.Option(min=0, help="Refinement steps at full resolution [default: by preset].")]
Coarsen = Annotated[
    int, typer.Option(min=1, help="Make the voxels of the working grid so many times larger, to save memory.")
]
Smoothness = Annotated[
    float,
    typer.Option(
        min=0.1, max=10.0, help="How smooth the refined field is: 0.5 rougher, 2 smoother; not with --preset fast."
    ),
]
SimilarityOption = Annotated[
    SimilarityName, typer.Option(help="any: the images are of different contrasts; same: of one; auto: look.")
]
ChannelWeight = Annotated[
    list[float] | None,
    typer.Option(
        metavar="<x>", help="How much a pair of volumes tells; once for each pair, in order [default: all alike]."
    ),
]
Jacobian = Annotated[
    bool,
    typer.Option("--jacobian", help="Write jacobian.nii.gz and log_jacobian.nii.gz too: how volumes change locally."),
]
EngineOption = Annotated[EngineName, typer.Option(help="What runs the network.")]
DeviceOption = Annotated[Device, typer.Option(help="Where the network runs.")]
PrecisionOption = Annotated[Precision, typer.Option(help="Arithmetic of the network.")]
FillOption = Annotated[
    str,
    typer.Option(
        metavar="X|nan|auto", help="Value where the moved image has no data; auto: its own background (labels: 0)."
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Processes on this machine, which share its cores.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="<address>", help="A running Dask cluster does the work: tcp://host:port, or its --scheduler-file."
    ),
]
