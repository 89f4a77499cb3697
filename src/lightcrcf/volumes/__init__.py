"""Volumes and the files that they come from and go to."""

from lightcrcf.volumes.check import check_usable, on_grid_of
from lightcrcf.volumes.coerce import coerce
from lightcrcf.volumes.read import read
from lightcrcf.volumes.volume import Volume
from lightcrcf.volumes.write import check_target, write

__all__ = ["Volume", "check_target", "check_usable", "coerce", "on_grid_of", "read", "write"]
