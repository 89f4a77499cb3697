from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool3d

from lightcrcf.engines.base import open_engine
from lightcrcf.errors import InputError, UsageError
from lightcrcf.network import sampling
from lightcrcf.training import loop
from lightcrcf.training import objective as objective_module
from lightcrcf.training.augmentation.pair import RenderedPair
from lightcrcf.training.config import Stage, load_config
from lightcrcf.training.loop import Trainer, train
from lightcrcf.training.objective import Operations, objective
from lightcrcf.weights import store

TWO_STAGES = "[[stages]]\nsteps = 2\nfinest = 1\n\n[[stages]]\nsteps = 2\ncompare = 'full'\nwindow = 3\n"


def lines(config: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (config.parent / "run" / "log.jsonl").read_text().splitlines()]


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """As if the run was interrupted before `step`."""
    original = Trainer.train_step

    def interrupted(self: Trainer) -> dict[str, float]:
        if self.step == step:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(Trainer, "train_step", interrupted)


def test_a_resumed_run_ends_with_the_same_weights(recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    straight = store.load(train(recipe(TWO_STAGES, "straight")))
    config = recipe(TWO_STAGES, "interrupted")
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    resumed = store.load(train(config, resume=True))
    assert resumed.sha256 == straight.sha256
    assert [line["step"] for line in lines(config)] == [2, 4, 4]


def test_stopped_between_two_steps_it_keeps_the_last_whole_state(
    recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted within the optimiser's step, the weights already have another step in them."""
    straight = store.load(train(recipe(3, "straight")))
    config = recipe(3, "interrupted")
    config.write_text(config.read_text().replace("checkpoint_steps = 100", "checkpoint_steps = 1"), encoding="utf-8")
    original = torch.optim.Adam.step
    with monkeypatch.context() as patch:
        calls = []

        def step(self: torch.optim.Adam) -> None:
            original(self)
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt

        patch.setattr(torch.optim.Adam, "step", step)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert store.load(train(config, resume=True)).sha256 == straight.sha256


def test_the_run_leaves_a_model_that_both_engines_read(recipe: Callable[..., Path]) -> None:
    config = recipe(3)
    path = train(config)
    weights = store.load(path)
    assert (weights.name, weights.preparation.spacing_mm, weights.content) == (
        "tiny",
        (5.0,) * 3,
        "skull-stripped brain",
    )
    rng = np.random.default_rng(0)
    fixed, moving = rng.random((2, 32, 48, 32), dtype=np.float32)
    torch_field, native_field = (
        open_engine(weights, name=name).displacement(fixed, moving) for name in ("torch", "native")
    )
    assert np.abs(torch_field - native_field).max() < 1e-3
    scores = lines(config)[-1]["monitor"]
    assert isinstance(scores, dict)
    assert 0.3 < scores["dice_affine"] <= 1
    assert 0.3 < scores["dice"] <= 1


def test_a_finished_folder_is_not_overwritten(recipe: Callable[..., Path]) -> None:
    config = recipe(1)
    train(config)
    with pytest.raises(UsageError, match="name another folder, or add --resume"):
        train(config)
    with pytest.raises(UsageError, match=r"name another folder$"):  # --resume would be refused
        train(config, start="brain")


def test_a_checkpoint_of_another_configuration_is_refused(recipe: Callable[..., Path]) -> None:
    config = recipe(1)
    train(config)
    config.write_text(config.read_text(encoding="utf-8").replace("regularity = 0.5", "regularity = 0.6"))
    with pytest.raises(InputError, match="another one's"):
        train(config, resume=True)


def test_a_damaged_checkpoint_is_refused(recipe: Callable[..., Path]) -> None:
    config = recipe(1)
    train(config)
    checkpoint = config.parent / "run" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match="checkpoint"):
        train(config, resume=True)


def test_training_lowers_the_loss(recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(load_config(recipe(25)))
    pair = trainer.batch(np.random.default_rng(3))
    monkeypatch.setattr(trainer, "batch", lambda rng, compare: pair)
    values = []
    for trainer.step in range(25):
        values.append(trainer.train_step()["loss"])
    assert np.mean(values[-3:]) < values[0] - 0.02


def test_a_pair_of_one_image_twice_needs_no_displacement(recipe: Callable[..., Path]) -> None:
    path, alone = recipe(1), "[augment]\nidentical_probability = 1.0\nnoise = 0.0\ngamma = 0.0\n"
    path.write_text(f"{path.read_text()}\n{alone}", encoding="utf-8")
    pair = Trainer(load_config(path)).batch(np.random.default_rng(3))
    assert pair.fixed.max() > 0.5
    assert torch.equal(pair.fixed, pair.moving)
    assert pair.truth is not None
    assert not pair.truth.any()


def test_a_known_field_aligns_its_pair_and_costs_nothing(recipe: Callable[..., Path]) -> None:
    path = recipe(1)
    alone = "[augment]\nknown_probability = 1.0\nnoise = 0.0\ngamma = 0.0\nflip_probability = 1.0\n"
    path.write_text(f"{path.read_text()}\n{alone}".replace("[loss]", "[loss]\nknown = 1.0"), encoding="utf-8")
    trainer = Trainer(load_config(path))
    pair = trainer.batch(np.random.default_rng(3))
    assert pair.truth is not None
    tissue = pair.fixed > 0
    apart, left = (
        float((pair.fixed - moved)[tissue].abs().mean())
        for moved in (pair.moving, sampling.warp(pair.moving, pair.truth))
    )
    assert left < 0.1 * apart
    fields = [avg_pool3d(pair.truth, 2**n) / 2**n for n in (4, 3, 2, 1)]
    how = trainer.config.loss, "half", Operations.on(torch.device("cpu"))
    right, wrong = (
        objective(each, pair.fixed, pair.moving, *how, truth=pair.truth)
        for each in (fields, [torch.zeros_like(u) for u in fields])
    )
    assert float(right["known"]) == pytest.approx(0, abs=1e-6)
    assert float(wrong["known"]) > 1e-3
    assert float(wrong["loss"]) > float(right["loss"])


def test_the_network_sees_another_contrast_and_the_loss_does_not(recipe: Callable[..., Path]) -> None:
    path = recipe(1)
    path.write_text(f"{path.read_text()}\n[augment]\ncontrast_probability = 1.0\n", encoding="utf-8")
    trainer = Trainer(load_config(path))
    pair = trainer.batch(np.random.default_rng(3))
    for image, seen in zip((pair.fixed, pair.moving), pair.seen, strict=True):
        assert not (seen[image <= 0] > 0).any()
        assert (seen[image > 0.05] > 0).all()
    assert not all(torch.equal(*both) for both in zip((pair.fixed, pair.moving), pair.seen, strict=True))
    stage, images = trainer.config.stages[0], ((pair.fixed, pair.moving), pair.seen)
    plain, colours = (RenderedPair(*both, both) for both in images)
    found, usual, wrong = (
        trainer._backward(each, stage, 1.0, last=True)["similarity"] for each in (pair, plain, colours)
    )
    assert abs(found - usual) < 0.1 * abs(wrong - usual)  # the head begins near zero


def test_a_loss_that_is_not_finite_stops_the_run(recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(load_config(recipe(1)))
    monkeypatch.setattr(objective_module.losses, "diffusion", lambda u: torch.tensor(math.nan, requires_grad=True))
    with pytest.raises(InputError, match="a loss that stays small, got nan"):
        trainer.train_step()


def test_a_run_that_diverged_leaves_its_last_good_checkpoint(
    recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(1)
    train(config)
    good = (config.parent / "run" / "checkpoint.safetensors").read_bytes()
    config.write_text(config.read_text(encoding="utf-8").replace("steps = 1\n", "steps = 3\n"), encoding="utf-8")
    monkeypatch.setattr(objective_module.losses, "diffusion", lambda u: u.square().mean() + 1e6)
    with pytest.raises(InputError, match="a loss that stays small"):
        train(config, resume=True)
    assert (config.parent / "run" / "checkpoint.safetensors").read_bytes() == good


def test_gradients_that_are_not_finite_change_no_weight(
    recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(load_config(recipe(1)))
    before = [p.detach().clone() for p in trainer.model.parameters()]
    backward = trainer._backward

    def overflowing(*arguments: Any, **options: Any) -> dict[str, float]:
        values = backward(*arguments, **options)
        next(p for p in trainer.model.parameters() if p.grad is not None).grad.fill_(math.inf)
        return values

    monkeypatch.setattr(trainer, "_backward", overflowing)
    with pytest.raises(InputError, match="expected finite gradients, got inf"):
        trainer.train_step()
    assert not trainer.inconsistent  # the weights may be saved
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_long_gradients_are_shortened(recipe: Callable[..., Path]) -> None:
    trainer = Trainer(load_config(recipe(1)))
    stage = trainer.config.stages[0].model_copy(update={"gradient_norm": 1e-3})
    trainer.config = trainer.config.model_copy(update={"stages": [stage]})
    assert trainer.train_step()["gradient_norm"] > 1e-3
    norms = [p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]
    assert float(torch.stack(norms).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_the_learning_rate_warms_up_and_anneals() -> None:
    stages = [
        Stage(steps=10, learning_rate=1.0, final_learning_rate=0.5, warmup_steps=4, finest=2),
        Stage(steps=10, learning_rate=0.2, final_learning_rate=0.1),
    ]
    rates = [loop.position(stages, step).learning_rate for step in range(20)]
    assert rates[0] == pytest.approx(0.25)
    assert rates[4] == pytest.approx(0.5 + 0.25 * (1 + math.cos(0.4 * math.pi)))
    assert rates[10] == pytest.approx(0.2)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert [loop.position(stages, step).stage.finest for step in (9, 10, 99)] == [2, 0, 0]


def test_no_cuda_is_said_in_one_line(recipe: Callable[..., Path]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    config = recipe(1)
    config.write_text(config.read_text(encoding="utf-8") + 'device = "cuda"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="CUDA"):
        train(config)


def test_compiled_and_pytorch_operations_give_the_same_objective(recipe: Callable[..., Path]) -> None:
    trainer = Trainer(load_config(recipe(1)))
    pair = trainer.batch(np.random.default_rng(0))
    assert pair.labels is None
    fixed, moving = pair.fixed, pair.moving
    labels = torch.rand(1, 2, *fixed.shape[2:]), torch.rand(1, 2, *fixed.shape[2:])
    with torch.no_grad():
        for head in (level.head for level in trainer.model.levels):
            for convolution in head.heads:
                torch.nn.init.normal_(convolution.weight, std=0.02)
        fields = trainer.model(fixed, moving)
    loss = trainer.config.loss.model_copy(update={"contrast": 0.5})
    compiled = objective(fields, fixed, moving, loss, "full", Operations.on(torch.device("cpu")), labels=labels)
    reference = objective(fields, fixed, moving, loss, "full", Operations.on(torch.device("meta")), labels=labels)
    for name, value in compiled.items():
        assert float(value) == pytest.approx(float(reference[name]), rel=1e-4, abs=1e-6)


def test_a_run_can_start_from_a_model(recipe: Callable[..., Path], tmp_path: Path) -> None:
    first = train(recipe(1, "first"))
    relative = "../first/run/tiny.safetensors"
    config = recipe(1, "second")
    text = config.read_text(encoding="utf-8").replace('name = "tiny"', f'name = "tiny"\nstart = "{relative}"')
    config.write_text(text, encoding="utf-8")
    trainer = Trainer(load_config(config))
    for name, array in store.load(first).arrays.items():
        np.testing.assert_allclose(trainer.model.plain_arrays()[name], array, atol=1e-6)
