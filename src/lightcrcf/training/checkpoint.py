"""Checkpoints: weights, optimiser state and step as safetensors, tied to their configuration."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from lightcrcf.errors import InputError
from lightcrcf.training.config import TrainingConfig
from lightcrcf.weights.store import read_tensors, write_tensors

__all__ = ["restore", "save"]


_NOT_TRAINED_ON = {"root", "refinement_scale", "contrast"}


def digest(config: TrainingConfig) -> str:
    """Return a hash of the configuration that a resumed run must share: all but schedule, run section and paths.

    Default values are excluded, so that versions with more options can resume older runs.
    """
    text = config.model_dump_json(
        exclude={"run": True, "stages": True, "start": True, "data": _NOT_TRAINED_ON},
        exclude_defaults=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def save(path: Path, config: TrainingConfig, model: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Write weights, optimiser state and step, atomically."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{key}.{name}"] = value
    arrays = {k: v.detach().cpu().contiguous().numpy() for k, v in tensors.items()}
    write_tensors(path, arrays, {"step": str(step), "config": digest(config)})


def restore(path: Path, config: TrainingConfig, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Load the state that `save` wrote, and return the step.

    Raises:
        InputError: if the file is damaged or belongs to another configuration.
    """
    arrays, metadata = read_tensors(path)
    if metadata.get("config") != digest(config):
        raise InputError(
            str(path), expected="a checkpoint of this configuration", got="another one's",
            remedy="restore the configuration or train into another folder",
        )  # fmt: skip
    tensors = {k: torch.from_numpy(v.copy()) for k, v in arrays.items()}
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    for name, parameter in model.named_parameters():
        state: dict[str, Tensor] = {}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            stored = tensors.get(f"optimiser.{key}.{name}")
            if stored is not None:
                # Same memory layout as the parameter: the fused optimiser reads both as flat memory.
                state[key] = stored if key == "step" else torch.empty_like(parameter.detach()).copy_(stored)
        if state:
            optimiser.state[parameter] = state
    return int(metadata["step"])
