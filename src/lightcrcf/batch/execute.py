"""Execution of tasks on the workers of a Dask cluster."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lightcrcf.errors import InputError, UsageError, how_to_install

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["LostWorkerError", "check_installed", "connect", "local_cluster", "on_cluster"]

T = TypeVar("T")
R = TypeVar("R")

_TASKS_PER_THREAD = 2  # queued tasks per thread of the cluster, so that no thread waits
_CONNECT_S = 20
_MAX_WORKER_DEATHS = 1  # worker deaths after which a task is postponed

_MALLOC_TRIM_BYTES = 2**26  # the largest threshold that malloc adapts to by itself


class LostWorkerError(Exception):
    """A task killed its workers repeatedly, even when run alone."""


def on_cluster(
    client: Client, function: Callable[[T], R], items: Iterable[T]
) -> Iterator[tuple[T, R | LostWorkerError]]:
    """Yield the result of `function` for each item as it finishes.

    Items are consumed as workers become free. Tasks of a worker that died are retried on another; tasks that keep
    killing workers are retried last, one at a time, so that they cannot take others down.

    Args:
        client: of the cluster.
        function: importable on the workers; its exceptions end the iteration.
        items: arguments of the tasks.

    Raises:
        InputError: if the connection to the cluster is lost.

    Returns:
        (item, result); the result is a `LostWorkerError` if its workers died.
    """
    queue: _TaskQueue[T, R] = _TaskQueue(client, function)
    waiting, suspects = iter(items), list[T]()
    try:
        queue.submit(islice(waiting, _queue_length(client)))
        while len(queue):
            item, result = queue.next_result()
            if isinstance(result, LostWorkerError):
                suspects.append(item)
            else:
                yield item, result
            queue.submit(islice(waiting, max(0, _queue_length(client) - len(queue))))
        for item in suspects:
            queue.submit([item])
            yield queue.next_result()
    finally:
        queue.cancel()


class _TaskQueue(Generic[T, R]):
    """Tasks of a cluster that are submitted and not finished.

    Args:
        client: of the cluster.
        function: of each task, importable on the workers.
    """

    def __init__(self, client: Client, function: Callable[[T], R]) -> None:
        from distributed import as_completed

        self._client, self._function = client, function
        self._running: dict[Any, T] = {}
        self._finished = as_completed(loop=client.loop)

    def __len__(self) -> int:
        return len(self._running)

    def submit(self, items: Iterable[T]) -> None:
        """Submit a task for each item."""
        for item in items:
            future = self._client.submit(self._function, item, pure=False)
            self._running[future] = item
            self._finished.add(future)

    def next_result(self) -> tuple[T, R | LostWorkerError]:
        """Wait for the next task to finish; return its item and result."""
        future = next(self._finished)
        result = _result_of(future)
        item = self._running.pop(future)
        future.release()
        return item, result

    def cancel(self) -> None:
        """Cancel all tasks."""
        self._client.cancel(list(self._running))


def _result_of(future: Any) -> Any:
    """Return the result of a finished future, or a `LostWorkerError`."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return LostWorkerError()
    except CancelledError:
        raise _connection_lost_result() from None


def _connection_lost_result() -> InputError:
    return InputError(
        "the cluster", expected="a scheduler that answers until all is done", got="a lost connection",
        remedy="start it again, and go on with --resume",
    )  # fmt: skip


def _queue_length(client: Client) -> int:
    """Return the number of tasks to keep queued, for the current number of workers."""
    try:
        threads: int = sum(client.nthreads().values())
    except OSError:
        raise _connection_lost_result() from None
    return max(2, _TASKS_PER_THREAD * threads)


@contextmanager
def local_cluster(workers: int, threads: int) -> Iterator[Client]:
    """Start a cluster of processes on this machine, and stop it when the block ends.

    Args:
        workers: number of processes.
        threads: of each process.

    Raises:
        UsageError: if Dask is not installed.
    """
    check_installed(f"--workers {workers}")
    import logging

    import dask
    from distributed import Client, LocalCluster

    # OpenBLAS and PyTorch read these on import; by default they start one thread per core.
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    # Dask makes malloc return all memory at once; a quarter of the time of a worker was then spent on page faults.
    keep = {"MALLOC_TRIM_THRESHOLD_": str(_MALLOC_TRIM_BYTES), "MALLOC_MMAP_THRESHOLD_": str(_MALLOC_TRIM_BYTES // 2)}
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **limits, **keep}
    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": _MAX_WORKER_DEATHS,
        "distributed.worker.multiprocessing-method": "spawn",  # OpenMP's threads do not survive a fork
        "distributed.worker.preload": ["lightcrcf.batch.worker_start"],
        **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in environment.items()},
    }
    with (
        _restored_environment(environment) as restore,
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
def _restored_environment(names: Iterable[str]) -> Iterator[Callable[[], None]]:
    """Restore these environment variables when the yielded function is called, and at the end of the block."""
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
    """Connect to a running cluster.

    Args:
        address: tcp://host:port of its scheduler, or its --scheduler-file.

    Raises:
        UsageError: if Dask is not installed.
        InputError: if there is no scheduler, or its workers have another version of LightCRCF.
    """
    check_installed(f"--scheduler {address}")
    import logging

    from distributed import Client

    for name in ("distributed", "distributed.client"):  # errors are reported here, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    where = {"address": address} if "://" in address else {"scheduler_file": address}
    try:
        if "scheduler_file" in where:
            Path(address).read_bytes()  # the client would wait for it forever
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


def check_installed(option: str) -> None:
    """Raise UsageError, naming `option`, if Dask is not installed."""
    if find_spec("distributed") is None:
        raise UsageError(
            option, expected="Dask to be installed", got="no such package",
            remedy=f"leave the option out, or {how_to_install('cluster')}",
        )  # fmt: skip
