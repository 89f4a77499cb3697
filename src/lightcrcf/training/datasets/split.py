"""The split of persons into those to train on, to monitor and to test on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lightcrcf.training.datasets.found import Found
from lightcrcf.training.datasets.listing import Listing, Problem, Rule, Scan

__all__ = ["listing_of_found", "split_persons"]

Persons = tuple[str, ...]


def split_persons(
    persons: Sequence[str], monitor: float, test: float, *, seed: int, fewest: int
) -> tuple[Persons, Persons, Persons]:
    """Return the persons to train on, to monitor and to test on, each sorted.

    Persons are ranked by the SHA-256 of "SEED PERSON", whatever the order of the files: the first ones are tested on,
    the next ones monitored. Several images of one person are in one split.

    Args:
        persons: their names.
        monitor, test: fractions of the persons.
        seed: of the ranking.
        fewest: number of persons that a split with a fraction above 0 has at least.

    Example:
        >>> train, watched, tested = split_persons([f"{n:02d}" for n in range(20)], 0.1, 0.1, seed=1, fewest=2)
        >>> len(train), watched, tested
        (16, ('11', '19'), ('08', '16'))
    """
    ranked = sorted(persons, key=lambda person: hashlib.sha256(f"{seed} {person}".encode()).hexdigest())
    tested, watched = (max(fewest, round(part * len(ranked))) if part > 0 else 0 for part in (test, monitor))
    parts = ranked[tested + watched :], ranked[tested : tested + watched], ranked[:tested]
    train, monitored, held_out = (tuple(sorted(part)) for part in parts)
    return train, monitored, held_out


def listing_of_found(folder: Path, found: Found, parts: tuple[Persons, Persons, Persons], *, within: bool) -> Listing:
    """Return the listing of found images; monitored persons are paired in a cycle, by the first image of each.

    Args:
        folder: of the cohort.
        found: its images.
        parts: the persons to train on, to monitor and to test on.
        within: whether pairs are formed within a person.
    """
    train, monitored, held_out = parts
    used = {*train, *monitored, *held_out}
    scans = tuple(scan for scan in found.scans if scan.subject in used)
    cycle = () if within else tuple(zip(monitored, [*monitored[1:], *monitored[:1]], strict=True))
    problems = (*found.problems, *_too_few(scans, parts, within=within))
    rule: Rule = "within" if within else "ordered"
    return Listing(
        folder, scans, train, monitored, held_out, rule=rule, val_pairs=cycle, problems=problems
    ).with_missing_files()


def _too_few(scans: Sequence[Scan], parts: tuple[Persons, Persons, Persons], *, within: bool) -> list[Problem]:
    if within and not parts[0]:
        return [Problem(f"0 of {sum(map(len, parts))} persons to train on: one or more are needed")]
    if within:
        images = [scan.subject for scan in scans]
        alone = [name for part in parts[:2] for name in part if images.count(name) == 1]
        return [Problem(f"{name} has one image, and none to pair it with", name) for name in alone]
    train, monitored, _ = parts
    problems = []
    if len(train) < 2:
        problems.append(Problem(f"{len(train)} of {sum(map(len, parts))} persons to train on: two or more are needed"))
    if len(monitored) == 1:
        problems.append(Problem("one person to monitor, who has no partner: name two or more, or none"))
    return problems
