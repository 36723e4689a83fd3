"""minidl: deep learning from scratch on NumPy and CuPy, every derivative proved.

import minidl as md
from minidl import functional as F, nn, optim
"""

from . import data, functional, nn, optim, train
from .core.calculus import grad, hessian, hvp, jacobian, jvp, vjp
from .core.context import anomaly, definitions, enable_grad, no_grad
from .core.primitive import AnomalyError, fused, override, primitive
from .core.tensor import Parameter, Tensor, tensor
from .files.weights import WeightsError, load_weights, save_weights
from .kernels.algorithm import algorithm
from .kernels.cpu.memory import keep as _keep_memory
from .kernels.cpu.memory import release_memory
from .nn.init import manual_seed
from .nn.summary import summary
from .ops import methods  # gives Tensor its operators
from .ops.elementwise import relu_rule
from .study.convmatrix import convmatrix
from .study.explain import explain
from .study.gradient_report import check_rules, gradcheck
from .study.receptive_field import receptive_field

_keep_memory()

__version__ = "0.1.0"
