"""Further contrasts of a person: aligned with one image, and carried to the template by that image's transform."""

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
    """Two images of one person; the fixed one was registered to a template, and takes the moving one along.

    Args:
        through: the folder of that registration.
    """

    through: Path

    def beside(self) -> dict[str, Path]:
        """The transform onto the template, as far as it is there."""
        files = {"template_affine": self.through / AFFINE_NAME, "template_warp": self.through / FIELD_NAME}
        return {role: path for role, path in files.items() if path.is_file()}


@dataclass(frozen=True, eq=False)
class Carrier:
    """The registration that takes further contrasts along.

    Args:
        chain: template points to points of the person's image.
        onto: that image on the template's grid.
        verdict: of quality control on that registration.
    """

    chain: Chain
    onto: Volume
    verdict: Verdict

    @classmethod
    def of(cls, pair: Pair) -> Carrier | None:
        """The registration that takes the pair's moving image along; None if there is no such thing.

        Raises:
            InputError: if it has failed.
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
        """Template points to points of the further image; `aligned` takes points of the person's image there."""
        return Chain(self.chain.before, self.chain.field, aligned.after.compose(self.chain.after))

    def files(self, registration: Registration, shared: RegistrationCache) -> dict[str, Callable[[Path], None]]:
        """What to write of the further image on the template: itself, its affine and a picture."""
        chain = self.through(registration.transform)
        carried = move(chain, registration.moving, self.onto, "linear", registration.record.options.fill)
        return {
            CARRIED: lambda path: write(path, carried, like=self.onto),
            CARRIED_AFFINE: lambda path: write_affine(path, chain.after),
            CARRIED_PICTURE: lambda path: write_thumbnail(path, self.onto, carried, shared),
        }

    def judged(self, quality: Quality, lead: str) -> Quality:
        """The verdict on the further image on the template: no better than that on the image that takes it along.

        Args:
            quality: of the alignment of the two images.
            lead: the image that takes it along, for the reason.
        """
        if SEVERITY.index(self.verdict) >= SEVERITY.index(quality.verdict):
            return quality
        reasons = (*quality.reasons, f"{lead} on the template, which carries it along: {self.verdict}")
        return replace(quality, verdict=self.verdict, reasons=reasons)
