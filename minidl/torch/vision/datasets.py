"""torchvision.datasets over the files that minidl reads. Nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...files.cifar import cifar10
from ...files.idx import mnist
from ..creation import as_tensor
from ..utils.data import Dataset

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class VisionDataset(Dataset):
    """Pictures with targets; `transform` and `target_transform` are called on each."""

    def __init__(
        self, root: Any = None, transforms: Callable | None = None, transform: Callable | None = None,
        target_transform: Callable | None = None,
    ):  # fmt: skip
        self.root, self.transform, self.target_transform, self.transforms = (
            root,
            transform,
            target_transform,
            transforms,
        )

    def changed(self, image: Any, target: Any) -> tuple:
        if self.transforms is not None:
            return self.transforms(image, target)
        image = image if self.transform is None else self.transform(image)
        return image, target if self.target_transform is None else self.target_transform(target)


class MNIST(VisionDataset):
    """The idx files below `root`, wherever they lie there. Examples are (picture, int)."""

    classes = ("0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven",
               "8 - eight", "9 - nine")  # fmt: skip

    def __init__(
        self, root: Any, train: bool = True, transform: Callable | None = None,
        target_transform: Callable | None = None, download: bool = False,
    ):  # fmt: skip
        super().__init__(root, None, transform, target_transform)
        self.train = train
        folder = Path(root, type(self).__name__)
        images, labels = mnist(folder if folder.is_dir() else root, train=train)
        self.data, self.targets = as_tensor(images[:, 0]), as_tensor(labels)

    def __getitem__(self, index: int) -> tuple:
        image = _picture(self.data.value.data[index])
        return self.changed(image, int(self.targets.value.data[index]))

    def __len__(self) -> int:
        return len(self.data)


class FashionMNIST(MNIST):
    """As MNIST, in the folder FashionMNIST."""


class KMNIST(MNIST):
    """As MNIST, in the folder KMNIST."""


class CIFAR10(VisionDataset):
    """The binary or Python files of CIFAR-10 below `root`."""

    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(
        self, root: Any, train: bool = True, transform: Callable | None = None,
        target_transform: Callable | None = None, download: bool = False,
    ):  # fmt: skip
        super().__init__(root, None, transform, target_transform)
        images, labels = cifar10(root, train=train)
        self.data, self.targets = np.moveaxis(images, 1, -1), labels.tolist()  # (N, C, H, W) -> (N, H, W, C)

    def __getitem__(self, index: int) -> tuple:
        return self.changed(_picture(self.data[index]), self.targets[index])

    def __len__(self) -> int:
        return len(self.data)


class ImageFolder(VisionDataset):
    """Pictures in one folder per class, the classes in the order of their names."""

    def __init__(
        self, root: Any, transform: Callable | None = None, target_transform: Callable | None = None,
        loader: Callable | None = None, is_valid_file: Callable | None = None,
    ):  # fmt: skip
        super().__init__(root, None, transform, target_transform)
        self.loader = loader or pil_loader
        self.classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        if not self.classes:
            raise FileNotFoundError(f"Couldn't find any class folder in {root}.")
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        wanted = is_valid_file or (lambda path: path.lower().endswith(IMAGE_ENDINGS))
        self.samples = [
            (path, self.class_to_idx[name])
            for name in self.classes
            for path in sorted(map(str, Path(root, name).rglob("*")))
            if wanted(path)
        ]
        self.imgs, self.targets = self.samples, [target for _, target in self.samples]

    def __getitem__(self, index: int) -> tuple:
        path, target = self.samples[index]
        return self.changed(self.loader(path), target)

    def __len__(self) -> int:
        return len(self.samples)


class FakeData(VisionDataset):
    """Random pictures with random classes."""

    def __init__(
        self, size: int = 1000, image_size: Sequence[int] = (3, 224, 224), num_classes: int = 10,
        transform: Callable | None = None, target_transform: Callable | None = None, random_offset: int = 0,
    ):  # fmt: skip
        super().__init__(None, None, transform, target_transform)
        self.size, self.image_size, self.num_classes, self.offset = size, tuple(image_size), num_classes, random_offset

    def __getitem__(self, index: int) -> tuple:
        rng = np.random.default_rng(index + self.offset)
        image = rng.integers(0, 256, (*self.image_size[1:], self.image_size[0])).astype(np.uint8)
        return self.changed(_picture(image), int(rng.integers(self.num_classes)))

    def __len__(self) -> int:
        return self.size


def pil_loader(path: Any) -> Any:
    """A picture in RGB."""
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def _picture(array: np.ndarray) -> Any:
    """What a transform is given: a Pillow picture, as torchvision gives it."""
    from PIL import Image

    return Image.fromarray(array)
