"""Saliency by gradients: of the score with respect to the pixels, plain, by other rules at ReLUs, or averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from . import layers
from .layers import Progress
from .maps import Map
from .targets import Target, rows


def largest(full: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (N, H, W): the largest absolute value of the channels of each pixel."""
    return np.abs(full).max(axis=1)


def backprop(
    model: nn.Module, images: Any, target: Target, rules: Sequence[str] = ("gradient",), *,
    layer: Any = None, rng: Any = None, progress: Progress | None = None, batch_size: int = 16,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:  # fmt: skip
    """The scores (N,), and what the backward pass brings to the images under each rule at ReLUs, (N, C, H, W) each.

    One forward graph serves all rules ("gradient", "deconvnet", "guided": see `md.relu_rule`). Raises ValueError for
    the latter two if no ReLU is on it.
    """
    images = layers.require_images(images)
    score, found = np.empty(len(images), images.dtype), {rule: np.empty_like(images) for rule in rules}
    with layers.observed(model):
        for batch in layers.batches(len(images), batch_size, progress):
            recorded = layers.record(model, images[batch], rows(target, batch, len(images)))
            score[batch] = recorded.score.numpy()
            for rule in rules:
                if rule != "gradient":
                    layers.require_relu(recorded.score, rule)
                with md.relu_rule(rule):
                    found[rule][batch] = layers.gradient(recorded, recorded.images, retain_graph=rule != rules[-1])
    return score, found


def _by_rule(name: str, rule: str, model: Any, images: Any, target: Target, **options: Any) -> Map:
    score, found = backprop(model, images, target, [rule], **options)
    return Map(name, largest(found[rule]), False, score, full=found[rule])


def gradient(model: nn.Module, images: Any, target: Target, **options: Any) -> Map:
    """``max over c of |d score / d x[c]|``. Source: Simonyan, Vedaldi and Zisserman, "Deep inside convolutional
    networks", 2014, section 3.1."""
    return _by_rule("gradient", "gradient", model, images, target, **options)


def deconvnet(model: nn.Module, images: Any, target: Target, **options: Any) -> Map:
    """As `gradient`, but each ReLU passes the positive part of what comes back, whatever went in.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 2.1.
    """
    return _by_rule("deconvnet", "deconvnet", model, images, target, **options)


def guided_backprop(model: nn.Module, images: Any, target: Target, **options: Any) -> Map:
    """As `gradient`, but each ReLU passes the positive part of what comes back, and only where its input was positive.

    Source: Springenberg et al., "Striving for simplicity: the all convolutional net", 2015, section 3.4.
    """
    return _by_rule("guided_backprop", "guided", model, images, target, **options)


def gradient_x_input(model: nn.Module, images: Any, target: Target, **options: Any) -> Map:
    """``sum over c of x[c] d score / d x[c]``, signed. Source: Shrikumar et al., "Not just a black box", 2016."""
    images = layers.require_images(images)
    score, found = backprop(model, images, target, **options)
    full = images * found["gradient"]
    return Map("gradient_x_input", full.sum(axis=1), True, score, full=full)


def mean_gradient(
    model: nn.Module, images: np.ndarray, target: Target, copies: int, change: Callable, weights: np.ndarray, *,
    batch_size: int, progress: Progress | None,
) -> np.ndarray:  # fmt: skip
    """``sum over j of weights[j] d score / d x`` at x = copy j of each image, (N, C, H, W) in float64.

    ``change(image, copy)`` makes the copies, for arrays of positions of images and copies; the copies of all images
    go through the model in batches of one size, image by image.
    """
    total = np.zeros(images.shape)
    with layers.observed(model):
        for batch in layers.batches(len(images) * copies, batch_size, progress):
            image, copy = np.divmod(batch, copies)
            recorded = layers.record(model, change(image, copy), rows(target, image, len(images)))
            found = layers.gradient(recorded, recorded.images)
            np.add.at(total, image, weights[copy, None, None, None] * found)
    return total


def smoothgrad(
    model: nn.Module, images: Any, target: Target, *, layer: Any = None, rng: Any = None,
    progress: Progress | None = None, batch_size: int = 16, samples: int = 25, sigma: float = 0.15,
) -> Map:  # fmt: skip
    """The gradient averaged over `samples` noisy copies of each image; then the largest absolute value of the channels.

    sigma: the noise's standard deviation, as a share of the image's range (largest less smallest value). rng: a
    Generator or a seed (0). Source: Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    """
    images, rng = layers.require_images(images), np.random.default_rng(0 if rng is None else rng)
    if samples < 1 or sigma < 0:
        raise ValueError(f"smoothgrad needs 1 sample or more and sigma of at least 0, got {samples} and {sigma}")
    spread = sigma * np.ptp(images, axis=(1, 2, 3), keepdims=True)

    def noisy(image: np.ndarray, copy: np.ndarray) -> np.ndarray:
        noise = rng.standard_normal((len(image), *images.shape[1:]), images.dtype)
        return images[image] + spread[image] * noise

    weights = np.full(samples, 1 / samples)
    options = {"batch_size": batch_size, "progress": progress}
    full = mean_gradient(model, images, target, samples, noisy, weights, **options).astype(images.dtype)
    return Map("smoothgrad", largest(full), False, _scores(model, images, target, batch_size), full=full)


def integrated_gradients(
    model: nn.Module, images: Any, target: Target, *, layer: Any = None, rng: Any = None,
    progress: Progress | None = None, batch_size: int = 16, baseline: Any = 0.0, steps: int = 32,
) -> Map:  # fmt: skip
    """``(x - b) * integral over t in [0, 1] of d score / d x at b + t (x - b)``, summed over channels, signed.

    The integral is by Gauss-Legendre with `steps` points. The sum over all pixels is score(x) - score(b) but for the
    error of that rule, which `gap` holds (the sum less the difference): small steps at ReLUs leave one.
    baseline: b, a number, or an array that broadcasts to the images, such as (C, 1, 1).
    Source: Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017, eq. 1.
    """
    images = layers.require_images(images)
    if steps < 1:
        raise ValueError(f"integrated_gradients needs 1 step or more, got {steps}")
    try:
        start = np.broadcast_to(np.asarray(baseline, images.dtype), images.shape)
    except ValueError:
        shape = np.shape(baseline)
        raise ValueError(f"integrated_gradients: a baseline {shape} does not fit images {images.shape}") from None
    points, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    position = ((1 + points) / 2).astype(images.dtype)[:, None, None, None]
    difference = images - start

    def between(image: np.ndarray, copy: np.ndarray) -> np.ndarray:
        return start[image] + position[copy] * difference[image]

    options = {"batch_size": batch_size, "progress": progress}
    full = difference * mean_gradient(model, images, target, steps, between, weights / 2, **options)
    score = _scores(model, images, target, batch_size)
    gap = full.sum(axis=(1, 2, 3)) - (score - _scores(model, start, target, batch_size))
    full = full.astype(images.dtype)
    return Map("integrated_gradients", full.sum(axis=1), True, score, full=full, gap=gap)


def _scores(model: nn.Module, images: np.ndarray, target: Target, batch_size: int) -> np.ndarray:
    with layers.observed(model):
        found = [
            layers.score(model, images[batch], rows(target, batch, len(images)))
            for batch in layers.batches(len(images), batch_size)
        ]
    return np.concatenate(found)
