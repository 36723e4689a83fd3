"""torch.nn.utils.parametrizations."""

from .norms import new_spectral_norm as spectral_norm
from .norms import new_weight_norm as weight_norm

__all__ = ["spectral_norm", "weight_norm"]
