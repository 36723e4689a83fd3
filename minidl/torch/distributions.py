"""torch.distributions: the everyday ones, whose densities are differentiable in their parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.context import no_grad
from . import advice, creation
from .dtypes import Size
from .nn import functional as F
from .settings import broadcast_tensors
from .tensor import Tensor


def _tensors(*parts: Any) -> tuple:
    """Parameters in one shape."""
    kind = next((p.dtype for p in parts if isinstance(p, Tensor)), None)
    return broadcast_tensors(*[p if isinstance(p, Tensor) else creation.tensor(float(p), dtype=kind) for p in parts])


class Distribution:
    """A distribution of a batch of values: `batch_shape` of them, each of `event_shape`."""

    has_rsample = False

    def __init__(self, batch_shape: Any, event_shape: Any = (), validate_args: Any = None):
        self.batch_shape, self.event_shape = Size(batch_shape), Size(event_shape)

    def _shape(self, sample_shape: Any) -> tuple:
        return (*sample_shape, *self.batch_shape, *self.event_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Values that no gradient goes through."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Values as a differentiable function of the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no rsample; use sample")

    def prob(self, value: Tensor) -> Tensor:
        return self.log_prob(value).exp()

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def perplexity(self) -> Tensor:
        return self.entropy().exp()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_shape={self.batch_shape}, event_shape={self.event_shape})"


class Normal(Distribution):
    """exp(-(x - loc)^2 / (2 scale^2)) / (scale sqrt(2 pi))."""

    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: Any = None):
        self.loc, self.scale = _tensors(loc, scale)
        if not bool((self.scale > 0).all()):
            raise ValueError(f"Normal: scale must be greater than 0, got {self.scale}")
        super().__init__(self.loc.shape)

    mean = property(lambda self: self.loc)
    mode = property(lambda self: self.loc)
    stddev = property(lambda self: self.scale)
    variance = property(lambda self: self.scale**2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + self.scale * creation.randn(*self._shape(sample_shape), dtype=self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - math.log(math.sqrt(2 * math.pi))

    def entropy(self) -> Tensor:
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        return 0.5 * (1 + ((value - self.loc) / (self.scale * math.sqrt(2))).erf())


class Uniform(Distribution):
    """1 / (high - low) from low to high."""

    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: Any = None):
        self.low, self.high = _tensors(low, high)
        super().__init__(self.low.shape)

    mean = property(lambda self: (self.low + self.high) / 2)
    variance = property(lambda self: (self.high - self.low) ** 2 / 12)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.low + (self.high - self.low) * creation.rand(*self._shape(sample_shape), dtype=self.low.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        inside = (self.low <= value) & (value < self.high)
        return inside.to(self.low.dtype).log() - (self.high - self.low).log()

    def entropy(self) -> Tensor:
        return (self.high - self.low).log()


class Exponential(Distribution):
    """rate exp(-rate x)."""

    has_rsample = True

    def __init__(self, rate: Any, validate_args: Any = None):
        (self.rate,) = _tensors(rate)
        super().__init__(self.rate.shape)

    mean = property(lambda self: 1 / self.rate)
    variance = property(lambda self: self.rate**-2.0)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return creation.empty(*self._shape(sample_shape), dtype=self.rate.dtype).exponential_() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        return self.rate.log() - self.rate * value

    def entropy(self) -> Tensor:
        return 1 - self.rate.log()


def _one_of(probs: Any, logits: Any) -> None:
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


class Bernoulli(Distribution):
    """1 with probability `probs`, or sigmoid(logits), else 0."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None):
        _one_of(probs, logits)
        (given,) = _tensors(logits if probs is None else probs)
        if probs is None:
            self.logits, self.probs = given, given.sigmoid()
        else:
            eps = float(np.finfo(given.value.dtype).eps)
            self.probs, self.logits = given, given.clamp(eps, 1 - eps).logit()
        super().__init__(given.shape)

    mean = property(lambda self: self.probs)
    variance = property(lambda self: self.probs * (1 - self.probs))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return creation.bernoulli(self.probs.expand(self._shape(sample_shape)).contiguous())

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = broadcast_tensors(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")


class Categorical(Distribution):
    """A class number, with probabilities along the last dimension, or the softmax of `logits`."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None):
        _one_of(probs, logits)
        if probs is None:
            self.logits = logits - logits.logsumexp(dim=-1, keepdim=True)
            self.probs = self.logits.exp()
        else:
            if not bool((probs >= 0).all()):
                raise ValueError("Categorical: probs must not be negative")
            self.probs = probs / probs.sum(-1, keepdim=True)
            eps = float(np.finfo(self.probs.value.dtype).eps)
            self.logits = self.probs.clamp(eps, 1 - eps).log()
        super().__init__(self.logits.shape[:-1])

    mode = property(lambda self: self.probs.argmax(-1))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        p = self.probs.detach().numpy().astype(float).reshape(-1, self.probs.shape[-1])
        draws = creation.rng_of().random((int(np.prod(sample_shape, dtype=int)), len(p), 1))
        found = (draws * p.sum(1, keepdims=True) >= np.cumsum(p, axis=1)).sum(axis=2)
        return creation.tensor(found.clip(max=p.shape[1] - 1).reshape(self._shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.long().unsqueeze(-1)
        value, logits = broadcast_tensors(value, self.logits)
        return logits.gather(-1, value[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        return -(self.probs * self.logits.clamp(min=float(np.finfo(np.float32).min))).sum(-1)


class Independent(Distribution):
    """The last dimensions of a batch as one event: their log densities are added."""

    def __init__(self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args: Any = None):
        self.base_dist, self.n = base_distribution, reinterpreted_batch_ndims
        shape = base_distribution.batch_shape
        super().__init__(shape[: len(shape) - self.n], shape[len(shape) - self.n :])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def _sum(self, x: Tensor) -> Tensor:
        return x.sum(dim=tuple(range(-self.n, 0))) if self.n else x

    def log_prob(self, value: Tensor) -> Tensor:
        return self._sum(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        return self._sum(self.base_dist.entropy())

    mean = property(lambda self: self.base_dist.mean)
    variance = property(lambda self: self.base_dist.variance)


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The sum of p log(p / q)."""
    if isinstance(p, Normal) and isinstance(q, Normal):
        ratio = (p.scale / q.scale) ** 2
        return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())
    if isinstance(p, Categorical) and isinstance(q, Categorical):
        return (p.probs * (p.logits - q.logits)).sum(-1)
    if isinstance(p, Bernoulli) and isinstance(q, Bernoulli):
        return p.probs * (p.logits - q.logits) + F.softplus(q.logits) - F.softplus(p.logits)
    if isinstance(p, Independent) and isinstance(q, Independent) and p.n == q.n:
        return p._sum(kl_divergence(p.base_dist, q.base_dist))
    raise NotImplementedError(f"kl_divergence of {type(p).__name__} and {type(q).__name__} is not in minidl.torch")


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(advice.unknown(f"torch.distributions.{name}", name, globals()))
