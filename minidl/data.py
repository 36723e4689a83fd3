"""The public names of data: ``from minidl import data``."""

from .training.batches import (
    IMAGE_ENDINGS,
    Batches,
    Prefetch,
    cifar10,
    class_folders,
    generator,
    image_files,
    image_folder,
    mnist,
    read_idx,
    read_image,
    split,
)
