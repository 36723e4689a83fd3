"""The networks of the benchmark. Each is written once and built in minidl or in PyTorch: `library.nn` is either's.

The names of parameters are therefore the same, and a state of one loads into the other.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from .interface import Library


def layer(library: Library, kind: str, **options: Any) -> Any:
    """One layer of `library.nn` by its name."""
    return getattr(library.nn, kind)(**options)


def denoiser(library: Library, channels: int = 1, width: int = 64, depth: int = 4) -> Any:
    """depth - 1 times (3x3 convolution, batch norm, relu), then a convolution: the lecture's denoiser has depth 4.

    It gives the noise; what is left of the input without it is the clean image.
    """
    nn = library.nn
    layers = []
    for i in range(depth - 1):
        conv = nn.Conv2d(width if i else channels, width, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1, bias=False))


def dncnn(library: Library, channels: int = 1, width: int = 64, depth: int = 17) -> Any:
    """convolution, relu; depth - 2 times (convolution, batch norm, relu); convolution. It gives the noise.

    Source: Zhang et al., "Beyond a Gaussian denoiser", IEEE Transactions on Image Processing 26(7), 2017.
    """
    nn = library.nn
    layers = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1, bias=False))


def unet(library: Library, channels: int = 1, classes: int = 2, base: int = 32, levels: int = 4, rank: int = 2) -> Any:
    """A padded U-Net with batch norm in 2-D or 3-D: base, 2 base, ... 2**levels base channels, up by 2x2 transposes.

    Source: Ronneberger et al., "U-Net", MICCAI 2015; Cicek et al., "3D U-Net", MICCAI 2016.
    """
    nn = library.nn
    Conv, Up = getattr(nn, f"Conv{rank}d"), getattr(nn, f"ConvTranspose{rank}d")
    BatchNorm, MaxPool = getattr(nn, f"BatchNorm{rank}d"), getattr(nn, f"MaxPool{rank}d")

    def double(inputs: int, outputs: int) -> Any:
        layers = []
        for c in (inputs, outputs):
            layers += [Conv(c, outputs, 3, padding=1, bias=False), BatchNorm(outputs), nn.ReLU()]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [base * 2**level for level in range(levels + 1)]
            pairs = list(pairwise(widths))
            self.first = double(channels, base)
            self.down = nn.ModuleList([double(a, b) for a, b in pairs])
            self.up = nn.ModuleList([Up(b, a, 2, stride=2) for a, b in reversed(pairs)])
            self.merge = nn.ModuleList([double(2 * a, a) for a, _ in reversed(pairs)])
            self.last = Conv(base, classes, 1)
            self.pool = MaxPool(kernel_size=2)

        def forward(self, x: Any) -> Any:
            skips = [self.first(x)]
            for down in self.down:
                skips.append(down(self.pool(skips[-1])))
            y = skips.pop()
            for up, merge in zip(self.up, self.merge):
                y = merge(library.concat([skips.pop(), up(y)]))
            return self.last(y)

    return UNet()


def mlp(library: Library, classes: int = 10, pixels: int = 28 * 28, width: int = 256) -> Any:
    """Two dense layers with a relu between them."""
    nn = library.nn
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, classes))


def lenet(library: Library, classes: int = 10, side: int = 28) -> Any:
    """LeNet-5 as it is built today: relu and maxima in place of tanh and averages, all maps connected.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86(11), 1998.
    """
    nn = library.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(kernel_size=2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(kernel_size=2), nn.Flatten(),
        nn.Linear(16 * ((side // 2 - 4) // 2) ** 2, 120), nn.ReLU(),
        nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes),
    )  # fmt: skip


def mobilenet(library: Library, classes: int = 1000, width: int = 32) -> Any:
    """MobileNet v1: depthwise and 1x1 convolutions take turns. 4,231,976 parameters.

    Source: Howard et al., "MobileNets", arXiv:1704.04861, 2017, table 1.
    """
    nn = library.nn

    def normed(inputs: int, outputs: int, kernel: int, **options: int) -> list:
        return [nn.Conv2d(inputs, outputs, kernel, bias=False, **options), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers, c = normed(3, width, 3, stride=2, padding=1), width
    for factor, stride in ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), *[(16, 1)] * 5, (32, 2), (32, 1)):
        layers += normed(c, c, 3, stride=stride, padding=1, groups=c) + normed(c, factor * width, 1)
        c = factor * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))


def resnet20(library: Library, classes: int = 10, width: int = 16) -> Any:
    """The ResNet with 20 layers for CIFAR: shortcuts leave pixels out and add channels of zeros. 269,722 parameters.

    Source: He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2, option A.
    """
    nn, Block = library.nn, _basic_block(library, _padded_shortcut)
    layers = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    for inputs, outputs, stride in ((1, 1, 1), (1, 2, 2), (2, 4, 2)):
        layers.append(Block(inputs * width, outputs * width, stride))
        layers += [Block(outputs * width, outputs * width, 1) for _ in range(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))


def resnet18(library: Library, classes: int = 1000, width: int = 64) -> Any:
    """torchvision's ResNet-18, names included: 11,689,512 parameters.

    Source: He et al., "Deep residual learning for image recognition", CVPR 2016.
    """
    return _resnet(library, _basic_block(library, _shortcut), 1, (2, 2, 2, 2), classes, width)


def resnet50(library: Library, classes: int = 1000, width: int = 64) -> Any:
    """torchvision's ResNet-50, names included: 25,557,032 parameters. The stride is that of the 3x3 convolution.

    Source: He et al., as above; the place of the stride: Goyal et al., "Accurate, large minibatch SGD", 2017.
    """
    return _resnet(library, _bottleneck(library), 4, (3, 4, 6, 3), classes, width)


def _basic_block(library: Library, shortcut: Callable[..., Any]) -> type:
    nn = library.nn

    class BasicBlock(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.relu = nn.ReLU()
            self.downsample = shortcut(nn, inputs, width, stride)

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + (x if self.downsample is None else self.downsample(x)))

    return BasicBlock


def _bottleneck(library: Library) -> type:
    nn = library.nn

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
            self.relu = nn.ReLU()
            self.downsample = _shortcut(nn, inputs, 4 * width, stride)

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
            return self.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))

    return Bottleneck


def _shortcut(nn: Any, inputs: int, outputs: int, stride: int) -> Any:
    """What brings a block's input to the shape of its output; None if it has it."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


