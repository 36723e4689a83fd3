"""What PyTorch's exporters write, read again: the same outputs and the same gradients."""

import io
import logging
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytest.importorskip("onnx")

import minidl as md  # noqa: E402

pytestmark = pytest.mark.reference
nn, functional = torch.nn, torch.nn.functional


class Many(nn.Module):
    """As many kinds of layers as fit: norms, resampling, attention, recurrence, reductions."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.groups = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GroupNorm(2, 8)
        self.wider = nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1, output_padding=1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.lstm, self.gru = nn.LSTM(8, 6, bidirectional=True, batch_first=True), nn.GRU(12, 5, batch_first=True)
        self.last = nn.LayerNorm(5)

    def forward(self, x):
        y = functional.interpolate(functional.gelu(self.norm(self.conv(x))), scale_factor=2, mode="bilinear")
        y = functional.hardswish(self.groups(self.wider(functional.adaptive_avg_pool2d(y, (4, 4)))))
        y = functional.pad(functional.interpolate(y, size=(5, 7), mode="bicubic"), (1, 1, 1, 1), mode="reflect")
        y = functional.max_pool2d(y, 2, ceil_mode=True)
        t = y.flatten(2).transpose(1, 2)
        t = t + self.attention(t, t, t)[0]
        t = self.last(self.gru(self.lstm(t)[0])[0])
        return torch.softmax(t.mean(1), -1), y.amax((2, 3)), torch.einsum("nchw,ncij->nhi", y, y)


@pytest.mark.parametrize(("dynamo", "opset"), [(False, 13), (False, 17), (True, 18)])
def test_outputs_and_gradients_of_what_torch_exports(dynamo, opset):
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    theirs, x = Many().eval(), torch.randn(2, 3, 8, 8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        torch.onnx.export(theirs, (x,), file, dynamo=dynamo, opset_version=opset, external_data=False)
    ours = md.load_onnx(file.getvalue())
    x.requires_grad_(True)
    given = md.tensor(x.detach().numpy(), requires_grad=True)
    right, found = theirs(x), ours(given)
    for a, b in zip(found, right, strict=True):
        np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-4, atol=1e-4)
    sum((y**2).sum() for y in right).backward()
    sum((y**2).sum() for y in found).backward()
    np.testing.assert_allclose(given.grad.data, x.grad.numpy(), rtol=1e-3, atol=1e-3 * x.grad.abs().max().item())
    assert all(p.grad is not None for p in ours.parameters())
