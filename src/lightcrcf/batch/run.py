"""Registration of a cohort: pending pairs are registered, and each result is recorded as it finishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from lightcrcf.batch.execute import LostWorkerError, check_installed, connect, local_cluster, on_cluster
from lightcrcf.batch.manifest import Manifest
from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.pairs import Pair
from lightcrcf.batch.progress import BatchProgress
from lightcrcf.batch.summary import Summary, write_summary
from lightcrcf.batch.work import Task, TaskResult, lost_result, work
from lightcrcf.errors import UsageError
from lightcrcf.run_record.environment import usable_cores

__all__ = ["check_workers", "run_batch"]


def run_batch(
    pairs: Sequence[Pair],
    out: Path,
    options: BatchOptions,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    begun: Callable[[int], None] | None = None,
    progress: Callable[[BatchProgress], None] | None = None,
    claims: Sequence[str] = ("",),
) -> Summary:
    """Register all pairs; a failed pair does not stop the others.

    Args:
        pairs: images to register.
        out: folder of the manifest, the results and the summary; see `manifest.Manifest`.
        options: of the registrations.
        workers: number of processes on this machine; 1 is this process.
        scheduler: address of a Dask cluster to use instead.
        resume: whether to continue an earlier run.
        retry_failed: whether to register failed pairs again when resuming.
        begun: called after all checks with the number of pending pairs.
        progress: called after each pair.
        claims: see `manifest.Manifest`.

    Returns:
        The state of all pairs, including those of earlier runs; also written to the folder.

    Raises:
        UsageError: for invalid options, weights that do not match the pairs, or a folder in use.
        InputError: if the folder cannot be written, or the cluster cannot be reached.
    """
    options.check()
    _check_weights(pairs, options)
    check_workers(workers, scheduler)
    manifest = Manifest(out, claims)
    with manifest.lock():
        manifest.begin(options, pairs, resume=resume)
        tasks = _pending_tasks(manifest, pairs, options, retry_failed=retry_failed)
        if begun:
            begun(len(tasks))
        try:
            for outcome in _report_progress(_run_tasks(tasks, workers, scheduler), len(tasks), progress):
                manifest.finish(outcome)
            manifest.clear(pairs)  # of workers that died
        finally:  # summarise an interrupted run too
            summary = write_summary(manifest.folder, [r for r in map(manifest.record, pairs) if r is not None])
    return summary


def _pending_tasks(
    manifest: Manifest, pairs: Sequence[Pair], options: BatchOptions, *, retry_failed: bool
) -> list[Task]:
    """Return the tasks of pending pairs, whose earlier records and results are removed."""
    pending = _group_by_fixed(manifest.pending(pairs, retry_failed=retry_failed))
    for pair in pending:
        manifest.start(pair)
    return [Task(pair, manifest.results(pair), options) for pair in pending]


def _report_progress(
    outcomes: Generator[TaskResult, None, None], total: int, progress: Callable[[BatchProgress], None] | None
) -> Iterator[TaskResult]:
    """Yield the results, and report progress after each."""
    began, state = time.monotonic(), BatchProgress(total)
    with closing(outcomes):
        for outcome in outcomes:
            yield outcome
            failed = state.failed + (outcome.record["status"] == "failed")
            state = replace(state, done=state.done + 1, failed=failed, seconds=time.monotonic() - began)
            if progress:
                progress(state)


def _check_weights(pairs: Sequence[Pair], options: BatchOptions) -> None:
    """Check that there is one weight per volume of the pair with most volumes; others take the first ones."""
    most = max((len(pair.channels("fixed")) for pair in pairs), default=0)
    if options.channel_weights and pairs and len(options.channel_weights) != most:
        raise UsageError(
            "--channel-weight", expected=f"{most}, one for each pair of volumes that a row has at most",
            got=str(len(options.channel_weights)), remedy="give it once for fixed, once for fixed_2, and so on",
        )  # fmt: skip


def check_workers(workers: int, scheduler: str | None) -> None:
    """Check the number of workers.

    Raises:
        UsageError: for more workers than cores, for workers together with a cluster, or without Dask.
    """
    cores = usable_cores()
    if not 1 <= workers <= cores:
        raise UsageError("--workers", expected=f"1 to {cores}, the cores here", got=str(workers), remedy="choose fewer")
    if scheduler is not None and workers != 1:
        raise UsageError(
            "--workers", expected="--workers or --scheduler", got="both", remedy="the cluster has its own workers"
        )
    if workers > 1 or scheduler is not None:
        check_installed(f"--workers {workers}" if scheduler is None else f"--scheduler {scheduler}")


def _group_by_fixed(pairs: Iterable[Pair]) -> list[Pair]:
    """Sort pairs by fixed image, so that a worker can reuse cached results for it."""
    pairs = list(pairs)
    first = {pair.fixed: n for n, pair in reversed(list(enumerate(pairs)))}
    return sorted(pairs, key=lambda pair: first[pair.fixed])


def _run_tasks(tasks: Sequence[Task], workers: int, scheduler: str | None) -> Generator[TaskResult, None, None]:
    """Yield the result of each task as it finishes."""
    if not tasks:
        return
    if scheduler is not None:
        with connect(scheduler) as client:
            yield from _resolve_lost_result(on_cluster(client, _run_on_worker, tasks))
    elif workers == 1:
        for task in tasks:
            yield work(task, task.options.threads)
    else:
        threads = tasks[0].options.threads or max(1, usable_cores() // workers)
        tasks = [replace(task, options=replace(task.options, threads=threads)) for task in tasks]
        with local_cluster(min(workers, len(tasks)), threads) as client:
            yield from _resolve_lost_result(on_cluster(client, _run_on_worker, tasks))


def _resolve_lost_result(results: Iterator[tuple[Task, TaskResult | LostWorkerError]]) -> Iterator[TaskResult]:
    for task, result in results:
        yield lost_result(task) if isinstance(result, LostWorkerError) else result


def _run_on_worker(task: Task) -> TaskResult:
    """Run a task on a worker; one thread by default, since Dask counts one per task."""
    return work(task, task.options.threads or 1)
