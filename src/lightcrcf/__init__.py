"""LightCRCF: deformable registration of 3-D medical volumes in seconds on a CPU.

In Python, as in the README:

    import lightcrcf

    registration = lightcrcf.register("fixed.nii.gz", "moving.nii.gz")
    registration.moved, registration.transform, registration.quality.verdict

`lightcrcf.register_many` does the same for many pairs, here or on a Dask cluster; `lightcrcf.label` labels an image by
labelled atlases; `lightcrcf.brain_mask` finds the brain in an image of a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightcrcf.batch.many import register_many
    from lightcrcf.labels.labelling import label
    from lightcrcf.preprocessing.brain import brain_mask
    from lightcrcf.registration.register import Registration, register

    __version__: str

__all__ = ["Registration", "__version__", "brain_mask", "label", "register", "register_many"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import lightcrcf` stays instant."""
    if name == "__version__":
        from importlib.metadata import version

        return version("lightcrcf")
    if name == "register_many":
        from lightcrcf.batch import many

        return many.register_many
    if name == "label":
        from lightcrcf.labels import labelling

        return labelling.label
    if name == "brain_mask":
        from lightcrcf.preprocessing import brain

        return brain.brain_mask
    if name in __all__:
        from lightcrcf.registration import register as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
