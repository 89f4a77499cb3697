"""A check of the element lengths in a DICOM file against its size: GDCM allocates any length, gigabytes included."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple

from lightcrcf.errors import InputError

__all__ = ["check_whole"]

_IMPLICIT, _BIG_ENDIAN, _DEFLATED = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
_WIDE = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_VRS = _WIDE | set(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_SYNTAX, _PIXELS, _ITEM, _SEQUENCE_END = 0x00020010, 0x7FE00010, 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF


class _Element(NamedTuple):
    tag: int
    vr: bytes  # value representation; empty where it is implicit
    start: int  # of the value
    length: int


def check_whole(path: str | os.PathLike[str]) -> None:
    """Refuse a DICOM file that is cut off, damaged, or has an element longer than itself; other files pass.

    Raises:
        InputError: if the file is a damaged DICOM file.
    """
    with Path(path).open("rb") as stream:
        if stream.read(132)[128:] != b"DICM":
            return
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            whole = _lengths_fit(content)
    if not whole:
        raise InputError(
            str(path),
            expected="a whole DICOM file",
            got="an element longer than the file, or a damaged header",
            remedy="export the series again",
        )


def _lengths_fit(data: mmap.mmap) -> bool:
    """Return whether no element is longer than the rest of the file and the file meta header is intact.

    The loop enters sequences and items, so that it sees nested elements one after the other. It stops, without an
    objection, at content that it cannot parse: GDCM reports that.
    """
    order, explicit, syntax, fragments, at, tag = "<", True, b"", False, 132, 0
    while at + 12 <= len(data):
        if explicit and syntax and struct.unpack_from("<H", data, at)[0] != 2:  # the file meta header has ended
            order, explicit = ">" if syntax == _BIG_ENDIAN else "<", syntax != _IMPLICIT
        element = _element(data, at, order, explicit)
        if element.tag >> 16 == 2 and (element.vr not in _VRS or element.tag <= tag):
            return False  # the file meta header allows no exceptions
        if syntax == _DEFLATED or not _is_parsable(element):
            return True
        tag = element.tag
        if element.length != _UNDEFINED and element.start + element.length > len(data):
            return False
        if element.tag == _SYNTAX:
            syntax = data[element.start : element.start + element.length].rstrip(b"\0 ")
        if element.length == _UNDEFINED:
            fragments = element.tag == _PIXELS  # the items of compressed pixels hold no elements
        elif element.tag == _SEQUENCE_END:
            fragments = False
        enter = element.vr == b"SQ" or (element.tag == _ITEM and not fragments) or element.length == _UNDEFINED
        at = element.start if enter else element.start + element.length
    return True


def _element(data: mmap.mmap, at: int, order: str, explicit: bool) -> _Element:
    group, number = struct.unpack_from(order + "HH", data, at)
    tag, vr = group << 16 | number, data[at + 4 : at + 6]
    if group == 0xFFFE or not explicit:
        return _Element(tag, b"", at + 8, struct.unpack_from(order + "I", data, at + 4)[0])
    if vr in _WIDE:
        return _Element(tag, vr, at + 12, struct.unpack_from(order + "I", data, at + 8)[0])
    return _Element(tag, vr, at + 8, struct.unpack_from(order + "H", data, at + 6)[0])


def _is_parsable(element: _Element) -> bool:
    if element.length == _UNDEFINED and element.vr == b"UN":
        return False  # its content is implicit whatever the file is
    return not element.vr or element.vr in _VRS
