"""Where work is done: here, one piece after another, or on the workers of a Dask cluster."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lightcrcf.errors import InputError, UsageError, how_to_install

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["LostWorkerError", "connect", "local_cluster", "on_cluster"]

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # pieces of work for each of the cluster's threads, so that none waits for the next
_CONNECT_S = 20
_DEATHS = 1  # worker deaths that a piece of work may see before it is put aside

_KEPT_BYTES = 2**26  # what malloc keeps at most by itself, once it has seen large arrays


class LostWorkerError(Exception):
    """Workers died again and again while they did one piece of work, alone."""


def on_cluster(
    client: Client, function: Callable[[T], R], items: Iterable[T]
) -> Iterator[tuple[T, R | LostWorkerError]]:
    """Results of `function` for all items as they come, each with its item; failures as exceptions in their place.

    Items are taken only as workers become free. What was in the hands of workers that died is done again elsewhere, in
    the end alone, so that a piece of work that workers die of takes no others with it.

    Args:
        client: of the cluster.
        function: importable on the workers; its errors end the iteration.
        items: what to work on.

    Raises:
        InputError: if the cluster goes away.

    Returns:
        (item, result); the result is a `LostWorkerError` where workers died.
    """
    from distributed import as_completed

    waiting, running, suspects = iter(items), {}, list[T]()
    done = as_completed(loop=client.loop)

    def submit(item: T) -> None:
        future = client.submit(function, item, pure=False)
        running[future] = item
        done.add(future)

    def finished(future: Any) -> T:
        item = running.pop(future)
        future.release()
        return item

    try:
        for item in islice(waiting, _wanted(client)):
            submit(item)
        while running:
            future = next(done)
            result = _outcome(future)
            if isinstance(result, LostWorkerError):
                suspects.append(finished(future))
            else:
                yield finished(future), result
            for item in islice(waiting, max(0, _wanted(client) - len(running))):
                submit(item)
        for item in suspects:
            submit(item)
            future = next(done)
            result = _outcome(future)
            yield finished(future), result
    finally:
        client.cancel(list(running))


def _outcome(future: Any) -> Any:
    """The result of a future that is done, or what became of its workers."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return LostWorkerError()
    except CancelledError:
        raise _gone() from None


def _gone() -> InputError:
    return InputError(
        "the cluster", expected="a scheduler that answers until all is done", got="a lost connection",
        remedy="start it again, and go on with --resume",
    )  # fmt: skip


def _wanted(client: Client) -> int:
    """How much work should be in the hands of the cluster; it may have grown or shrunk."""
    try:
        threads: int = sum(client.nthreads().values())
    except OSError:
        raise _gone() from None
    return max(2, _AHEAD * threads)


@contextmanager
def local_cluster(workers: int, threads: int) -> Iterator[Client]:
    """A cluster of processes on this machine, gone when the block ends.

    Args:
        workers: processes.
        threads: that each may use.

    Raises:
        UsageError: if Dask is not installed.
    """
    _check_installed(f"--workers {workers}")
    import logging

    import dask
    import numba
    from distributed import Client, LocalCluster

    # Dask leaves the workers' environment in this process; Numba must not take its threads from there.
    numba.get_num_threads()
    # Numba and OpenBLAS start as many threads as there are cores unless told before they are imported.
    limits = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    # Dask tells malloc to give all memory back at once; a quarter of a worker's time then went into fetching it again.
    keep = {"MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES), "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES // 2)}
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **limits, **keep}
    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": _DEATHS,
        "distributed.worker.multiprocessing-method": "spawn",  # OpenMP's threads do not survive a fork
        "distributed.worker.preload": ["lightcrcf.batch.worker_start"],
        **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in environment.items()},
    }
    with (
        _own_environment(environment) as restore,
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            memory_limit=1 / workers,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        restore()
        yield client


@contextmanager
def _own_environment(names: Iterable[str]) -> Iterator[Callable[[], None]]:
    """Gives back to this process what these variables were, when it is told to and in the end."""
    before = {name: os.environ.get(name) for name in names}

    def restore() -> None:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    try:
        yield restore
    finally:
        restore()


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """A client of a running cluster.

    Args:
        address: of its scheduler, as tcp://host:port, or the file that it was told to write (--scheduler-file).

    Raises:
        UsageError: if Dask is not installed.
        InputError: if there is no scheduler, or its workers have another version of LightCRCF.
    """
    _check_installed(f"--scheduler {address}")
    import logging

    from distributed import Client

    for name in ("distributed", "distributed.client"):  # what goes wrong is said in one line, by us
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    where = {"address": address} if "://" in address else {"scheduler_file": address}
    try:
        if "scheduler_file" in where:
            Path(address).read_bytes()  # the client would wait for it without end
        client = Client(**where, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            address, expected="the address of a Dask scheduler", got=str(error) or type(error).__name__,
            remedy="start one with `dask scheduler`, and give its address as tcp://host:port, or its --scheduler-file",
        ) from None  # fmt: skip
    with client:
        _check_versions(address, client)
        if not client.nthreads():
            warnings.warn(f"{address}: no workers yet; the work begins when there are some", stacklevel=3)
        yield client


def _check_versions(address: str, client: Client) -> None:
    mine = _version()
    for worker, theirs in client.run(_version, on_error="return").items():
        if theirs != mine:
            raise InputError(
                f"worker {worker} of {address}", expected=f"lightcrcf {mine}", got=str(theirs),
                remedy="install the same on all machines",
            )  # fmt: skip


def _version() -> str:
    from importlib.metadata import version

    return version("lightcrcf")


def _check_installed(option: str) -> None:
    if find_spec("distributed") is None:
        raise UsageError(
            option, expected="Dask to be installed", got="no such package",
            remedy=f"leave the option out, or {how_to_install('cluster')}",
        )  # fmt: skip
