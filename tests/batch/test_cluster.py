"""Cohorts on Dask: processes on this machine, and a scheduler with two workers of which one dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from distributed import Client

from lightcrcf.batch import execute
from lightcrcf.batch.execute import LostWorkerError, connect, local_cluster, on_cluster
from lightcrcf.batch.many import register_many
from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.pairs import all_pairs, many_to_one
from lightcrcf.batch.progress import BatchProgress
from lightcrcf.batch.run import run_batch
from lightcrcf.batch.work import Task, lost_result
from lightcrcf.errors import InputError, UsageError, how_to_install
from lightcrcf.run_record.environment import usable_cores
from lightcrcf.volumes import read

# Dask's own sockets and loops are closed by its garbage, some of it after the test.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

Tree = Callable[[Path], dict[str, str]]


class Cluster:
    """A scheduler and workers as `dask scheduler` and `dask worker` start them, on this machine."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.file = folder / "scheduler.json"
        quiet = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical", "OMP_NUM_THREADS": "1"}
        common = ["--scheduler-file", str(self.file), "--no-dashboard"]
        dask = [sys.executable, "-m", "dask"]
        local = ["--host", "127.0.0.1", "--port", "0"]
        self.scheduler = subprocess.Popen([*dask, "scheduler", *local, *common], env=quiet)
        self.workers = [
            subprocess.Popen([*dask, "worker", *common, "--nthreads", "1", "--no-nanny", "--name", str(n)], env=quiet)
            for n in range(workers)
        ]

    @property
    def address(self) -> str:
        while not self.file.exists():
            time.sleep(0.05)
        return str(json.loads(self.file.read_text(encoding="utf-8"))["address"])

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two workers of one thread each; they have reported to the scheduler."""
    found = Cluster(tmp_path)
    try:
        with Client(found.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two processes of one thread each."""
    with local_cluster(2, 1) as found:
        yield found


def test_workers_keep_memory_for_the_next_pair(client: Client) -> None:
    kept = client.run(lambda: os.environ.get("MALLOC_TRIM_THRESHOLD_"))  # "os.environ.get" would take ours along
    assert {int(value) for value in kept.values()} == {2**26}  # Dask's own 65536 would give it back at each array


def test_the_workers_environment_does_not_stay_here() -> None:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_")
    before = [os.environ.get(name) for name in names]
    with local_cluster(1, 1) as client:
        assert client.run(lambda: os.environ.get("OPENBLAS_NUM_THREADS")).popitem()[1] == "1"
        assert [os.environ.get(name) for name in names] == before
    assert [os.environ.get(name) for name in names] == before


def test_a_worker_that_is_killed_in_the_middle_costs_nothing(
    cluster: Cluster, people: list[Path], quick: BatchOptions, tmp_path: Path, tree: Tree
) -> None:
    pairs = all_pairs(people[:4])
    run_batch(pairs, tmp_path / "here" / "out", quick)

    def kill_one(state: BatchProgress) -> None:
        if state.done == 3:
            os.kill(cluster.workers[0].pid, signal.SIGKILL)

    there = tmp_path / "there" / "out"
    summary = run_batch(pairs, there, quick, scheduler=cluster.address, progress=kill_one)
    assert cluster.workers[0].wait() == -signal.SIGKILL
    assert summary.failures == {}
    assert tree(there) == tree(tmp_path / "here" / "out")
    with connect(str(cluster.file)) as client:
        assert len(client.nthreads()) == 1


def test_a_cluster_that_goes_away_is_one_error_and_can_be_gone_on_with(
    cluster: Cluster, people: list[Path], quick: BatchOptions, tmp_path: Path
) -> None:
    def lose(state: BatchProgress) -> None:
        if state.done == 2:
            cluster.scheduler.kill()

    pairs = all_pairs(people[:4])
    with pytest.raises(InputError, match="--resume"):
        run_batch(pairs, tmp_path / "out", quick, scheduler=cluster.address, progress=lose)
    assert 2 <= len(list((tmp_path / "out" / "manifest").iterdir())) < 12
    assert run_batch(pairs, tmp_path / "out", quick, resume=True).failures == {}


