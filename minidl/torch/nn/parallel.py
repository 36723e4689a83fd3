"""torch.nn.parallel: one process has all threads, so a parallel module is the module inside, under its name."""

from __future__ import annotations

from typing import Any

from .module import Module


class DataParallel(Module):
    """The network is its part `module`, as its state says."""

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0, **options: Any):
        self.module = module

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self.module(*inputs, **options)


class DistributedDataParallel(DataParallel):
    """As DataParallel."""
