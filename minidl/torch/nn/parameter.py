"""torch.nn.parameter."""

from ..tensor import Parameter

__all__ = ["Parameter"]
