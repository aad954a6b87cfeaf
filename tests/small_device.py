"""A device with room for few tokens, on the CPU: passes are padded as on a GPU, and larger ones run out of memory."""

import pytest
import torch

from operators.models import memory
from operators.models.by_length import Budget


def small_device(monkeypatch: pytest.MonkeyPatch, room: int, budget: int = 4096) -> list[int]:
    """Gives models that are loaded from now on a budget, and lets a pass of more than `room` tokens fail.

    Returns a list to which the tokens of each pass that is tried are appended, padding included.
    """
    tried: list[int] = []
    looked_up = torch.nn.Embedding.forward

    def forward(self: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
        tokens = ids.numel()
        if ids.dim() == 2 and self.num_embeddings > 256:  # of tokens, not of positions or segments
            tried.append(tokens)
            if tokens > room:
                raise torch.OutOfMemoryError(f"no room for {tokens} tokens")
        return looked_up(self, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", forward)
    monkeypatch.setattr(memory, "_budget", lambda model, bytes_per_token: Budget(budget))
    return tried
