"""The record of one registration, `run.json`: what went in, what was done, what came out.

These classes are the only description of the file. Registration builds a `RunRecord` once, `serialization` writes and
reads it, and its JSON Schema is made from the same classes. Readers must ignore unknown names: later versions may add
names, but never change what one means without another `schema`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lightcrcf.evaluation.jacobian import JacobianSummary
from lightcrcf.geometry.grid import Grid
from lightcrcf.options import Options
from lightcrcf.quality.label_check import LabelMapRecord
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.verdict import Quality
from lightcrcf.refinement.schedule import Level
from lightcrcf.refinement.unfolding import UnfoldingSummary
from lightcrcf.run_record.input_files import Source
from lightcrcf.weights.preparation import Preparation

__all__ = [
    "SCHEMA", "AffineRecord", "BrainRecord", "ChannelRecord", "ContentRecord", "ContrastRecord", "EngineRecord",
    "GridRecord", "InputPairRecord", "InputRecord", "InputsRecord", "LevelRecord", "Machine", "ModelRecord",
    "PreprocessingRecord", "RefinementRecord", "RunRecord", "SimilarityRecord", "TransformsRecord", "matrix_rows",
]  # fmt: skip

Triple = tuple[float, float, float]
Row = tuple[float, float, float, float]
Matrix = tuple[Row, Row, Row, Row]

SCHEMA: Literal["lightcrcf-run-1"] = "lightcrcf-run-1"


def _is(description: str, **default: Any) -> Any:
    """Return a field with a description for the JSON Schema."""
    return field(metadata={"description": description}, **default)


@dataclass(frozen=True, kw_only=True)
class GridRecord:
    """A voxel grid."""

    shape: tuple[int, int, int]
    spacing_mm: Triple
    affine: Matrix = _is("voxel index to RAS+ mm")

    @classmethod
    def of(cls, grid: Grid) -> GridRecord:
        """Return the record of a grid."""
        x, y, z = grid.spacing_mm.tolist()
        return cls(shape=grid.shape, spacing_mm=(x, y, z), affine=matrix_rows(grid.affine.tolist()))


def matrix_rows(rows: list[list[float]]) -> Matrix:
    """Return four rows of four numbers as tuples."""
    a, b, c, d = ((w, x, y, z) for w, x, y, z in rows)
    return a, b, c, d


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine of a run."""

    cpu: str
    cores: int


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """The model, or the reason why there is none."""

    name: str | None
    sha256: str | None = None
    parameters: int | None = None
    preparation: Preparation | None = None
    reason: str


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """The engine that ran the network."""

    name: str
    device: str
    precision: str


@dataclass(frozen=True, kw_only=True)
class ContentRecord:
    """The image type, as estimated."""

    kind: str
    ct: bool
    foreground_litres: float


@dataclass(frozen=True, kw_only=True)
class PreprocessingRecord:
    """From the axes and intensities of the file to those of the working grid."""

    axis_permutation: tuple[int, int, int]
    axis_flips: tuple[bool, bool, bool]
    intensity_zero: float
    intensity_one: float


@dataclass(frozen=True, kw_only=True)
class BrainRecord:
    """The brain of an image: of a head that was registered by it alone, or because its mask was asked for."""

    by: Literal["network", "mask"] = _is("the source of its mask: the network for brains, or a mask that was given")
    litres: float
    registered_alone: bool = _is("whether the brain alone was registered, everything around it removed")
    certainty: float | None = _is("mean probability within the mask, by the network; null for a mask that was given")


@dataclass(frozen=True, kw_only=True)
class InputRecord:
    """One of the two images as it was read."""

    source: str
    dtype: str
    grid: GridRecord
    notes: tuple[str, ...] = _is("what the reader had to assume or mend")
    content: ContentRecord
    preprocessing: PreprocessingRecord
    unknown: dict[str, int] = _is("voxels without data, by cause")
    brain: BrainRecord | None = _is("its brain, where that was looked for and found")


@dataclass(frozen=True, kw_only=True)
class InputPairRecord:
    """Both images of a further pair."""

    fixed: InputRecord
    moving: InputRecord


