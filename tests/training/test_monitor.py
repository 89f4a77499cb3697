"""Scores of subjects that the network does not train on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lightcrcf.network.config import variant
from lightcrcf.network.model import LightCRCF
from lightcrcf.training.config import Data, load_config
from lightcrcf.training.data import Subject, load_cohort
from lightcrcf.training.monitor import monitor


@pytest.fixture(scope="module")
def model() -> LightCRCF:
    """Its flows are exactly zero."""
    torch.manual_seed(0)
    network = LightCRCF(variant("default"))
    with torch.no_grad():
        for level in network.levels:
            for parameter in level.head.parameters():
                parameter.zero_()
    return network


@pytest.fixture
def data(recipe: Callable[..., Path]) -> Data:
    return load_config(recipe()).data


@pytest.fixture
def subjects(data: Data, persons: Path) -> list[Subject]:
    return load_cohort(data.cohorts[0], data, persons.parent / "cache")[1]


@pytest.mark.parametrize("finest", [0, 2])
def test_a_network_that_moves_nothing_scores_as_the_affine(
    finest: int, model: LightCRCF, subjects: list[Subject], data: Data
) -> None:
    scores, _ = monitor(model, subjects, data, finest)
    assert scores["dice"] == pytest.approx(scores["dice_affine"])
    assert scores["correlation"] == pytest.approx(scores["correlation_affine"], abs=1e-4)
    assert 0.2 < scores["correlation"] < 0.95
    assert scores["sdlogj"] == 0
    assert 0.4 < scores["dice"] < 0.95
    assert scores["folding_percent"] == 0


def test_the_picture_shows_fixed_moving_and_moved(model: LightCRCF, subjects: list[Subject], data: Data) -> None:
    _, pair = monitor(model, subjects, data, 0)
    assert pair.names == ("3", "4")
    fixed, moving, moved = np.split(pair.picture, 3, axis=1)
    assert 0.5 < fixed.max() <= 1.25
    assert not np.array_equal(fixed, moving)
    np.testing.assert_allclose(moved, moving, atol=1e-5)


def test_a_subject_and_itself_agree_completely(model: LightCRCF, subjects: list[Subject], data: Data) -> None:
    scores, _ = monitor(model, [subjects[0], subjects[0]], data, 0)
    assert scores["dice_affine"] == 1
    assert scores["correlation_affine"] > 0.9


def test_without_labels_there_is_no_dice(model: LightCRCF, subjects: list[Subject], data: Data) -> None:
    bare = [dataclasses.replace(subject, labels=None) for subject in subjects]
    half = monitor(model, [subjects[0], bare[1]], data, 0)[0]
    assert monitor(model, bare, data, 0)[0] == half
    assert half.keys() == {"correlation_affine", "correlation", "folding_percent", "sdlogj"}


def test_folding_is_seen(model: LightCRCF, subjects: list[Subject], data: Data) -> None:
    wild = LightCRCF(variant("default"))
    wild.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for level in wild.levels:
            for parameter in level.head.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    scores, _ = monitor(wild, subjects, data, 0)
    assert scores["folding_percent"] > 5
    assert scores["sdlogj"] > 0.5
    assert scores["dice"] < scores["dice_affine"]


def test_the_network_is_left_as_it_was(model: LightCRCF, subjects: list[Subject], data: Data) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    monitor(model, subjects, data, 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