def _padded_shortcut(nn: Any, inputs: int, outputs: int, stride: int) -> Any:
    """The same without parameters: every stride-th pixel, and zeros as the channels that are not there."""
    if stride == 1 and inputs == outputs:
        return None
    zeros = nn.ConstantPad3d((0, 0, 0, 0, 0, outputs - inputs), 0.0)  # of the last three axes: C, H, W

    class Padded(nn.Module):
        def forward(self, x: Any) -> Any:
            return zeros(x[:, :, ::stride, ::stride])

    return Padded()


def _resnet(library: Library, Block: type, expansion: int, counts: tuple[int, ...], classes: int, width: int) -> Any:
    """A stem and four stages of blocks; a block of width w has expansion * w outputs."""
    nn = library.nn

    def stage(inputs: int, width: int, count: int, stride: int) -> Any:
        later = [Block(expansion * width, width, 1) for _ in range(count - 1)]
        return nn.Sequential(Block(inputs, width, stride), *later)

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU()
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
            self.layer1 = stage(width, width, counts[0], 1)
            self.layer2 = stage(expansion * width, 2 * width, counts[1], 2)
            self.layer3 = stage(2 * expansion * width, 4 * width, counts[2], 2)
            self.layer4 = stage(4 * expansion * width, 8 * width, counts[3], 2)
            self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
            self.fc = nn.Linear(8 * expansion * width, classes)

        def forward(self, x: Any) -> Any:
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(self.flatten(self.avgpool(x)))

    return ResNet()


VGG16 = (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M")  # in units of the first layer's width


def vgg16(library: Library, classes: int = 1000, width: int = 64, hidden: int = 4096) -> Any:
    """torchvision's VGG16, names included: 138,357,544 parameters.

    Source: Simonyan and Zisserman, "Very deep convolutional networks", ICLR 2015, configuration D.
    """
    nn = library.nn
    layers, c = [], 3
    for item in VGG16:
        if item == "M":
            layers.append(nn.MaxPool2d(kernel_size=2))
        else:
            layers += [nn.Conv2d(c, item * width, 3, padding=1), nn.ReLU()]
            c = item * width

    class VGG(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(*layers)
            self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(7), nn.Flatten()
            self.classifier = nn.Sequential(
                nn.Linear(49 * c, hidden), nn.ReLU(), nn.Dropout(),
                nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, classes),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return self.classifier(self.flatten(self.avgpool(self.features(x))))

    return VGG()
