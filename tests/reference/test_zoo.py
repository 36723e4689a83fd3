"""Our networks with torchvision's random weights give what torchvision's own give."""

import numpy as np
import pytest

from .torchvision_models import torch, torchvision  # isort: skip  # first: it skips where they are not installed

import minidl as md
from minidl import nn
from minidl import functional as F
from tasks.models import MODELS

pytestmark = pytest.mark.reference
