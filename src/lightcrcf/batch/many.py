"""Many registrations from Python, as they finish."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from lightcrcf.batch.execute import LostWorkerError, on_cluster
from lightcrcf.batch.work import shared_here
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import UsageError
from lightcrcf.registration.register import Registration, register

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["PairResult", "register_many"]

_OPTIONS = frozenset(signature(register).parameters) - {"progress", "shared"}
_OF_A_PAIR = ("fixed", "moving", "fixed_mask", "moving_mask", "fixed_labels", "moving_labels", "also")


@dataclass(frozen=True, eq=False)
class PairResult:
    """One of many registrations.

    Args:
        index: the pair's place in what was given, from 0.
        registration: the result; None if there is none.
        error: why there is none.
    """

    index: int
    registration: Registration | None
    error: Exception | None


def register_many(
    pairs: Iterable[tuple[Any, Any] | Mapping[str, Any]], *, client: Client | None = None, **options: Any
) -> Iterator[PairResult]:
    """Register pairs and yield results as they finish; a pair that fails does not stop the others.

    Args:
        pairs: (fixed, moving) of whatever `register` takes, or mappings with `fixed`, `moving` and the other arguments
            that belong to a pair (masks, labels, `also`). They are taken when there is somebody to work on them.
        client: of a Dask cluster (the extra `cluster`) that does the work; paths must lead to the same files there.
            Without one the pairs are registered here, one after another. The results of a cluster come in the order in
            which they finish, and whole: for cohorts whose volumes need not come home, `lightcrcf batch` writes them
            where they are made.
        options: of `register`, but for `progress`, for all pairs; on a cluster `threads` is 1 unless given.

    Raises:
        UsageError: while iterating, for options that do not fit.

    Example:
        >>> import lightcrcf
        >>> for found in lightcrcf.register_many([("a.nii.gz", "b.nii.gz")]):
        ...     print(found.index, found.error)
        0 a.nii.gz: expected a readable file, got no such file; check the name
    """
    for name in options:
        if name in _OF_A_PAIR or name not in _OPTIONS:
            raise TypeError(f"register_many() got an unexpected keyword argument {name!r}")
    items = ((index, _arguments(pair)) for index, pair in enumerate(pairs))
    if client is None:
        shared = RegistrationCache()
        for item in items:
            yield _registered(item, {"shared": shared, **options})
        return
    for (index, _), result in on_cluster(client, partial(_registered_there, options=options), items):
        yield PairResult(index, None, result) if isinstance(result, LostWorkerError) else result


def _arguments(pair: tuple[Any, Any] | Mapping[str, Any]) -> dict[str, Any]:
    named = dict(pair) if isinstance(pair, Mapping) else dict(zip(("fixed", "moving"), pair, strict=True))
    strange = [name for name in named if name not in _OF_A_PAIR]
    if strange or not {"fixed", "moving"} <= set(named):
        raise UsageError(
            "pair", expected=f"(fixed, moving), or a mapping with some of {', '.join(_OF_A_PAIR)}",
            got=f"a mapping with {', '.join(map(str, named))}", remedy="correct the names",
        )  # fmt: skip
    return named


def _registered_there(item: tuple[int, dict[str, Any]], options: dict[str, Any]) -> PairResult:
    """On a worker, where Dask counts one thread for each piece of work."""
    return _registered(item, {"threads": 1, "shared": shared_here(), **options})


def _registered(item: tuple[int, dict[str, Any]], options: dict[str, Any]) -> PairResult:
    index, arguments = item
    try:
        return PairResult(index, register(**arguments, **options), None)
    except UsageError:
        raise
    except Exception as error:  # whatever happens to one pair, the others go on
        return PairResult(index, None, error)
