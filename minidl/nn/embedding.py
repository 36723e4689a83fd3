"""Tables of vectors that are learned."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core.tensor import Parameter, Tensor
from . import init
from .module import Module


class Embedding(Module):
    """Row i of a learned table for each integer i: see F.embedding. Starts normal; the row `padding_idx` is 0."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *, rng: Any = None):
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        weight = init.normal((num_embeddings, embedding_dim), init.generator(rng))
        if padding_idx is not None:
            weight[padding_idx] = 0
        self.weight = Parameter(weight)

    def forward(self, index: Any) -> Tensor:
        return F.embedding(index, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
