"""Volumes, and reading and writing them."""

from lightcrcf.volumes.as_volume import as_volume
from lightcrcf.volumes.check import check_usable, on_grid_of
from lightcrcf.volumes.read import read
from lightcrcf.volumes.volume import UNKNOWN_SIDES, Volume
from lightcrcf.volumes.write import check_target, write

__all__ = ["UNKNOWN_SIDES", "Volume", "as_volume", "check_target", "check_usable", "on_grid_of", "read", "write"]
