"""Everything that a run goes on from, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lightcrcf.errors import InputError
from lightcrcf.network.config import NetworkConfig
from lightcrcf.network.model import LightCRCF
from lightcrcf.training.checkpoint import digest, restore, save
from lightcrcf.training.config import TrainingConfig, load_config
from lightcrcf.weights.store import read_tensors

SMALL = NetworkConfig(encoder=(2, 3, 2, 3), decoder=(3, 2, 3, 2), groups=2)


@pytest.fixture
def values() -> dict[str, Any]:
    return {
        "name": "small",
        "data": {"root": "here", "cohorts": [{"folder": ".", "image": "{id}.nii", "train": ["a", "b"]}]},
        "stages": [{"steps": 10}],
        "run": {"folder": "run"},
    }


@pytest.fixture
def config(values: dict[str, Any]) -> TrainingConfig:
    return TrainingConfig.model_validate(values)


def trained(seed: int, steps: int) -> tuple[LightCRCF, torch.optim.Adam]:
    """A network and an optimiser that have seen `steps` steps towards nothing in particular."""
    torch.manual_seed(seed)
    model = LightCRCF(SMALL)
    model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    for _ in range(steps):
        step(model, optimiser)
    return model, optimiser


def step(model: LightCRCF, optimiser: torch.optim.Adam) -> None:
    images = torch.rand(2, 1, 1, 16, 32, 16, generator=torch.Generator().manual_seed(5))
    optimiser.zero_grad()
    sum(((u - 1) ** 2).mean() for u in model(*images)).backward()
    optimiser.step()


def test_a_restored_run_goes_on_as_if_nothing_had_happened(config: TrainingConfig, tmp_path: Path) -> None:
    model, optimiser = trained(seed=1, steps=3)
    save(tmp_path / "c.safetensors", config, model, optimiser, 3)
    other, other_optimiser = trained(seed=2, steps=0)
    assert restore(tmp_path / "c.safetensors", config, other, other_optimiser) == 3
    for _ in range(2):
        step(model, optimiser)
        step(other, other_optimiser)
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_before_the_first_step_there_is_nothing_of_the_optimiser(config: TrainingConfig, tmp_path: Path) -> None:
    model, optimiser = trained(seed=1, steps=0)
    save(tmp_path / "c.safetensors", config, model, optimiser, 0)
    other, other_optimiser = trained(seed=2, steps=0)
    assert restore(tmp_path / "c.safetensors", config, other, other_optimiser) == 0
    assert not other_optimiser.state
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_the_same_state_gives_the_same_bytes(config: TrainingConfig, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name, config, *trained(seed=1, steps=2), 2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("section", "change", "same"),
    [
        (None, {"name": "other"}, False),
        (None, {"variant": "no-tarep"}, False),
        ("data", {"spacing_mm": 2.0}, False),
        ("data", {"root": "elsewhere"}, True),
        (None, {"loss": {"regularity": 2.0}}, False),
        (None, {"stages": [{"steps": 10}, {"steps": 20, "finest": 0}]}, True),
        ("run", {"checkpoint_steps": 7, "folder": "elsewhere"}, True),
    ],
)
def test_a_longer_schedule_goes_on_and_another_recipe_does_not(
    section: str | None,
    change: dict[str, Any],
    same: bool,
    values: dict[str, Any],
    config: TrainingConfig,
    tmp_path: Path,
) -> None:
    changed = {**values, **change} if section is None else {**values, section: {**values[section], **change}}
    other = TrainingConfig.model_validate(changed)
    assert (digest(other) == digest(config)) == same
    model, optimiser = trained(seed=1, steps=0)
    save(tmp_path / "c.safetensors", config, model, optimiser, 4)
    if same:
        assert restore(tmp_path / "c.safetensors", other, model, optimiser) == 4
        return
    with pytest.raises(InputError, match="another one's"):
        restore(tmp_path / "c.safetensors", other, model, optimiser)


def test_a_missing_or_foreign_file_is_bad_input(config: TrainingConfig, tmp_path: Path) -> None:
    model, optimiser = trained(seed=1, steps=0)
    (tmp_path / "text.safetensors").write_text("no tensors at all", encoding="utf-8")
    for name in ("missing.safetensors", "text.safetensors"):
        with pytest.raises(InputError, match=name):
            restore(tmp_path / name, config, model, optimiser)


def test_recipes_of_before_resume() -> None:
    """Options that a recipe does not name leave the digest in its checkpoint as it was."""
    root = Path(__file__).parents[2] / "recipes"
    _, metadata = read_tensors(root / "checkpoints" / "brain-cc0.safetensors")
    assert digest(load_config(root / "brain-cc0.toml")) == metadata["config"]


def test_other_persons_are_another_configuration(values: dict[str, Any], config: TrainingConfig) -> None:
    values["data"]["cohorts"][0] = {"folder": ".", "image": "{id}.nii", "split": {"seed": 1}}
    drawn = digest(TrainingConfig.model_validate(values))
    values["data"]["cohorts"][0]["split"] = {"seed": 2}
    assert len({digest(config), drawn, digest(TrainingConfig.model_validate(values))}) == 3
