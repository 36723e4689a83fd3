"""The public names of data: ``from minidl import data``."""

from .files.cifar import cifar10
from .files.idx import mnist, read_idx
from .files.nifti import read_nifti
from .files.pictures import IMAGE_ENDINGS, bit_depth, class_folders, image_files, image_folder, read_image
from .training.batches import Batches, RandomBatches, generator, split
from .training.prefetch import Prefetch
