"""The schema of `run.json`, from which the published JSON Schema is written.

Readers must leave alone what they do not know: later versions may add names, but never change what one means without
another `schema`.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lightcrcf.options import Options, help_of

__all__ = ["RunRecord", "json_schema", "shipped_schema"]

Triple = tuple[float, float, float]
Row = tuple[float, float, float, float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class GridRecord(_Part):
    """A voxel grid."""

    shape: tuple[int, int, int]
    spacing_mm: Triple
    affine: tuple[Row, Row, Row, Row] = Field(description="voxel index to RAS+ mm")


class Source(_Part):
    """What came from outside: a file or folder, or something in memory."""

    role: Literal[
        "fixed", "moving", "fixed_mask", "moving_mask", "fixed_labels", "moving_labels", "also", "init", "model"
    ]
    path: str | None = Field(description="absolute; null for something in memory")
    sha256: str | None = Field(description="of the bytes; of folders and detached headers see docs/run-json.md")


class Machine(_Part):
    """Where it ran."""

    cpu: str
    cores: int


class Model(_Part):
    """The network, or the reason why there is none."""

    name: str | None
    reason: str
    sha256: str | None = None
    parameters: int | None = None
    preparation: dict[str, Any] | None = None


class EngineRecord(_Part):
    """What ran the network."""

    name: str
    device: str
    precision: str


class Preprocessing(_Part):
    """From the file's axes and intensities to those of the working grid."""

    axis_permutation: tuple[int, int, int]
    axis_flips: tuple[bool, bool, bool]
    intensity_zero: float
    intensity_one: float


class Content(_Part):
    """What the image seems to show."""

    kind: str
    ct: bool
    foreground_litres: float


class Input(_Part):
    """One of the two images as it was read."""

    source: str
    dtype: str
    grid: GridRecord
    notes: tuple[str, ...] = Field(description="what the reader had to assume or mend")
    content: Content
    preprocessing: Preprocessing
    unknown: dict[str, int] = Field(description="voxels without data, by what made them so", default={})
    brain: BrainRecord | None = Field(description="its brain, where that was looked for and found", default=None)


class InputPair(_Part):
    """Both images of a further pair."""

    fixed: Input
    moving: Input


class Inputs(_Part):
    """Both images; of several pairs the first one, on whose fixed grid results lie, and then the others.

    No image is resampled onto another one's grid beforehand: each is interpolated once, onto the working grid.
    """

    fixed: Input
    moving: Input
    further: tuple[InputPair, ...] = ()


class BrainRecord(_Part):
    """The brain of an image: of a head that was registered by it alone, or because its mask was asked for."""

    by: Literal["network", "mask"] = Field(description="what found it: our network, or a mask that was given")
    litres: float
    certainty: float | None = Field(
        description="mean probability within the mask, by the network; null for a mask that was given"
    )
    registered_alone: bool = Field(description="whether the brain alone was registered, all around it left out")


class ContrastRecord(_Part):
    """Whether both images have one contrast; correlations of the locally normalised images after the alignment."""

    same: bool = Field(description="whether they were aligned as images of one contrast; else across contrasts")
    plain: float = Field(description="of the images as they are")
    recoloured: float = Field(description="of each with the other one, recoloured by their joint histogram")


class AffineRecord(_Part):
    """The affine part; all but the matrix is missing where it was given or not wanted."""

    fixed_to_moving_ras_mm: tuple[Row, Row, Row, Row]
    measure: str | None = None
    similarity_before: float | None = None
    similarity_after: float | None = None
    start: str | None = None
    iterations: int | None = None
    rotation_deg: float | None = None
    scales: Triple | None = None
    shears: Triple | None = None
    contrast: ContrastRecord | None = Field(default=None, description="of several pairs of images the mean")
    contrasts: tuple[ContrastRecord, ...] | None = Field(default=None, description="of each, where there are several")