@dataclass(frozen=True, kw_only=True)
class InputsRecord:
    """Both images; of several pairs the first one, on whose fixed grid results lie, and then the others.

    No image is resampled onto another one's grid beforehand: each is interpolated once, onto the working grid.
    """

    fixed: InputRecord
    moving: InputRecord
    further: tuple[InputPairRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ContrastRecord:
    """Contrasts of both images as the affine alignment saw them: correlations of the locally normalised images."""

    same: bool = _is("whether they were aligned as images of one contrast; else across contrasts")
    plain: float = _is("of the images as they are")
    recoloured: float = _is("of each with the other one, its intensities mapped by their joint histogram")


@dataclass(frozen=True, kw_only=True)
class AffineRecord:
    """The affine part; all but the matrix is missing where it was given or not wanted."""

    fixed_to_moving_ras_mm: Matrix
    measure: str | None = None
    similarity_before: float | None = None
    similarity_after: float | None = None
    start: str | None = None
    iterations: int | None = None
    rotation_deg: float | None = None
    scales: Triple | None = None
    contrast: ContrastRecord | None = _is("of several pairs of images the mean", default=None)
    contrasts: tuple[ContrastRecord, ...] | None = _is("of each, where there are several", default=None)


@dataclass(frozen=True, kw_only=True)
class TransformsRecord:
    """Application of the transform files."""

    maps: str
    order_for_points: tuple[str, ...]
    convention: str


@dataclass(frozen=True, kw_only=True)
class SimilarityRecord:
    """Decision between one contrast and two for a pair, and the correlations it rests on."""

    contrasts: Literal["same", "any"]
    correlation: float = _is("mean signed local correlation after the affine")
    correlation_recoloured: float = _is(
        "the same with the intensities of one image mapped to the other one's; `auto` is `any` where the first is less "
        "than .87 of this one"
    )


@dataclass(frozen=True, kw_only=True)
class ChannelRecord:
    """One of several pairs of images that one transform aligns."""

    weight: float = _is("of this pair in the objective; all sum to 1")
    similarity: SimilarityRecord
    metrics: QualityMetrics
    qc: Quality


@dataclass(frozen=True)
class LevelRecord(Level):
    """One level of the refinement: its settings, and the steps that were done by all candidates together."""

    steps_done: int = field(kw_only=True)


@dataclass(frozen=True, kw_only=True)
class RefinementRecord:
    """Result of the refinement."""

    start: Literal["network", "identity"]
    levels: tuple[LevelRecord, ...]
    finest_scale: int
    objective: str
    objective_before: float
    objective_after: float
    folding_percent: float
    merge_accepted: bool | None = _is("whether the merged field was kept; null with one candidate")
    template_accepted: bool | None = _is("whether the field via the template was merged too; null without one")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """`run.json` of `lightcrcf register`."""

    schema: Literal["lightcrcf-run-1"]
    versions: dict[str, str]
    machine: Machine
    options: Options
    model: ModelRecord
    engine: EngineRecord | None
    inputs: InputsRecord
    working_grid: GridRecord
    field_grid: GridRecord | None
    affine: AffineRecord
    transforms: TransformsRecord
    metrics: QualityMetrics = _is("of several pairs those of the first one")
    qc: Quality = _is("of several pairs the worst verdict, with the reasons of all")
    timings_s: dict[str, float]
    peak_memory_mb: float | None
    similarity: SimilarityRecord = _is("of several pairs the first one")
    channels: tuple[ChannelRecord, ...] = _is("every pair where there are several")
    refinement: RefinementRecord | None
    diffeomorphic: UnfoldingSummary | None
    jacobian: JacobianSummary | None
    deformed: bool = _is("whether there is a deformation; it must gain more than noise gives")
    estimated_memory_mb: float = _is("estimate before the work")
    sources: tuple[Source, ...]
    labels: tuple[LabelMapRecord, ...]
    files: dict[str, str] = _is("description of each file of the folder")
    files_sha256: dict[str, str] = _is("of the volumes and transforms")
