"""Volumes and the files that they come from and go to."""

from lightcrcf.volumes.coerce import coerce
from lightcrcf.volumes.read import read
from lightcrcf.volumes.volume import Volume
from lightcrcf.volumes.write import write

__all__ = ["Volume", "coerce", "read", "write"]