def test_a_cluster_without_workers_says_that_it_waits(tmp_path: Path) -> None:
    found = Cluster(tmp_path, workers=0)
    try:
        with pytest.warns(UserWarning, match="no workers yet"), connect(found.address):
            pass
    finally:
        found.stop()


def test_workers_with_another_version_are_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_check_versions", lambda *_: None)
    with connect(cluster.address) as client:
        monkeypatch.undo()
        monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9")
        with pytest.raises(InputError, match=r"expected lightcrcf 9\.9, got " + version("lightcrcf")):
            execute._check_versions(cluster.address, client)


def test_no_scheduler_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_CONNECT_S", 1)
    with pytest.raises(InputError, match="dask scheduler"), connect("tcp://127.0.0.1:9"):
        pass
    with pytest.raises(InputError, match="No such file"), connect("/no/such/scheduler.json"):
        pass


def test_without_dask_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=re.escape(how_to_install("cluster"))), local_cluster(2, 1):
        pass


@pytest.mark.skipif(usable_cores() < 2, reason="one core only")
def test_without_dask_a_batch_leaves_no_folder(
    people: list[Path], quick: BatchOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="--workers 2: expected Dask"):
        run_batch(all_pairs(people[:2]), tmp_path / "out", quick, workers=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(usable_cores() < 2, reason="one core only")
def test_two_processes_leave_what_one_leaves(
    people: list[Path], quick: BatchOptions, tmp_path: Path, tree: Tree
) -> None:
    pairs = all_pairs(people[:3])
    run_batch(pairs, tmp_path / "one" / "out", quick)
    run_batch(pairs, tmp_path / "two" / "out", quick, workers=2)
    assert tree(tmp_path / "two" / "out") == tree(tmp_path / "one" / "out")


def _dies_of_seven(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return number * number


def _threads(_: int) -> tuple[int, str | None]:
    from lightcrcf.geometry.threads import threads_in_use

    return threads_in_use(), os.environ.get("OMP_NUM_THREADS")


def test_what_workers_die_of_takes_nothing_with_it(client: Client) -> None:
    found = dict(on_cluster(client, _dies_of_seven, range(20)))
    assert isinstance(found.pop(7), LostWorkerError)
    assert found == {n: n * n for n in range(20) if n != 7}


def test_a_pair_that_workers_die_of_has_a_record(people: list[Path], quick: BatchOptions, tmp_path: Path) -> None:
    (pair,) = many_to_one(people[0], people[1:2])
    record = lost_result(Task(pair, tmp_path, quick)).record
    assert record["error"]["exit_code"] == 5
    assert "memory" in record["error"]["message"]
    assert record["inputs"]["fixed"]["sha256"]


def test_work_is_taken_only_as_workers_become_free(client: Client) -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for number in range(10, 40):
            taken.append(number)
            yield number

    results = on_cluster(client, _dies_of_seven, numbers())
    next(results)
    assert len(taken) <= 6
    results.close()


def test_an_error_in_the_work_ends_it(client: Client) -> None:
    with pytest.raises(TypeError):
        list(on_cluster(client, _dies_of_seven, ["x"]))


def test_workers_use_the_threads_they_were_given(client: Client) -> None:
    for _, threads in on_cluster(client, _threads, range(4)):
        assert threads == (1, "1")


def test_many_registrations_come_home_from_a_cluster(client: Client, people: list[Path]) -> None:
    fixed = read(people[0])
    pairs = [(fixed, people[1]), (fixed, Path("/no/such.nii")), {"fixed": fixed, "moving": read(people[2])}]
    options = {"model": "none", "init": "none", "threads": 1}
    here = list(register_many(pairs, **options))
    there = sorted(register_many(pairs, client=client, **options), key=lambda found: found.index)
    assert [found.index for found in here] == [found.index for found in there] == [0, 1, 2]
    for one, other in zip(here, there, strict=True):
        assert (one.registration is None) == (other.registration is None) == (one.index == 1)
        assert str(one.error) == str(other.error)
        if one.registration and other.registration:
            assert (one.registration.moved.data == other.registration.moved.data).all()
            assert one.registration.metrics == other.registration.metrics
            assert other.registration.transform.points([[1.0, 2.0, 3.0]]).shape == (1, 3)
