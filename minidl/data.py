"""The public names of data: ``from minidl import data``."""

from .files.cifar import cifar10
from .files.idx import mnist, read_idx
from .files.nifti import read_nifti
from .files.pictures import IMAGE_ENDINGS, bit_depth, class_folders, image_files, image_folder, read_image
from .training.batches import Batches, RandomBatches, generator, split
from .training.prefetch import Prefetch

__all__ = [
    "IMAGE_ENDINGS",
    "Batches",
    "Prefetch",
    "RandomBatches",
    "bit_depth",
    "cifar10",
    "class_folders",
    "generator",
    "image_files",
    "image_folder",
    "mnist",
    "read_idx",
    "read_image",
    "read_nifti",
    "split",
]


def __dir__() -> list[str]:
    return __all__
