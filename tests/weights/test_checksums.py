"""Shipped weights are those that were shipped."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lightcrcf.errors import InputError
from lightcrcf.weights import checksums, store


def test_every_shipped_model_is_listed_with_its_sum() -> None:
    assert {f"{name}.safetensors" for name in (*store.names(), store.BRAIN_MODEL)} == set(checksums.read_checksums())
    folder = Path(str(checksums._models()))
    assert checksums.format_checksums(folder) == (folder / "SHA256SUMS").read_text(encoding="ascii")


@pytest.mark.parametrize("name", store.names())
def test_what_is_loaded_has_the_listed_sum(name: str) -> None:
    assert store.load(name).sha256 == checksums.read_checksums()[f"{name}.safetensors"]


def test_one_bit_is_noticed_when_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = Path(str(store._shipped())) / "brain.safetensors"
    content = bytearray(source.read_bytes())
    content[-1] ^= 1
    (tmp_path / source.name).write_bytes(content)
    (tmp_path / "brain.md").write_text("card")
    monkeypatch.setattr(store, "_shipped", lambda: tmp_path)
    with pytest.raises(InputError, match="expected shipped weights, SHA-256"):
        store.load("brain")


def test_a_model_that_no_list_names_is_refused() -> None:
    with pytest.raises(InputError, match="weights that SHA256SUMS lists"):
        checksums.verify_checksum("other.safetensors", b"content", {})
    checksums.verify_checksum(
        "mine.safetensors", b"content", {"mine.safetensors": hashlib.sha256(b"content").hexdigest()}
    )


def test_writing_a_model_keeps_the_list_of_its_folder_current(tmp_path: Path) -> None:
    shipped = store.load("brain")
    told = {"name": "mine", "config": shipped.config, "preparation": shipped.preparation, "content": shipped.content}
    store.write_weights(tmp_path / "a.safetensors", shipped.arrays, **told)
    assert not (tmp_path / "SHA256SUMS").exists()
    (tmp_path / "SHA256SUMS").write_text("")
    store.write_weights(tmp_path / "b.safetensors", shipped.arrays, **told)
    assert (tmp_path / "SHA256SUMS").read_text() == checksums.format_checksums(tmp_path)
    assert len(checksums.format_checksums(tmp_path).splitlines()) == 2
