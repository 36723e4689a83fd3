"""Networks that are no package: milesial's U-Net, KAIR's DnCNN and FFDNet.

Written out in torch as their authors publish them (names of layers, order, padding), with random weights, saved, and
loaded by our tasks.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import minidl as md  # noqa: E402
from tasks.denoise import others as denoisers  # noqa: E402
from tasks.denoise.inference import denoise  # noqa: E402
from tasks.segment import others as segmenters  # noqa: E402

pytestmark = pytest.mark.reference


def randomised(net):
    generator = torch.Generator().manual_seed(0)
    for array in net.state_dict().values():
        if array.ndim > 1:
            array.normal_(generator=generator).mul_((2 / array[0].numel()) ** 0.5)
        elif array.is_floating_point() and array.ndim:
            array.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def double(inputs, outputs, inner=None):
    inner = inner or outputs
    block = nn.Module()
    block.double_conv = nn.Sequential(
        nn.Conv2d(inputs, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
        nn.Conv2d(inner, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip
    return block


class UNet(nn.Module):
    def __init__(self, channels, classes, bilinear):
        super().__init__()
        factor = 2 if bilinear else 1
        self.inc = double(channels, 64)
        for i, (inputs, outputs) in enumerate([(64, 128), (128, 256), (256, 512), (512, 1024 // factor)], start=1):
            down = nn.Module()
            down.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), double(inputs, outputs))
            self.add_module(f"down{i}", down)
        ups = [(1024, 512 // factor), (512, 256 // factor), (256, 128 // factor), (128, 64)]
        for i, (inputs, outputs) in enumerate(ups, start=1):
            up = nn.Module()
            if bilinear:
                up.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
                up.conv = double(inputs, outputs, inputs // 2)
            else:
                up.up = nn.ConvTranspose2d(inputs, inputs // 2, kernel_size=2, stride=2)
                up.conv = double(inputs, outputs)
            self.add_module(f"up{i}", up)
        self.outc = nn.Module()
        self.outc.conv = nn.Conv2d(64, classes, 1)

    def forward(self, x):
        maps = [self.inc.double_conv(x)]
        for i in range(1, 5):
            pool, block = getattr(self, f"down{i}").maxpool_conv
            maps.append(block.double_conv(pool(maps[-1])))
        x = maps.pop()
        for i in range(1, 5):
            up, skip = getattr(self, f"up{i}"), maps.pop()
            x = up.up(x)
            dy, dx = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
            x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            x = up.conv.double_conv(torch.cat([skip, x], dim=1))
        return self.outc.conv(x)


@pytest.mark.parametrize("channels, classes, bilinear", [(3, 2, False), (1, 4, True)])
def test_milesials_unet(channels, classes, bilinear, tmp_path):
    theirs = randomised(UNet(channels, classes, bilinear))
    torch.save({**theirs.state_dict(), "mask_values": [0, 1]}, tmp_path / "unet.pth")
    name, ours = segmenters.load(tmp_path / "unet.pth")
    x = np.random.default_rng(0).random((1, channels, 37, 50), dtype=np.float32)
    with torch.no_grad(), md.no_grad():
        wanted = theirs(torch.from_numpy(x)).numpy()
        assert np.abs(ours(md.Tensor(x)).data - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert name == "unet" and wanted.shape == (1, classes, 37, 50)


def stack(inputs, outputs, width, depth, mode):
    """KAIR's B.sequential of B.conv: C a convolution, B batch norm, R relu."""
    layers = [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
    for _ in range(depth - 2):
        layers.append(nn.Conv2d(width, width, 3, padding=1))
        layers += [nn.BatchNorm2d(width, momentum=0.9, eps=1e-4)] if "B" in mode else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Conv2d(width, outputs, 3, padding=1))


class DnCNN(nn.Module):
    def __init__(self, channels, mode, name="model"):
        super().__init__()
        self.add_module(name, stack(channels, channels, 16, 6, mode))

    def forward(self, x):
        (layers,) = self.children()
        return x - layers(x)


class FFDNet(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.model = stack(4 * channels + 1, 4 * channels, 16, 5, "R")

    def forward(self, x):
        height, width = x.shape[-2:]
        x = F.pixel_unshuffle(nn.ReplicationPad2d((0, width % 2, 0, height % 2))(x), 2)
        level = torch.full((len(x), 1, 1, 1), 15 / 255).repeat(1, 1, *x.shape[-2:])
        return F.pixel_shuffle(self.model(torch.cat((x, level), 1)), 2)[..., :height, :width]


@pytest.mark.parametrize("net", [DnCNN(1, "BR"), DnCNN(3, "R"), DnCNN(1, "BR", "dncnn"), FFDNet(1), FFDNet(3)])
def test_denoisers(net, tmp_path):
    """Of an image in colour, which gray networks see channel by channel; as a whole and in tiles."""
    theirs = randomised(net)
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    ours = denoisers.load(tmp_path / "net.pth")
    ours.sigma = 15 / 255
    x = np.random.default_rng(0).random((3, 61, 45), dtype=np.float32)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(x.reshape(-1, ours.channels, 61, 45))).numpy().reshape(x.shape)
    for tile in (256, 24):
        assert np.abs(denoise(ours, x, tile=tile) - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert np.abs(wanted - x).max() > 0.1