class SimilarityRecord(_Part):
    """Whether the images were taken for ones of one contrast, and what that was decided by."""

    contrasts: Literal["same", "any"]
    correlation: float = Field(description="mean signed local correlation after the affine")
    correlation_recoloured: float = Field(
        description="the same with one image in the other one's shades; `auto` is `any` where the first is less than "
        ".87 of this one"
    )


class Transforms(_Part):
    """How to apply the files."""

    maps: str
    order_for_points: tuple[str, ...]
    convention: str


class Judged(_Part):
    """One figure of quality control against its limits."""

    figure: str
    value: float | Triple
    passes: str
    state: Literal["pass", "check", "fail"]


class Quality(_Part):
    """The verdict."""

    verdict: Literal["pass", "check", "fail"]
    reasons: tuple[str, ...]
    remarks: tuple[str, ...] = Field(description="those of the reasons that are no figures")
    judged: tuple[Judged, ...]
    limits: str | None = Field(
        default=None, description="the model or kind of image whose measured limits were used; null for those of all"
    )


class Structure(_Part):
    """One label of a map that was moved."""

    moving_mm3: float
    moved_mm3: float
    ratio: float = Field(description="volume after / before, the affine's own factor taken out")
    dice: float | None = Field(default=None, description="with the fixed labels, where there were some")


class JacobianRecord(_Part):
    """The maps of local volume change."""

    affine_determinant: float = Field(description="in jacobian.nii.gz, and not in log_jacobian.nii.gz")
    log_floor: float = Field(description="the least determinant of which a logarithm was taken")
    folded_voxels: int = Field(description="where the determinant of the deformation is not positive")
    raised_voxels: int = Field(description="where it is below the floor, folded ones among them")


class LabelMap(_Part):
    """One label map that was moved."""

    source: str
    structures: dict[str, Structure]
    notes: tuple[str, ...]


class ChannelRecord(_Part):
    """One of several pairs of images that one transform aligns."""

    weight: float = Field(description="its share of what all pairs tell; they sum to 1")
    similarity: SimilarityRecord
    metrics: dict[str, float | Triple]
    qc: Quality


class RunRecord(_Part):
    """`run.json` of `lightcrcf register`."""

    schema_: Literal["lightcrcf-run-1"] = Field(alias="schema")
    versions: dict[str, str]
    machine: Machine
    options: Options
    sources: tuple[Source, ...]
    model: Model
    engine: EngineRecord | None
    inputs: Inputs
    working_grid: GridRecord
    field_grid: GridRecord | None
    affine: AffineRecord
    similarity: SimilarityRecord = Field(description="of several pairs the first one")
    channels: tuple[ChannelRecord, ...] = Field(default=(), description="every pair where there are several")
    transforms: Transforms
    metrics: dict[str, float | Triple] = Field(description="of several pairs those of the first one")
    qc: Quality = Field(description="of several pairs the worst verdict, with the reasons of all")
    timings_s: dict[str, float]
    peak_memory_mb: float | None
    estimated_memory_mb: float = Field(description="as it was estimated before the work")
    coverage: float = Field(description="share of the fixed foreground for which the moving image has data")
    deformed: bool = Field(description="whether there is a deformation; it must gain more than noise gives")
    refinement: dict[str, Any] | None
    diffeomorphic: dict[str, Any] | None
    jacobian: JacobianRecord | None
    labels: tuple[LabelMap, ...]
    files: dict[str, str] = Field(description="what each file of the folder is")
    files_sha256: dict[str, str] = Field(description="of the volumes and transforms")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `run.json`."""
    schema = RunRecord.model_json_schema(by_alias=True)
    for name, told in schema["$defs"]["Options"]["properties"].items():
        told["description"] = help_of(name)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def shipped_schema() -> dict[str, Any]:
    """The same as it lies in the package, `lightcrcf/run_record/run.schema.json`."""
    text = (resources.files("lightcrcf.run_record") / "run.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
