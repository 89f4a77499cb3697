"""Further contrasts of a subject: aligned with a lead image, whose transform carries them to the template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lightcrcf.batch.pairs import Pair
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import InputError
from lightcrcf.quality.verdict import SEVERITY, Quality, Verdict
from lightcrcf.registration.register import Registration
from lightcrcf.registration.resample import move
from lightcrcf.report.thumbnail import write_thumbnail
from lightcrcf.run_record.replay import read_run
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import AFFINE_NAME, FIELD_NAME, read_transform_folder, write_affine
from lightcrcf.volumes import Volume, read, write

__all__ = ["CARRIED", "CARRIED_AFFINE", "CARRIED_PICTURE", "CarriedPair", "Carrier"]

CARRIED, CARRIED_AFFINE, CARRIED_PICTURE = "carried.nii.gz", "carried.tfm", "carried.svg"


@dataclass(frozen=True, kw_only=True)
class CarriedPair(Pair):
    """Two images of one subject; the fixed one, the lead, was registered to a template and carries the moving one.

    Args:
        through: folder of the lead's registration.
    """

    through: Path

    def further_inputs(self) -> dict[str, Path]:
        """Return the existing files of the lead's transform to the template, by role."""
        files = {"template_affine": self.through / AFFINE_NAME, "template_warp": self.through / FIELD_NAME}
        return {role: path for role, path in files.items() if path.is_file()}


@dataclass(frozen=True, eq=False)
class Carrier:
    """The registration of a lead image to the template.

    Args:
        chain: from template points to points of the lead image.
        onto: the lead image on the template's grid.
        verdict: of quality control on the registration.
    """

    chain: Chain
    onto: Volume
    verdict: Verdict

    @classmethod
    def of(cls, pair: Pair) -> Carrier | None:
        """Read the lead's registration; None unless the pair is a `CarriedPair`.

        Raises:
            InputError: if it failed.
        """
        if not isinstance(pair, CarriedPair):
            return None
        if not (pair.through / "run.json").is_file():
            raise InputError(
                str(pair.moving), expected=f"{pair.fixed.name} registered to the template, which would carry it along",
                got="no result", remedy="see what is said of that image",
            )  # fmt: skip
        onto = read(pair.through / "moved.nii.gz")
        return cls(read_transform_folder(pair.through), onto, read_run(pair.through).qc.verdict)

    def through(self, aligned: Chain) -> Chain:
        """Return the chain from template points to points of the further image.

        Args:
            aligned: from points of the lead image to points of the further image.
        """
        return Chain(self.chain.before, self.chain.field, aligned.after.compose(self.chain.after))

    def files(self, registration: Registration, cache: RegistrationCache) -> dict[str, Callable[[Path], None]]:
        """Return writers of the further image on the template, its affine and a picture, by file name."""
        chain = self.through(registration.transform)
        carried = move(chain, registration.moving, self.onto, "linear", registration.record.options.fill)
        return {
            CARRIED: lambda path: write(path, carried, like=self.onto),
            CARRIED_AFFINE: lambda path: write_affine(path, chain.after),
            CARRIED_PICTURE: lambda path: write_thumbnail(path, self.onto, carried, cache),
        }

    def combined_verdict(self, quality: Quality, lead: str) -> Quality:
        """Return the verdict on the further image on the template: the worse of its own and the lead's.

        Args:
            quality: of the alignment of the two images.
            lead: name of the lead image, for the reason.
        """
        if SEVERITY.index(self.verdict) >= SEVERITY.index(quality.verdict):
            return quality
        reasons = (*quality.reasons, f"{lead} on the template, which carries it along: {self.verdict}")
        return replace(quality, verdict=self.verdict, reasons=reasons)
