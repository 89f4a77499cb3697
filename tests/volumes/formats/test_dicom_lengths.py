import struct
from pathlib import Path

import pytest

from lightcrcf.errors import InputError
from lightcrcf.volumes.formats.dicom_lengths import check_whole

UNDEFINED = 0xFFFFFFFF
EXPLICIT, IMPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in (".1", "", ".2", ".1.99"))


def short(tag: int, vr: str, value: bytes, *, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def wide(tag: int, vr: str, value: bytes, length: int | None = None, *, order: str = "<") -> bytes:
    length = len(value) if length is None else length
    return struct.pack(f"{order}HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length) + value


def bare(tag: int, value: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return bare(0xFFFEE000, value, length)


ITEM_END, SEQUENCE_END = bare(0xFFFEE00D), bare(0xFFFEE0DD)
NAME = short(0x00100010, "PN", b"nobody")
SEQUENCE = 0x00081115


def file(syntax: str, body: bytes) -> bytes:
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    return bytes(128) + b"DICM" + short(0x00020010, "UI", value) + body


WHOLE = {
    "not DICOM": b"hello",
    "nothing": b"",
    "explicit": file(EXPLICIT, NAME + wide(0x7FE00010, "OW", bytes(70))),
    "implicit": file(IMPLICIT, bare(0x00100010, b"nobody") + bare(0x7FE00010, bytes(70))),
    "big endian": file(
        BIG, short(0x00100010, "PN", b"nobody", order=">") + wide(0x7FE00010, "OW", bytes(9), order=">")
    ),
    "nested": file(EXPLICIT, wide(SEQUENCE, "SQ", item(wide(SEQUENCE, "SQ", item(NAME)) + NAME)) + NAME),
    "nested, undefined": file(
        EXPLICIT, wide(SEQUENCE, "SQ", item(NAME, UNDEFINED) + NAME + ITEM_END + SEQUENCE_END, UNDEFINED) + NAME
    ),
    "compressed pixels": file(
        EXPLICIT, wide(0x7FE00010, "OB", item(b"") + item(b"\xff" * 70) + SEQUENCE_END, UNDEFINED) + NAME
    ),
    "unknown, undefined": file(EXPLICIT, wide(0x00091010, "UN", bare(0x00091011, b"xx") + b"\xff" * 20, UNDEFINED)),
    "deflated": file(DEFLATED, b"\xff" * 99),
    "odd vendor": file(EXPLICIT, short(0x00091010, "??", b"\xff" * 30)),
}
DAMAGED = {
    "cut": file(EXPLICIT, NAME + wide(0x7FE00010, "OW", bytes(70))[:-1]),
    "implicit cut": file(IMPLICIT, bare(0x7FE00010, bytes(70))[:-1]),
    "gigabytes": file(EXPLICIT, wide(0x00420011, "OB", bytes(70), 0xF0000000)),
    "big endian gigabytes": file(BIG, wide(0x00420011, "OB", bytes(70), 0xF0000000, order=">")),
    "gigabytes within": file(EXPLICIT, wide(SEQUENCE, "SQ", item(wide(0x00420011, "OB", bytes(9), 0xF0000000)))),
    "gigabytes of a fragment": file(EXPLICIT, wide(0x7FE00010, "OB", item(bytes(9), 0xF0000000), UNDEFINED)),
    "odd header": file(EXPLICIT, short(0x00020013, "]I", b"text") + NAME),
    "header out of order": file(EXPLICIT, short(0x00020002, "UI", b"1.2.") + NAME),
}


@pytest.mark.parametrize("case", WHOLE)
def test_whole_files_pass(tmp_path: Path, case: str) -> None:
    (tmp_path / "a").write_bytes(WHOLE[case])
    check_whole(tmp_path / "a")


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_refused(tmp_path: Path, case: str) -> None:
    (tmp_path / "a").write_bytes(DAMAGED[case])
    with pytest.raises(InputError, match="a whole DICOM file"):
        check_whole(tmp_path / "a")
