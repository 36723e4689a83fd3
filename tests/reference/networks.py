"""The classification networks in plain torch.nn, written from the papers, with torchvision's names of modules.

Each is written out layer by layer, without the tables and builders of the code under test.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F


class AlexNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 6).flatten(1))


class VGG16(nn.Module):
    def __init__(self, classes):
        super().__init__()

        def conv(inputs, outputs):
            return nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)

        self.features = nn.Sequential(
            *conv(3, 64), *conv(64, 64), nn.MaxPool2d(2),
            *conv(64, 128), *conv(128, 128), nn.MaxPool2d(2),
            *conv(128, 256), *conv(256, 256), *conv(256, 256), nn.MaxPool2d(2),
            *conv(256, 512), *conv(512, 512), *conv(512, 512), nn.MaxPool2d(2),
            *conv(512, 512), *conv(512, 512), *conv(512, 512), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


class Unit(nn.Module):
    """GoogLeNet's convolution, batch norm, relu."""

    def __init__(self, inputs, outputs, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self, inputs, b1, b2, b3, b4):
        super().__init__()
        self.branch1 = Unit(inputs, b1, 1)
        self.branch2 = nn.Sequential(Unit(inputs, b2[0], 1), Unit(b2[0], b2[1], 3, padding=1))
        self.branch3 = nn.Sequential(Unit(inputs, b3[0], 1), Unit(b3[0], b3[1], 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), Unit(inputs, b4, 1))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Head(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.conv = Unit(inputs, 128, 1)
        self.fc1, self.fc2 = nn.Linear(2048, 1024), nn.Linear(1024, classes)

    def forward(self, x):  # without dropout, which no two libraries draw alike
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4)))
        return self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))


class GoogLeNet(nn.Module):
    def __init__(self, classes, transform_input=False):
        super().__init__()
        self.transform_input = transform_input
        self.conv1 = Unit(3, 64, 7, 2, 3)
        self.conv2 = Unit(64, 64, 1)
        self.conv3 = Unit(64, 192, 3, 1, 1)
        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.aux1, self.aux2 = Head(512, classes), Head(528, classes)
        self.fc = nn.Linear(1024, classes)

    def forward(self, x):
        if self.transform_input:
            channels = zip(x.split(1, 1), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
            x = torch.cat([(c * std + mean - 0.5) / 0.5 for c, mean, std in channels], 1)
        x = F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.inception3b(self.inception3a(x)), 3, 2, ceil_mode=True)
        a = self.inception4a(x)
        d = self.inception4d(self.inception4c(self.inception4b(a)))
        x = F.max_pool2d(self.inception4e(d), 2, 2, ceil_mode=True)
        x = self.fc(self.inception5b(self.inception5a(x)).mean((2, 3)))
        return (x, self.aux2(d), self.aux1(a)) if self.training else x


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Bottleneck(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        inner = outputs // 4
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, block, outputs, counts, classes):
        super().__init__()

        def stage(inputs, outputs, count, stride):
            return nn.Sequential(
                block(inputs, outputs, stride), *(block(outputs, outputs, 1) for _ in range(count - 1))
            )

        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.layer1 = stage(64, outputs[0], counts[0], 1)
        self.layer2 = stage(outputs[0], outputs[1], counts[1], 2)
        self.layer3 = stage(outputs[1], outputs[2], counts[2], 2)
        self.layer4 = stage(outputs[2], outputs[3], counts[3], 2)
        self.fc = nn.Linear(outputs[3], classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def resnet18(classes):
    return ResNet(BasicBlock, (64, 128, 256, 512), (2, 2, 2, 2), classes)


def resnet50(classes):
    return ResNet(Bottleneck, (256, 512, 1024, 2048), (3, 4, 6, 3), classes)


class DenseLayer(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 128, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, maps):
        y = self.conv1(F.relu(self.norm1(torch.cat(maps, 1))))
        return self.conv2(F.relu(self.norm2(y)))


class DenseBlock(nn.Module):
    def __init__(self, inputs, layers):
        super().__init__()
        for i in range(layers):
            self.add_module(f"denselayer{i + 1}", DenseLayer(inputs + 32 * i))

    def forward(self, x):
        maps = [x]
        for layer in self.children():
            maps.append(layer(maps))
        return torch.cat(maps, 1)


def _transition(inputs):
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inputs), relu=nn.ReLU(), conv=nn.Conv2d(inputs, inputs // 2, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )  # fmt: skip


class DenseNet121(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(3, 64, 7, 2, 3, bias=False), norm0=nn.BatchNorm2d(64), relu0=nn.ReLU(),
                pool0=nn.MaxPool2d(3, 2, 1),
                denseblock1=DenseBlock(64, 6), transition1=_transition(256),
                denseblock2=DenseBlock(128, 12), transition2=_transition(512),
                denseblock3=DenseBlock(256, 24), transition3=_transition(1024),
                denseblock4=DenseBlock(512, 16), norm5=nn.BatchNorm2d(1024),
            )
        )  # fmt: skip
        self.classifier = nn.Linear(1024, classes)

    def forward(self, x):
        return self.classifier(F.relu(self.features(x)).mean((2, 3)))


NETWORKS = {
    "alexnet": AlexNet,
    "vgg16": VGG16,
    "googlenet": GoogLeNet,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "densenet121": DenseNet121,
}
