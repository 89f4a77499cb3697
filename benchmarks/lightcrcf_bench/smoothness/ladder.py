"""The settings of smoothness at which each tool is run, and that its users get without asking."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from lightcrcf_bench.accuracy.methods import (
    OURS,
    BenchSettings,
    OwnConfiguration,
    own_runner,
    peer_runner,
    unregistered,
)
from lightcrcf_bench.accuracy.protocols import PeerSettings, Protocol
from lightcrcf_bench.smoothness.study import Rung

__all__ = [
    "AFFINE", "CONVEXADAM", "CURVES", "DEFAULT", "ELASTIX", "FAST", "GREEDY", "GREEDY_NMI", "NETWORK", "PEERS",
    "PEERS_ACROSS", "SMOOTHNESS", "SYN", "across_ladder", "elastix_rung", "ladder",
]  # fmt: skip

DEFAULT, FAST, NETWORK, AFFINE = "lightcrcf-default", "lightcrcf-fast", "lightcrcf-network", "lightcrcf-affine"
GREEDY_NMI, ELASTIX, CONVEXADAM = "greedy-nmi", "elastix", "convexadam"
CURVES = {
    DEFAULT: "LightCRCF default",
    FAST: "LightCRCF fast",
    NETWORK: "LightCRCF, network alone",
    AFFINE: "LightCRCF, affine only",
    "greedy": "greedy NCC",
    GREEDY_NMI: "greedy NMI",
    "syn": "ANTs SyN",
    ELASTIX: "elastix B-spline",
    CONVEXADAM: "ConvexAdam",
    "identity": "No registration",
}
"""Titles of the tools."""
PEERS = ("greedy", "syn")
PEERS_ACROSS = (GREEDY_NMI, "syn", ELASTIX, CONVEXADAM)
"""Those that compare images of two contrasts."""
SMOOTHNESS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
GREEDY = ((1.2, 0.4), (1.732, 0.7071), (2.4, 1.0), (3.0, 1.5), (4.0, 2.0))  # forces and field, voxels
SYN = ((1.5, 0.0), (3.0, 0.0), (3.0, 0.5), (3.0, 1.5))  # flow and total sigma
_USUAL_OURS, _USUAL_GREEDY, _USUAL_SYN = 1.0, (1.732, 0.7071), (3.0, 0.0)
_NMI = "-m NMI -n 100x50x10"


def ladder(protocol: Protocol, bench: BenchSettings) -> dict[str, Rung]:
    """Return every method and setting that can run on a protocol's images, by name.

    Args:
        protocol: gives our model, and the affine and the iterations of the other tools, as its accuracy was measured.
        bench: how to run.
    """
    rungs = [Rung(unregistered(), "identity", usual=True)]
    rungs += [_ours(protocol, value, bench) for value in SMOOTHNESS]
    alone = [AFFINE] if (bench.model or protocol.model) == "none" else [AFFINE, FAST]
    rungs += [Rung(own_runner(protocol, name, OURS[name], bench), name, usual=True) for name in alone]
    rungs += [_greedy(protocol, *sigmas, bench) for sigmas in GREEDY]
    rungs += [_syn(protocol, *sigmas, bench) for sigmas in SYN]
    return {rung.runner.name.partition("@")[0]: rung for rung in rungs}


def across_ladder(protocol: Protocol, bench: BenchSettings) -> dict[str, Rung]:
    """Return every method and setting that can run on two contrasts, by name.

    Args:
        protocol: gives the settings of elastix and ConvexAdam, as its accuracy was measured.
        bench: how to run.
    """
    nmi = PeerSettings(
        "greedy", "", f"-ia-image-centers -dof 12 {_NMI}", _NMI, "12-parameter affine, both by mutual information;"
    )
    auto = replace(protocol, model="auto")
    rungs = [Rung(unregistered(), "identity", usual=True)]
    rungs += [_ours(auto, value, bench) for value in SMOOTHNESS]
    rungs += [Rung(own_runner(auto, name, OURS[name], bench), name, usual=True) for name in (AFFINE, FAST, NETWORK)]
    rungs += [_greedy(replace(auto, peers={"greedy-ncc": nmi}), *sigmas, bench, GREEDY_NMI) for sigmas in GREEDY]
    rungs += [_syn(protocol, *sigmas, bench) for sigmas in SYN]
    rungs += [_as_measured(protocol, "elastix-bspline", ELASTIX, bench)]
    rungs += [_as_measured(protocol, "convexadam", CONVEXADAM, bench)]
    return {rung.runner.name.partition("@")[0]: rung for rung in rungs}


def elastix_rung(protocol: Protocol, bench: BenchSettings) -> Mapping[str, Rung]:
    """Return elastix as in the accuracy benchmark; its field includes the affine, so only whole maps compare."""
    return {"elastix-bspline": _as_measured(protocol, "elastix-bspline", ELASTIX, bench)}


def _as_measured(protocol: Protocol, name: str, curve: str, bench: BenchSettings) -> Rung:
    return Rung(peer_runner(protocol.folder, name, protocol.peers[name], bench), curve, usual=True)


def _ours(protocol: Protocol, value: float, bench: BenchSettings) -> Rung:
    own = OwnConfiguration(
        f"{CURVES[DEFAULT]}, smoothness {value:g}",
        "default",
        f"{OURS[DEFAULT].settings}, smoothness {value:g}",
        ("--smoothness", f"{value:g}"),
    )
    runner = own_runner(protocol, f"{DEFAULT}-{value:g}", own, bench)
    return Rung(runner, DEFAULT, f"{value:g}", value == _USUAL_OURS)


def _greedy(protocol: Protocol, forces: float, field: float, bench: BenchSettings, curve: str = "greedy") -> Rung:
    base, shown = protocol.peers["greedy-ncc"], f"{forces:g}/{field:g}"
    settings = replace(
        base,
        title=f"{CURVES[curve]}, {shown} voxels",
        affine=f"{base.affine} -seed 1" if base.affine else "",
        # The field as it was found: greedy would round it to a tenth of a voxel.
        deform=f"{re.sub(r' -s [^ ]+ [^ ]+', '', base.deform)} -s {forces:g}vox {field:g}vox -wp 0 -seed 1",
        about=f"{base.about.partition(';')[0]}; forces smoothed by {forces:g}, the field by {field:g} voxels",
    )
    runner = peer_runner(protocol.folder, f"{curve}-{forces:g}-{field:g}", settings, bench)
    return Rung(runner, curve, shown, (forces, field) == _USUAL_GREEDY)


def _syn(protocol: Protocol, flow: float, total: float, bench: BenchSettings) -> Rung:
    shown = f"{flow:g}/{total:g}"
    settings = PeerSettings(
        "ants",
        f"{CURVES['syn']}, sigma {shown}",
        "Affine",
        f"SyN {flow:g} {total:g}",
        f"{protocol.peers['ants-syn'].about}; flow sigma {flow:g}, total sigma {total:g}",
    )
    runner = peer_runner(protocol.folder, f"syn-{flow:g}-{total:g}", settings, bench)
    return Rung(runner, "syn", shown, (flow, total) == _USUAL_SYN)
