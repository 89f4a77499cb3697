"""The cohorts of a recipe: images that are named, found on disk, listed in a table, or of a public data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lightcrcf.training.datasets.found import Found, by_bids_names, by_file_names, by_table
from lightcrcf.training.datasets.layouts import LAYOUTS, LayoutName
from lightcrcf.training.datasets.listing import Listing, Problem, from_templates
from lightcrcf.training.datasets.split import listing_of_found, split_persons
from lightcrcf.training.recipe.section import Contradiction, Fraction, Positive, Section, Template
from lightcrcf.training.recipe.words import toml
from lightcrcf.weights.preparation import Preparation, RefinementInit, RefinementScale, View

__all__ = ["Bids", "Cohort", "Data", "Split"]


class Bids(Section):
    """Images of a BIDS data set or of BIDS derivatives; persons are its subjects.

    Args:
        suffix: of the images.
        sessions: labels of sessions without "ses-"; all by default.
        entities: values that the names must have, as {desc = "brain"}. Without `desc` or `space` among them, images
            that have one are left out.
        labels: suffix of the label maps; none by default.
        labels_folder: data set of the label maps relative to the cohort's folder, as "derivatives/seg"; by default that
            of the images.
        labels_entities: values that the names of label maps must have, where an image has several.
    """

    suffix: str = "T1w"
    sessions: list[str] = Field(default=[])
    entities: dict[str, str] = Field(default={})
    labels: str | None = None
    labels_folder: Path | None = None
    labels_entities: dict[str, str] = Field(default={})

    def find(self, folder: Path) -> Found:
        """Return the images below a folder."""
        return by_bids_names(
            folder, self.suffix, sessions=self.sessions, entities=self.entities, labels=self.labels,
            labels_folder=None if self.labels_folder is None else folder / self.labels_folder,
            labels_entities=self.labels_entities,
        )  # fmt: skip

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield the options of label maps without label maps."""
        if self.labels is None and (self.labels_folder or self.labels_entities):
            yield Contradiction("labels", "the suffix of the label maps beside their folder and entities", "nothing")


