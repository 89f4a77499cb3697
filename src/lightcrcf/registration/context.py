"""The context of one registration: its options, its cache and its stopwatch."""

from __future__ import annotations

from dataclasses import dataclass

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.engines.base import Engine
from lightcrcf.options import Options
from lightcrcf.progress import Stopwatch
from lightcrcf.weights.store import Weights

__all__ = ["RunContext"]


@dataclass(frozen=True, eq=False)
class RunContext:
    """Options, cache and stopwatch, which every stage of a registration needs besides the images.

    Args:
        options: of the registration.
        cache: results that consecutive registrations share.
        stopwatch: times the stages.
        retain_engine: whether the network stays in memory for further registrations.
    """

    options: Options
    cache: RegistrationCache
    stopwatch: Stopwatch
    retain_engine: bool

    def engine(self, weights: Weights) -> Engine:
        """Return the engine of a model, compiled for the device of the options."""
        how = self.options
        return self.cache.engine(
            weights, name=how.engine, device=how.device, precision=how.precision, threads=how.threads
        )

    def release(self, network: Engine | None) -> None:
        """Free the memory of a network that no further registration will use."""
        if network is not None and not self.retain_engine:
            network.release()
