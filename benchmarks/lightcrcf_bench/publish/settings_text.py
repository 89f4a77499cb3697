"""Text of how a method was run and of its versions, with corrections of older records."""

from __future__ import annotations

from collections.abc import Mapping

from lightcrcf_bench.records.parts import Method

__all__ = ["settings_text", "versions_text"]

# Until 2026-11-29 records described our presets by a fixed text, which names a network whether one ran or not. None
# runs without a model, and with this file of brain-t1 only in the preset fast: its refinement starts from the identity.
_FROM_IDENTITY = {"model brain-t1": "97a0be8c2e7f"}
_CORRECTED = (
    ("affine alignment, network and a ", "affine alignment and a "),
    ("affine alignment and one pass of the network", "affine alignment, no network"),
)


def settings_text(method: Method) -> str:
    """Return the settings of a method; the network is removed from the text of older records if none ran.

    Example:
        >>> from datetime import date
        >>> from lightcrcf_bench.records.parts import Machine
        >>> machine = Machine(cpu="a processor", cores=2, memory_gib=8.0, system="Linux", python="3.11")
        >>> old = Method(
        ...     name="lightcrcf-default", title="LightCRCF default", ours=True, model="none", timing="all of it",
        ...     settings="affine alignment, network and a long refinement", command="--model none --preset default",
        ...     versions={}, measured=date(2026, 11, 29), machine=machine,
        ... )
        >>> settings_text(old)
        'affine alignment and a long refinement'
    """
    if not method.ours or _network_ran(method):
        return method.settings
    text = method.settings
    for wrong, right in _CORRECTED:
        text = text.replace(wrong, right)
    return text


def _network_ran(method: Method) -> bool:
    models = {name: version for name, version in method.versions.items() if name.startswith("model ")}
    from_identity = any(_FROM_IDENTITY.get(name) == version for name, version in models.items())
    return bool(models) and not (from_identity and "--preset fast" not in method.command)


def versions_text(versions: Mapping[str, str]) -> str:
    """Return the versions of a tool, or of our program and its model; the record has those of libraries too.

    Example:
        >>> versions_text({"lightcrcf": "0.1.0", "numpy": "2.0", "model brain-t1": "97a0be8c2e7f"})
        'lightcrcf 0.1.0, model brain-t1 97a0be8c2e7f'
    """
    ours = "lightcrcf" in versions
    shown = [name for name in versions if not ours or name == "lightcrcf" or name.startswith("model ")]
    return ", ".join(f"{name} {versions[name]}" for name in shown)