class Split(Section):
    """A split of the persons found, drawn by a seed. All images of a person are in one part.

    Args:
        train: fraction of the persons to train on; by default all that are left.
        monitor: fraction to validate on during training; above 0, two persons or more.
        test: fraction that the run does not see, for `data check --json` to list; above 0, two persons or more.
        seed: of the draw. The same persons, fractions and seed give the same split.
    """

    train: Fraction | None = None
    monitor: Fraction = 0.1
    test: Fraction = 0.0
    seed: int = 0

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield fractions that do not add up to 1."""
        rest = 1 - self.monitor - self.test
        if rest <= 0:
            yield Contradiction("monitor", "fractions that leave persons to train on", f"{1 - rest:g} with test")
        elif self.train is not None and abs(self.train - rest) > 1e-6:
            got = f"{self.train + self.monitor + self.test:g}"
            yield Contradiction("train", "fractions of train, monitor and test that add up to 1", got)


class Cohort(Section):
    """A folder of images.

    Args:
        folder: relative to the data root.
        layout: "files" for the files named here, or a public data set in the layout of its publisher, which defines
            files and splits (see `lightcrcf.training.datasets.layouts`).
        image: file name with {id} for the person; several, if each person has several images. Pairs are then formed
            within a person, whose images share a frame: there is no affine alignment. Without `train`, all persons
            are found whose files match; * then stands for any text within a name and **/ for any folders.
        labels: the same for label maps, with the wildcards of `image`; for the Dice of monitored persons, and needed
            if `loss.dice` is above zero.
        bids: find the images of a BIDS data set instead.
        csv: read the images from a CSV table instead, with the columns image and, optionally, labels and person;
            relative to the folder, as the files in it to the table. Without a person, each image is another person.
        pairs: "between" persons, or "within" a person, whose images share a frame (no affine alignment).
        train: persons to train on; by default all that are found, or those of the layout.
        monitor: persons to validate on during training, not in train; by default those of the split or the layout.
        exclude: persons to leave out of those found.
        split: fractions of the persons found, instead of `train` and `monitor`.
        skull_strip_with_labels: set voxels without a label to zero (whole heads for a model of brains).
    """

    folder: Path
    layout: LayoutName | Literal["files"] = "files"
    image: Template | list[Template] = Field(default=[])
    labels: Template | list[Template] | None = None
    bids: Bids | None = None
    csv: Path | None = None
    pairs: Literal["between", "within"] = "between"
    train: list[str] = Field(default=[])
    monitor: list[str] = Field(default=[])
    exclude: list[str] = Field(default=[])
    split: Split | None = None
    skull_strip_with_labels: bool = False

    @property
    def images(self) -> list[str]:
        """File names of the images of one person."""
        return self.image if isinstance(self.image, list) else [self.image]

    @property
    def label_maps(self) -> list[str]:
        """File names of the label maps of one person, one for each image; empty without label maps."""
        return self.labels if isinstance(self.labels, list) else [] if self.labels is None else [self.labels]

    @property
    def within(self) -> bool:
        """True if pairs are formed within a person."""
        if self.layout != "files":
            return LAYOUTS[self.layout].within
        return len(self.images) > 1 or self.pairs == "within"

    @property
    def labelled(self) -> bool:
        """True if there may be label maps."""
        bids = self.bids is not None and self.bids.labels is not None
        return self.layout != "files" or self.labels is not None or bids or self.csv is not None

    @property
    def named(self) -> bool:
        """True if the recipe names all files and persons."""
        return bool(self.image and self.train) and not any("*" in image for image in self.images)

    @property
    def found(self) -> bool:
        """True if images are found on disk or listed in a table."""
        return self.layout == "files" and not self.named

    def listing(self, root: Path) -> Listing:
        """Return the images below the data root by split.

        Raises:
            InputError: for persons that a layout lacks, or a CSV table that cannot be read.
        """
        folder = root / self.folder
        if self.layout != "files":
            return LAYOUTS[self.layout].listing(folder).restricted(self.train, self.monitor)
        if self.named:
            return from_templates(folder, self.images, self.label_maps, self.train, self.monitor)
        found = self._find(folder)
        everyone = dict.fromkeys(scan.subject for scan in found.scans)
        persons = [name for name in everyone if name not in self.exclude]
        unknown = [name for name in (*self.train, *self.monitor, *self.exclude) if name not in everyone]
        problems = [*found.problems, *(Problem(f"nobody here is {name}") for name in unknown)]
        return listing_of_found(folder, Found(found.scans, tuple(problems)), self._parts(persons), within=self.within)

    def _find(self, folder: Path) -> Found:
        if self.bids is not None:
            return self.bids.find(folder)
        return by_file_names(folder, self.images, self.label_maps) if self.csv is None else by_table(folder / self.csv)

    def _parts(self, persons: list[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Return the persons to train on, to monitor and to test on."""
        if self.split is not None:
            fewest = 1 if self.within else 2
            return split_persons(persons, self.split.monitor, self.split.test, seed=self.split.seed, fewest=fewest)
        monitored = tuple(name for name in self.monitor if name in persons)
        chosen = [name for name in persons if name not in self.monitor and (not self.train or name in self.train)]
        return tuple(chosen), monitored, ()

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield options of the cohort that do not go together."""
        yield from self._sources()
        yield from self._persons()
        if self.label_maps and len(self.label_maps) != len(self.images):
            yield Contradiction("labels", f"{len(self.images)}, one for each image", str(len(self.label_maps)))
        for image, labels in zip(self.images, self.label_maps, strict=False):
            if labels.count("*") not in (0, image.count("*")):
                yield Contradiction("labels", "the wildcards of image, or none", labels)
        if self.skull_strip_with_labels and not self.labelled:
            yield Contradiction("skull_strip_with_labels", "labels beside it", "none")

    def _sources(self) -> Iterator[Contradiction]:
        sources = {"layout": self.layout != "files", "image": self.image, "bids": self.bids, "csv": self.csv}
        given = [name for name, value in sources.items() if value]
        if len(given) != 1:
            got = f"{len(given)} of them: {', '.join(given)}" if given else "none of them"
            yield Contradiction(given[-1] if given else "image", "one of layout, image, bids and csv", got)
        if self.labels and not self.image:
            yield Contradiction(
                "labels", "image beside it (bids, csv and layouts have label maps of their own)", "none"
            )

    def _persons(self) -> Iterator[Contradiction]:
        both = sorted(set(self.train) & set(self.monitor))
        if both:
            yield Contradiction("monitor", "persons who are not in train", f"{', '.join(both)} in both")
        for key in ("train", "monitor"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                yield Contradiction(key, "each person once", "a person who is named twice")
        if self.named and not self.within and len(self.train) == 1:
            yield Contradiction("train", "two persons or more", "one, who has no partner")
        if self.layout == "files" and len(self.monitor) == 1 and not self.within:
            yield Contradiction("monitor", "two persons or more, or none", "one, who has no partner")
        if self.split is not None and (self.train or self.monitor or self.layout != "files"):
            got = "layout, which has its own" if self.layout != "files" else "both"
            yield Contradiction("split", "split, or train and monitor", got)
        if self.exclude and (self.named or self.layout != "files"):
            yield Contradiction("exclude", "persons that are found on disk", "persons that are named")


class Data(Section):
    """The images to train on, and their preparation.

    Args:
        root: folder of the cohorts' folders.
        cohorts: folders of images; pairs are sampled within a cohort.
        spacing_mm: of the working grid, for all axes or for each; "native" keeps the voxels of each image.
        view: extent of the working grid: the "foreground", or the "whole" image for crops that are all foreground.
        window: intensity range that maps to 0 and 1 (CT); by default it is estimated from each image.
        content: description of the images; recorded in the weights.
        shape: training crop in working voxels, multiples of the downsampling of the network (16 on pooled axes).
        by_content: whether `content` is an image type of `preprocessing.foreground`, which alone decides if the model
            suits an image; otherwise the ranges of the training images decide.
        refinement_init: initial field of the refinement with this model: "network", "identity" or "none".
        refinement_scale: of the coarsest level of that refinement from the network's field: 8, 4 or 2.
        contrast: weight of local contrast in that refinement.
        across: the initial field for images of two contrasts, one of which the network sees in the contrast of the
            other; by default it does not run on them.
    """

    root: Path
    cohorts: list[Cohort] = Field(min_length=1)
    spacing_mm: Positive | tuple[Positive, Positive, Positive] | Literal["native"] = 1.0
    view: View = "foreground"
    window: tuple[float, float] | None = None
    content: str = "skull-stripped brain"
    by_content: bool = False
    refinement_init: RefinementInit = "network"
    refinement_scale: RefinementScale = 8
    contrast: Annotated[float, Field(ge=0)] = 0.0
    across: RefinementInit | None = None
    shape: tuple[int, int, int] = (160, 192, 144)

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield cohorts that cannot be trained on together."""
        if len({cohort.within for cohort in self.cohorts}) > 1:
            yield Contradiction("cohorts", "pairs between persons in all cohorts, or within them in all", "both")
        if self.window is not None and not self.window[0] < self.window[1]:
            yield Contradiction("window", "the lower intensity first", toml(self.window))

    @property
    def preparation(self) -> Preparation:
        """The preparation of images, as recorded in the weights file."""
        spacing = self.spacing_mm
        vector = None if spacing == "native" else spacing if isinstance(spacing, tuple) else (spacing,) * 3
        align = not self.cohorts[0].within
        start = self.refinement_init, self.refinement_scale
        return Preparation(vector, self.view, self.window, align, *start, self.contrast, self.across)
