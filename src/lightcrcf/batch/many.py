"""Registration of many pairs from Python; results are yielded as they finish."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from lightcrcf.batch.execute import LostWorkerError, on_cluster
from lightcrcf.batch.work import thread_cache
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import UsageError
from lightcrcf.registration.register import Registration, register

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["PairResult", "register_many"]

_OPTIONS = frozenset(signature(register).parameters) - {"progress", "shared"}
_PAIR_ARGUMENTS = ("fixed", "moving", "fixed_mask", "moving_mask", "fixed_labels", "moving_labels", "also")


@dataclass(frozen=True, eq=False)
class PairResult:
    """Result of one of many registrations.

    Args:
        index: position of the pair in the input, from 0.
        registration: the result; None if the pair failed.
        error: reason of a failure, else None.
    """

    index: int
    registration: Registration | None
    error: Exception | None


def register_many(
    pairs: Iterable[tuple[Any, Any] | Mapping[str, Any]], *, client: Client | None = None, **options: Any
) -> Iterator[PairResult]:
    """Register pairs and yield results as they finish; a pair that fails does not stop the others.

    Args:
        pairs: (fixed, moving) in any form that `register` accepts, or mappings with `fixed`, `moving` and the other
            arguments of a pair (masks, labels, `also`). Consumed lazily, as workers become free.
        client: of a Dask cluster (the extra `cluster`); paths must name the same files on its workers. None registers
            pairs sequentially in this process. Results of a cluster are yielded in the order of completion and are sent
            to this process in full; `lightcrcf batch` writes them on the workers instead.
        options: of `register` except `progress`, for all pairs; on a cluster `threads` is 1 by default.

    Raises:
        UsageError: while iterating, for invalid options.
        TypeError: for an unknown keyword argument.

    Example:
        >>> import lightcrcf
        >>> for found in lightcrcf.register_many([("a.nii.gz", "b.nii.gz")]):
        ...     print(found.index, found.error)
        0 a.nii.gz: expected a readable file, got no such file; check the name
    """
    for name in options:
        if name in _PAIR_ARGUMENTS or name not in _OPTIONS:
            raise TypeError(f"register_many() got an unexpected keyword argument {name!r}")
    items = ((index, _arguments(pair)) for index, pair in enumerate(pairs))
    if client is None:
        cache = RegistrationCache()
        for item in items:
            yield _register_pair(item, {"shared": cache, **options})
        return
    for (index, _), result in on_cluster(client, partial(_register_on_worker, options=options), items):
        yield PairResult(index, None, result) if isinstance(result, LostWorkerError) else result


def _arguments(pair: tuple[Any, Any] | Mapping[str, Any]) -> dict[str, Any]:
    named = dict(pair) if isinstance(pair, Mapping) else dict(zip(("fixed", "moving"), pair, strict=True))
    strange = [name for name in named if name not in _PAIR_ARGUMENTS]
    if strange or not {"fixed", "moving"} <= set(named):
        raise UsageError(
            "pair", expected=f"(fixed, moving), or a mapping with some of {', '.join(_PAIR_ARGUMENTS)}",
            got=f"a mapping with {', '.join(map(str, named))}", remedy="correct the names",
        )  # fmt: skip
    return named


def _register_on_worker(item: tuple[int, dict[str, Any]], options: dict[str, Any]) -> PairResult:
    """Register on a worker; one thread by default, since Dask counts one per task."""
    return _register_pair(item, {"threads": 1, "shared": thread_cache(), **options})


def _register_pair(item: tuple[int, dict[str, Any]], options: dict[str, Any]) -> PairResult:
    index, arguments = item
    try:
        return PairResult(index, register(**arguments, **options), None)
    except UsageError:
        raise
    except Exception as error:  # one pair must not stop the others
        return PairResult(index, None, error)
