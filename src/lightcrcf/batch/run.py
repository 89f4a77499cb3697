"""A whole cohort: what is left to do is done, wherever; every result is kept as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from lightcrcf.batch.execute import LostWorkerError, connect, local_cluster, on_cluster
from lightcrcf.batch.manifest import Manifest
from lightcrcf.batch.options import Options
from lightcrcf.batch.pairs import Pair
from lightcrcf.batch.summary import Summary, write_summary
from lightcrcf.batch.tally import Tally
from lightcrcf.batch.work import Outcome, Task, lost, work
from lightcrcf.errors import UsageError
from lightcrcf.run_record.environment import usable_cores

__all__ = ["check_places", "run_batch"]


def run_batch(
    pairs: Sequence[Pair],
    out: Path,
    options: Options,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    begun: Callable[[int], None] | None = None,
    progress: Callable[[Tally], None] | None = None,
    claims: Sequence[str] = ("",),
) -> Summary:
    """Register all pairs; one that fails does not stop the others.

    Args:
        pairs: what to register.
        out: folder for the manifest, the results and the summary; see `manifest.Manifest`.
        options: how to register.
        workers: processes on this machine, which share its cores; 1 is this process.
        scheduler: address of a Dask cluster that does the work instead.
        resume: go on where an earlier run stopped.
        retry_failed: when going on, do those again that failed.
        begun: called with the number of pairs to do now, when all that can be checked is, before the first.
        progress: called after each pair.
        claims: see `manifest.Manifest`.

    Returns:
        how all pairs stand, those of earlier runs included; also written to the folder.

    Raises:
        UsageError: for options that do not fit, with each other or the pairs, or a folder that is in use.
        InputError: if the folder cannot be written to, or the cluster not be reached.
    """
    options.check()
    _check_weights(pairs, options)
    check_places(workers, scheduler)
    manifest = Manifest(out, claims)
    with manifest.lock():
        manifest.begin(options, pairs, resume=resume)
        todo = _grouped(manifest.left(pairs, retry_failed=retry_failed))
        tasks = [Task(pair, manifest.results(pair), options) for pair in todo]
        for task in tasks:
            manifest.start(task.pair)
        if begun:
            begun(len(tasks))
        try:
            for outcome in _counted(_outcomes(tasks, workers, scheduler), len(tasks), progress):
                manifest.finish(outcome)
            manifest.clear(pairs)  # of workers that died
        finally:  # also of what was interrupted there is something to look at
            summary = write_summary(manifest.folder, [r for r in map(manifest.record, pairs) if r is not None])
    return summary


def _counted(
    outcomes: Generator[Outcome, None, None], total: int, progress: Callable[[Tally], None] | None
) -> Iterator[Outcome]:
    """The same, and tell how far it is after each."""
    began, tally = time.monotonic(), Tally(total)
    with closing(outcomes):
        for outcome in outcomes:
            yield outcome
            failed = tally.failed + (outcome.record["status"] == "failed")
            tally = replace(tally, done=tally.done + 1, failed=failed, seconds=time.monotonic() - began)
            if progress:
                progress(tally)


def _check_weights(pairs: Sequence[Pair], options: Options) -> None:
    """Refuse weights that are not as many as the volumes of the pair that has most; others take the first of them."""
    most = max((len(pair.channels("fixed")) for pair in pairs), default=0)
    if options.channel_weights and pairs and len(options.channel_weights) != most:
        raise UsageError(
            "--channel-weight", expected=f"{most}, one for each pair of volumes that a row has at most",
            got=str(len(options.channel_weights)), remedy="give it once for fixed, once for fixed_2, and so on",
        )  # fmt: skip


def check_places(workers: int, scheduler: str | None) -> None:
    """Refuse more workers than cores, and workers beside a cluster.

    Raises:
        UsageError: if so.
    """
    cores = usable_cores()
    if not 1 <= workers <= cores:
        raise UsageError("--workers", expected=f"1 to {cores}, the cores here", got=str(workers), remedy="choose fewer")
    if scheduler is not None and workers != 1:
        raise UsageError(
            "--workers", expected="--workers or --scheduler", got="both", remedy="the cluster has its own workers"
        )


def _grouped(pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs with the same fixed image next to each other, so that a worker that read it can use it again."""
    pairs = list(pairs)
    first = {pair.fixed: n for n, pair in reversed(list(enumerate(pairs)))}
    return sorted(pairs, key=lambda pair: first[pair.fixed])


def _outcomes(tasks: Sequence[Task], workers: int, scheduler: str | None) -> Generator[Outcome, None, None]:
    """How each task went, as they come."""
    if not tasks:
        return
    if scheduler is not None:
        with connect(scheduler) as client:
            yield from _heeded(on_cluster(client, _work_there, tasks))
    elif workers == 1:
        for task in tasks:
            yield work(task, task.options.threads)
    else:
        threads = tasks[0].options.threads or max(1, usable_cores() // workers)
        tasks = [replace(task, options=replace(task.options, threads=threads)) for task in tasks]
        with local_cluster(min(workers, len(tasks)), threads) as client:
            yield from _heeded(on_cluster(client, _work_there, tasks))


def _heeded(results: Iterator[tuple[Task, Outcome | LostWorkerError]]) -> Iterator[Outcome]:
    for task, result in results:
        yield lost(task) if isinstance(result, LostWorkerError) else result


def _work_there(task: Task) -> Outcome:
    """What a worker of a cluster runs: on one thread unless told, since Dask counts one for each piece of work."""
    return work(task, task.options.threads or 1)
