"""Special functions, by torch's names, of the engine's values: SciPy's, without derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..core.tensor import Tensor as Value
from .dtypes import to_float


def by_values(name: str, by: str = "", **before: int) -> Callable:
    """A function of scipy.special, by its values: refused for tensors in a graph, as its derivative is not here."""

    def function(input: Value) -> Value:
        from scipy import special

        if input.node is not None:
            raise NotImplementedError(f"torch.{name} has no derivative here; detach() its input, or compose it")
        x = to_float(input)
        return Value(np.asarray(getattr(special, by or name)(*before.values(), x.data), x.dtype))

    function.__name__ = name
    return function


def polygamma(n: int, input: Value) -> Value:
    return by_values("polygamma", n=n)(input)


SPECIAL: dict[str, Callable] = {
    "lgamma": by_values("lgamma", "gammaln"), **{name: by_values(name) for name in ("digamma", "erfinv", "i0")},
}  # fmt: skip
OF_MODULE: dict[str, Callable] = {  # torch.special
    name: by_values(name) for name in (
        "gammaln", "digamma", "psi", "erfinv", "erfcx", "ndtr", "ndtri", "log_ndtr", "i0", "i1", "i0e", "i1e", "entr",
    )
} | {"polygamma": polygamma}  # fmt: skip
