"""minidl: deep learning from scratch on NumPy and CuPy, every derivative proved.

import minidl as md
from minidl import functional as F, nn, optim
"""

from . import data, functional, nn, optim, train
from .calculus import grad, hessian, hvp, jacobian, jvp, vjp
from .check import check_rules, gradcheck
from .convmatrix import convmatrix
from .explain import explain
from .kernels.algorithm import algorithm
from .kernels.cpu.memory import keep as _keep_memory
from .kernels.cpu.memory import release_memory
from .mode import anomaly, definitions, enable_grad, no_grad
from .nn.init import manual_seed
from .ops import methods  # gives Tensor its operators
from .ops.elementwise import relu_rule
from .primitive import AnomalyError, fused, override, primitive
from .receptive import receptive_field
from .summary import summary
from .tensor import Parameter, Tensor, tensor
from .weights import WeightsError, load_weights, save_weights

_keep_memory()

__version__ = "0.1.0"
