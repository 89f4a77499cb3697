"""Coverage-guided fuzzing of the file readers (Atheris).

Atheris feeds the readers and watches which of their bytecode runs; the mutations are those of `fuzz`, which know the
formats. A seed gives the same files each time. Only tests need this, on Linux: the extra `dev`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import lightcrcf
import lightcrcf_bench
from lightcrcf.errors import UsageError, how_to_install
from lightcrcf_bench.stress import fuzz

__all__ = ["campaign"]

# What parses files, and is watched.
_READERS = (
    "volumes",
    "transforms",
    "weights",
    "training.config",
    "transforms.point_tables",
    "run_record.replay",
    "files",
)
_NEVER_S = 86_400
_LARGEST = 20_000  # bytes of a mutated file, or twice those of the sound one


def campaign(count: int, suffix: str, content: bytes, *, first: int = 0) -> dict[str, Any]:
    """Run a coverage-guided campaign, as `fuzz.campaign`, in one process.

    Raises:
        UsageError: where Atheris is not installed.
    """
    if find_spec("atheris") is None:
        raise UsageError("guided fuzzing", expected="atheris", got="none", remedy=f"on Linux, {how_to_install('dev')}")
    return fuzz.campaign(count, suffix, content, first=first, worker=_work, batch=count)


def _work(suffix: str, content: bytes, seeds: Sequence[int], results: Any) -> None:
    """Read files chosen by Atheris, one per seed, in another process; send how each ended."""
    import atheris

    _quiet()
    watched = _imported_again()
    folder = TemporaryDirectory()
    path = Path(folder.name) / f"b{suffix}"
    path.write_bytes(content)
    with _watching():
        watched.try_reading(suffix, path)  # imports the reader
    corpus = Path(folder.name) / "corpus"
    corpus.mkdir()
    (corpus / "sound").write_bytes(content)
    left = len(seeds)

    def read(data: bytes) -> None:
        nonlocal left
        path.write_bytes(data)
        results.send(watched.try_reading(suffix, path))
        left -= 1
        if left == 0:
            results.close()
            folder.cleanup()
            os._exit(0)  # Atheris would end the process itself, without removing the folder

    def mutated(data: bytes, largest: int, seed: int) -> bytes:
        return fuzz.mutated(bytes(data), np.random.default_rng(seed))[:largest]

    # Hangs, crashes and memory are judged by who reads the results. By its documents, libFuzzer has no limit of time at
    # 0; but then its alarm ends the process where a file takes a second.
    limits = [f"-timeout={_NEVER_S}", "-rss_limit_mb=0", "-malloc_limit_mb=0", "-detect_leaks=0"]
    options = [
        f"-artifact_prefix={folder.name}/",
        f"-seed={seeds[0] + 1}",
        f"-runs={2 * len(seeds) + 100}",
        f"-max_len={max(_LARGEST, 2 * len(content))}",
        "-len_control=0",
    ]
    atheris.Setup([sys.argv[0], *limits, *options, str(corpus)], read, custom_mutator=mutated)
    atheris.Fuzz()


def _watching() -> Any:
    """Instrument readers imported within the block."""
    import atheris

    return atheris.instrument_imports(include=[f"lightcrcf.{name}" for name in _READERS])


def _imported_again() -> Any:
    """Import `fuzz` and its dependencies in this project again: earlier imports are not instrumented.

    Nor are modules of an editable installation, which a loader of its own imports; so they come from their folders.
    """
    folders = [str(Path(module.__path__[0]).parent) for module in (lightcrcf, lightcrcf_bench)]
    sys.path[:0] = dict.fromkeys(folders)
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lightcrcf", "lightcrcf_bench")]:
        del sys.modules[name]
    with _watching():
        return importlib.import_module("lightcrcf_bench.stress.fuzz")


def _quiet() -> None:
    """Discard the output of Atheris."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
