"""minidl: deep learning from scratch on NumPy and CuPy, every derivative proved.

    import minidl as md
    from minidl import functional as F, nn, optim
"""

from . import functional
from .calculus import grad, hessian, hvp, jacobian, jvp, vjp
from .mode import anomaly, definitions, enable_grad, no_grad
from .ops import methods  # gives Tensor its operators
from .ops.elementwise import relu_rule
from .primitive import AnomalyError, fused, override, primitive
from .tensor import Parameter, Tensor, tensor

__version__ = "0.1.0"
