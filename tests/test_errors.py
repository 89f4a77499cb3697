"""Errors go from one process to another whole."""

from __future__ import annotations

import copy
import pickle

import pytest

from lightcrcf.errors import InputError, MemoryEstimateError, QualityError, UsageError


@pytest.mark.parametrize("kind", [InputError, MemoryEstimateError, QualityError, UsageError])
def test_errors_survive_the_way_between_processes(kind: type[InputError]) -> None:
    error = kind("a.nii", expected="this", got="that", remedy="mend it")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert (str(twin), twin.subject, twin.remedy) == (str(error), "a.nii", "mend it")
