"""One hidden layer on real digits: the full gradient against stochastic gradients and mini-batches."""

from __future__ import annotations

from .network import gradients, initial, loss

__all__ = ["gradients", "initial", "loss"]
