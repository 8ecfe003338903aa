"""One PGD step as PyTorch's users write it: how fast else this machine can be. Needs torch.

Inputs and weights are laid out channels last, which oneDNN is quicker with, and no gradient of the
weights is taken.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn


def build(dtype: str = "float32") -> nn.Module:
  """The paper's network (§6) for MNIST; `dtype` of weights and activations."""
  model = nn.Sequential(
      nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
      nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
      nn.Flatten(), nn.Linear(3136, 1024), nn.ReLU(), nn.Linear(1024, 10))
  model.requires_grad_(False)
  return model.to(getattr(torch, dtype), memory_format=torch.channels_last)


def attack_of(model: nn.Module, images: np.ndarray, labels: np.ndarray, *, threads: int,
              epsilon: float = 0.3) -> Callable[[], np.ndarray]:
  """PGD with κ = 1 (Eq. 5) on images [batch, height, width, channels], as a function."""
  torch.set_num_threads(threads)
  dtype = next(model.parameters()).dtype
  natural = torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
  target = torch.tensor(labels, dtype=torch.int64)

  def attack():
    x = natural + torch.empty_like(natural).uniform_(-epsilon, epsilon)
    x = x.clamp(0, 1).requires_grad_()
    loss = nn.functional.cross_entropy(model(x.to(dtype)).float(), target)
    gradient, = torch.autograd.grad(loss, x)
    with torch.no_grad():
      x = x + 2.5 * epsilon * gradient.sign()
      x = torch.minimum(torch.maximum(x, natural - epsilon), natural + epsilon).clamp(0, 1)
    return x.permute(0, 2, 3, 1).numpy()

  return attack
