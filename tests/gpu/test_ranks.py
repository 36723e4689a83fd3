"""Training on shards on the GPU: sums over shards pass through the host, and the losses are those of the CPU."""

import numpy as np
import pytest

from minidl import nn, optim
from minidl.train import fit
from tests.gpu.test_training import BATCHES, loss, network


def in_steps(device, optimiser):
    """A loss that takes the steps itself."""

    def update(model, batch):
        value = loss(device)(model, batch)
        optimiser.zero_grad()
        value.backward()
        norm = optim.clip_grad_norm(model.parameters(), 0.5)
        optimiser.step()
        return {"loss": value, "grad_norm": norm}

    return update


def trained(device, kind=nn.BatchNorm2d, manual=False):
    model = network()
    if kind is nn.SyncBatchNorm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.to(device)
    model[1].weight.requires_grad = False
    optimiser = optim.Adam(model.parameters(), lr=0.01)
    function, clip = (in_steps(device, optimiser), None) if manual else (loss(device), 0.5)
    line = fit(model, optimiser, function, BATCHES, 3, clip=clip, shards=3, manual=manual, progress=False)
    assert all(p.device == device and (p.grad is None or p.grad.device == device) for p in model.parameters())
    assert all(isinstance(b, np.ndarray) is (device == "cpu") for b in model.buffers())
    return model.state_dict(), [line["loss"], line["grad_norm"]]


@pytest.mark.parametrize(("kind", "manual"), [(nn.BatchNorm2d, False), (nn.SyncBatchNorm, True)])
def test_the_losses_are_those_of_the_cpu(gpu, kind, manual):
    state, line = trained("gpu", kind, manual)
    expected, there = trained("cpu", kind, manual)
    np.testing.assert_allclose(line, there, rtol=1e-5)
    for name, array in state.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
