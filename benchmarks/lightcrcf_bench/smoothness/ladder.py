"""The settings of smoothness at which each tool is run, and that its users get without asking."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from lightcrcf_bench.accuracy.methods import OURS, Bench, Own, own_contender, peer_contender, unregistered
from lightcrcf_bench.accuracy.protocols import PeerSettings, Protocol
from lightcrcf_bench.smoothness.study import Rung

__all__ = [
    "AFFINE", "CONVEXADAM", "CURVES", "DEFAULT", "ELASTIX", "FAST", "GREEDY", "GREEDY_NMI", "PEERS", "PEERS_ACROSS",
    "SMOOTHNESS", "SYN", "across_ladder", "elastix_rung", "ladder",
]  # fmt: skip

DEFAULT, FAST, AFFINE = "lightcrcf-default", "lightcrcf-fast", "lightcrcf-affine"
GREEDY_NMI, ELASTIX, CONVEXADAM = "greedy-nmi", "elastix", "convexadam"
CURVES = {
    DEFAULT: "LightCRCF default",
    FAST: "LightCRCF, network alone",
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


def ladder(protocol: Protocol, bench: Bench) -> dict[str, Rung]:
    """Every method and setting that can run on a protocol's images, by name.

    Args:
        protocol: gives our model, and the affine and the iterations of the other tools, as its accuracy was measured.
        bench: how to run.
    """
    rungs = [Rung(unregistered(), "identity", usual=True)]
    rungs += [_ours(protocol, value, bench) for value in SMOOTHNESS]
    alone = [AFFINE] if (bench.model or protocol.model) == "none" else [AFFINE, FAST]
    rungs += [Rung(own_contender(protocol, name, OURS[name], bench), name, usual=True) for name in alone]
    rungs += [_greedy(protocol, *sigmas, bench) for sigmas in GREEDY]
    rungs += [_syn(protocol, *sigmas, bench) for sigmas in SYN]
    return {rung.contender.name.partition("@")[0]: rung for rung in rungs}


def across_ladder(protocol: Protocol, bench: Bench) -> dict[str, Rung]:
    """Every method and setting that can run on two contrasts, by name.

    Args:
        protocol: gives the settings of elastix and ConvexAdam, as its accuracy was measured.
        bench: how to run.
    """
    nmi = PeerSettings(
        "greedy", "", f"-ia-image-centers -dof 12 {_NMI}", _NMI, "12-parameter affine, both by mutual information;"
    )
    auto = replace(protocol, model="auto")  # no network is trained for two contrasts: none runs
    rungs = [Rung(unregistered(), "identity", usual=True)]
    rungs += [_ours(auto, value, bench) for value in SMOOTHNESS]
    rungs += [Rung(own_contender(auto, AFFINE, OURS[AFFINE], bench), AFFINE, usual=True)]
    rungs += [_greedy(replace(auto, peers={"greedy-ncc": nmi}), *sigmas, bench, GREEDY_NMI) for sigmas in GREEDY]
    rungs += [_syn(protocol, *sigmas, bench) for sigmas in SYN]
    rungs += [_as_measured(protocol, "elastix-bspline", ELASTIX, bench)]
    rungs += [_as_measured(protocol, "convexadam", CONVEXADAM, bench)]
    return {rung.contender.name.partition("@")[0]: rung for rung in rungs}


def elastix_rung(protocol: Protocol, bench: Bench) -> Mapping[str, Rung]:
    """elastix as its accuracy was measured; its field has the affine in it, so that only whole maps are compared."""
    return {"elastix-bspline": _as_measured(protocol, "elastix-bspline", ELASTIX, bench)}


def _as_measured(protocol: Protocol, name: str, curve: str, bench: Bench) -> Rung:
    return Rung(peer_contender(protocol.folder, name, protocol.peers[name], bench), curve, usual=True)


def _ours(protocol: Protocol, value: float, bench: Bench) -> Rung:
    own = Own(
        f"{CURVES[DEFAULT]}, smoothness {value:g}",
        "default",
        f"{OURS[DEFAULT].settings}, smoothness {value:g}",
        ("--smoothness", f"{value:g}"),
    )
    contender = own_contender(protocol, f"{DEFAULT}-{value:g}", own, bench)
    return Rung(contender, DEFAULT, f"{value:g}", value == _USUAL_OURS)


def _greedy(protocol: Protocol, forces: float, field: float, bench: Bench, curve: str = "greedy") -> Rung:
    base, shown = protocol.peers["greedy-ncc"], f"{forces:g}/{field:g}"
    settings = replace(
        base,
        title=f"{CURVES[curve]}, {shown} voxels",
        affine=f"{base.affine} -seed 1" if base.affine else "",
        # The field as it was found: greedy would round it to a tenth of a voxel.
        deform=f"{re.sub(r' -s [^ ]+ [^ ]+', '', base.deform)} -s {forces:g}vox {field:g}vox -wp 0 -seed 1",
        about=f"{base.about.partition(';')[0]}; forces smoothed by {forces:g}, the field by {field:g} voxels",
    )
    contender = peer_contender(protocol.folder, f"{curve}-{forces:g}-{field:g}", settings, bench)
    return Rung(contender, curve, shown, (forces, field) == _USUAL_GREEDY)


def _syn(protocol: Protocol, flow: float, total: float, bench: Bench) -> Rung:
    shown = f"{flow:g}/{total:g}"
    settings = PeerSettings(
        "ants",
        f"{CURVES['syn']}, sigma {shown}",
        "Affine",
        f"SyN {flow:g} {total:g}",
        f"{protocol.peers['ants-syn'].about}; flow sigma {flow:g}, total sigma {total:g}",
    )
    contender = peer_contender(protocol.folder, f"syn-{flow:g}-{total:g}", settings, bench)
    return Rung(contender, "syn", shown, (flow, total) == _USUAL_SYN)
