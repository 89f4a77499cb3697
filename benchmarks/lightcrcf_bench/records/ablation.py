"""Records of ablations, `DATE-RECIPE-ablation.json` in `benchmarks/history`, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Annotated, Literal

from pydantic import Field

from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.records.parts import Measurement, Strict

__all__ = ["ABLATION", "AblationRecord", "AblationRun", "ablation_text"]

ABLATION = "-ablation"
"""How the names of these records end."""


class AblationRun(Strict):
    """One training.

    Args:
        variant: of the network.
        seed: of weights, pairs and augmentation.
        dice, dice_affine, folding_percent, sdlogj: means over the watched pairs; older records have no SDlogJ.
        parameters, parameters_training: fused, and with all branches.
        gmac: 10^9 multiply-adds at the recipe's training shape.
        seconds_per_step: median, of training.
    """

    variant: str
    seed: int
    dice: float
    dice_affine: float
    folding_percent: float
    parameters: int
    parameters_training: int
    gmac: float
    seconds_per_step: float | None
    sdlogj: float | None = None


class AblationRecord(Measurement):
    """`lightcrcf bench ablation`; `steps` of each run against those of the recipe."""

    format: Literal["lightcrcf-ablation"] = "lightcrcf-ablation"
    name: str
    steps: int
    recipe_steps: int
    runs: Annotated[tuple[AblationRun, ...], Field(min_length=1)]

    def of(self, variant: str) -> list[AblationRun]:
        """Return its runs, one per seed."""
        return [run for run in self.runs if run.variant == variant]


def ablation_text(record: AblationRecord) -> str:
    """Render a row for each variant: mean and deviation over seeds, and the paired difference from the default."""
    header = (
        "variant", "Dice", "against default", "lowest and highest difference", "SDlogJ", "folding, %", "parameters",
        "in training", "GMAC", "Dice gained per GMAC",
    )  # fmt: skip
    default = {run.seed: run.dice for run in record.of("default")}
    variants = [record.of(name) for name in dict.fromkeys(run.variant for run in record.runs)]
    rows = [_row(runs, default) for runs in variants]
    fewest, most = (choose(len(runs) for runs in variants) for choose in (min, max))
    seeds = f"{most} seed{'s' if most > 1 else ''}" if fewest == most else f"{fewest} to {most} seeds"
    notes = [
        f"{record.steps} steps each (the recipe has {record.recipe_steps}), {seeds}; "
        f"affine alone: {record.runs[0].dice_affine:.3f}. {record.protocol}",
    ]
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in notes)])


def _row(runs: list[AblationRun], default: dict[int, float]) -> tuple[str, ...]:
    one, scores = runs[0], [run.dice for run in runs]
    spread = f" ± {stdev(scores):.4f}" if len(scores) > 1 else ""
    differences = [run.dice - default[run.seed] for run in runs if run.seed in default]
    compared = differences and one.variant != "default"
    return (
        one.variant,
        f"{mean(scores):.4f}{spread}",
        f"{mean(differences):+.4f}" if compared else "",
        f"{min(differences):+.4f}, {max(differences):+.4f}" if compared else "",
        _mean([run.sdlogj for run in runs]),
        f"{mean(run.folding_percent for run in runs):.4f}",
        f"{one.parameters:,}",
        f"{one.parameters_training:,}",
        f"{one.gmac:.2f}",
        f"{mean(run.dice - run.dice_affine for run in runs) / one.gmac:.3f}",
    )


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):.3f}" if known else ""
