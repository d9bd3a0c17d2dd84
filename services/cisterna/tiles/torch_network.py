"""A torch module as the numpy callable that `infer` wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cisterna.tiles.infer import Network


def torch_network(
    module: nn.Module,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    before: Callable[[torch.Tensor], torch.Tensor] | None = None,
    after: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Network:
    """Wrap ``module`` ((1, C, *n) → (1, C', *m)) so that it takes and gives numpy arrays without the batch axis.

    Args:
        module: in eval mode, on ``device``.
        device: where it runs.
        dtype: what the voxels become on the device, before ``before``.
        before: applied to the input on the device (normalisation: cheaper there than on whole blocks here).
        after: applied to the output on the device (softmax, quantisation: fewer bytes come back).
    """

    @torch.inference_mode()
    def run(tile: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(tile)).to(device=device, dtype=dtype)[None]
        if before is not None:
            x = before(x)
        y = module(x)
        if after is not None:
            y = after(y)
        result: NDArray[Any] = y[0].cpu().numpy()
        return result

    return run
