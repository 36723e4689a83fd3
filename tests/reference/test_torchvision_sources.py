"""torchvision's own sources run on minidl.torch: the same outputs from the same weights, and the same training."""

import numpy as np
import pytest

from .torchvision_models import torch, torchvision  # first: it skips where they are not installed

from minidl import nn as engine  # isort: skip
from minidl.torch.run import in_place_of_torch  # isort: skip
from tests.torch_layer import script as theirs  # isort: skip

pytestmark = pytest.mark.reference

NAMES = (
    "alexnet", "squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "resnet18", "densenet121", "regnet_y_400mf",
    "swin_t", "googlenet",
)  # fmt: skip


@pytest.fixture(scope="module")
def ours():
    """minidl.torch, torchvision's models and the script on it."""
    import importlib.util

    with in_place_of_torch():
        import torch as layer
        import torchvision.models as models

        spec = importlib.util.spec_from_file_location("script_on_minidl", theirs.__file__)
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
    return layer, models, script


def fill(network):
    """Weights of a scale that activations keep; the same whenever it is called."""
    rng = np.random.default_rng(0)
    for name, array in network.state_dict().items():
        if array.is_floating_point() and array.ndim:
            scale, shift = ((6 / array[0].numel()) ** 0.5 if array.ndim > 1 else 0.5), 0.0
            if array.ndim == 1 and name.endswith(("var", "weight")):
                shift = 1.0
            array.copy_(torch.from_numpy(shift + scale * (2 * rng.random(array.shape) - 1)))


@pytest.mark.parametrize("name", NAMES)
def test_torchvisions_network_gives_what_it_gives_in_torch(ours, name):
    layer, models, _ = ours
    options = {"init_weights": False} if name == "googlenet" else {}
    real = torchvision.models.get_model(name, num_classes=10, **options).eval()
    fill(real)
    with engine.init.undrawn():
        network = models.get_model(name, num_classes=10, **options).eval()
    network.load_state_dict({key: layer.from_numpy(t.numpy()) for key, t in real.state_dict().items()})
    x = np.random.default_rng(1).standard_normal((1, 3, 63, 63) if name == "alexnet" else (1, 3, 64, 64))
    with torch.no_grad(), layer.no_grad():
        wanted = real(torch.from_numpy(x.astype(np.float32))).numpy()
        got = network(layer.from_numpy(x.astype(np.float32))).numpy()
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 1e-4), ("float64", 1e-12)])
def test_twenty_steps_of_a_script_have_equal_losses(ours, dtype, allowed):
    layer, _, script = ours
    rng, losses, state = np.random.default_rng(0), [], None
    batches = [(rng.standard_normal((8, 1, 28, 28)).astype(dtype), rng.integers(0, 10, 8)) for _ in range(20)]
    for framework, module in ((torch, theirs), (layer, script)):
        network = module.Net().to(getattr(framework, dtype))
        network.dropout.p = 0.0  # what is drawn is not the same
        if state is not None:
            network.load_state_dict({name: framework.from_numpy(array) for name, array in state.items()})
        state = {name: t.detach().numpy().copy() for name, t in network.state_dict().items()}
        loader = [(framework.from_numpy(x), framework.from_numpy(y)) for x, y in batches]
        optimizer = module.optim.Adadelta(network.parameters(), lr=1.0)
        losses.append(module.train(network, "cpu", loader, optimizer))
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=allowed)
