"""What a network is asked: theory per layer, exact support per pixel, effective field by gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ...core.context import setting
from ...core.tensor import Node, Tensor
from ...nn import init
from ...nn.module import Module
from ...nn.summary import unchanged
from ..terminal import counted
from .extent import Effective, Field, LayerField, radius
from .graph import TOUCHED, Recording, below, branches, dependence, reaching, spatial
from .theory import Axes, is_pool

BATCH = 1 << 22  # cells of the input that are asked about together
PIXELS = 48  # pixels of a layer that are measured, about its centre
DRAWS = 16  # of random weights and inputs, unless
WORK = 8e9  # multiply-adds of as many forward passes are more than this; 4 at least
MERGES = 6  # layers joining branches whose branches are measured one by one
KINDS = {"conv": "convolution", "conv_transpose": "transposed", "max_pool": "max pool", "window_sum": "mean pool",
         "matmul_along_axis": "linear", "take": "nearest", "getitem": "decimation", "concat": "concat"}  # fmt: skip


class Probe:
    """What `receptive_field` found; exact and effective fields of other pixels and layers are worked out when asked.

    ``layers`` are the rows of the theory, in the order in which they ran; ``readings`` name what "the" receptive field
    of a network that downsamples can mean.
    """

    def __init__(
        self, network: Callable, x: np.ndarray, title: str, names: dict, layer: Any, pixel: Any, draws: int | None,
        seed: int, own_weights: bool,
    ):  # fmt: skip
        self.network, self.image, self.title = network, x, title
        run = self._single = self._run(1)
        self.macs = run.macs()
        self.draws = draws or max(4, min(DRAWS, int(WORK / max(self.macs, 1))))
        self.seed, self.own_weights, self._known = seed, own_weights, {}
        rows = run.rows
        known = run.theory()
        labels = [names.get(run.owner.get(node), KINDS.get(node.primitive.name, node.primitive.name)) for node in rows]
        self.layers = [_layer(run, node, name, known[node]) for node, name in zip(rows, _distinct(labels))]
        self.merges = {i: numbers for i, node in enumerate(rows) if len(numbers := branches(run, node)) > 1}
        self.chosen = self._index(layer)
        self.pixel = self._pixel(pixel, self.chosen)
        self.readings = _readings(run, rows, known, self.layers) if self.chosen == len(rows) - 1 else {}

    # --- questions

    @property
    def theory(self) -> LayerField:
        """The row of the layer that was asked for."""
        return self.layers[self.chosen]

    def exact(self, pixel: Any = None, layer: Any = None) -> Field:
        """Which input cells a pixel (the centre one) of a layer (the one asked for) depends on."""
        at = self.chosen if layer is None else self._index(layer)
        return self.fields(at, [self.pixel if pixel is layer is None else self._pixel(pixel, at)])[0]

    def effective(self, pixel: Any = None, layer: Any = None) -> Effective:
        """How the gradient of a pixel is spread over the input: |gradient|, averaged over random draws."""
        at = self.chosen if layer is None else self._index(layer)
        return self.effective_fields(at, [self.pixel if pixel is layer is None else self._pixel(pixel, at)])[0]

    def phases(self, layer: Any = None) -> dict[tuple[int, ...], int]:
        """How many of the pixels measured have a field of which exact size."""
        at = self.chosen if layer is None else self._index(layer)
        return dict(sorted(Counter(f.size for f in self.fields(at, self.pixels(at))).items()))

    # --- measurements

    def pixels(self, layer: int) -> list[tuple[int, ...]]:
        """The pixels of a layer that are measured: those about its centre, along the diagonal if it has more axes."""
        output = self.layers[layer].output
        if not output:
            return [()]
        most = max(1, min(PIXELS, BATCH // self.image[0].size)) if len(output) > 1 else PIXELS
        count = min(max(output), most)
        firsts = [max(0, n // 2 - count // 2) for n in output]
        return [tuple(min(f + t, n - 1) for f, n in zip(firsts, output)) for t in range(count)]

    def fields(self, layer: int, pixels: Sequence[tuple[int, ...]]) -> list[Field]:
        """The exact field of each pixel of a layer."""
        return self._each("exact", layer, pixels, lambda new: [cone[-1] for cone in self.cones(layer, new, [])])

    def branches(self, pixel: Any = None) -> dict[str, list[Field]]:
        """For the last few layers that join branches, what the pixel would see if they passed one branch only."""
        at = self._pixel(pixel, self.chosen) if pixel is not None else self.pixel
        below = [i for i in self.merges if i <= self.chosen]
        return {self.layers[i].name: [self._by_branch(at, i, n) for n in self.merges[i]] for i in below[-MERGES:]}

    def _by_branch(self, pixel: tuple[int, ...], merge: int, number: int) -> Field:
        ask = lambda new: [cone[0] for cone in self.cones(self.chosen, new, [], (merge, number))]  # noqa: E731
        return self._each(("exact", merge, number), self.chosen, [pixel], ask)[0]

    def cones(
        self, layer: int, pixels: Sequence[tuple[int, ...]], through: Sequence[int],
        branch: tuple[int, int] | None = None,
    ) -> list[list[Field]]:  # fmt: skip
        """For each pixel of a layer: what it depends on in the layers `through`, and last in the input.

        branch: (a layer, the number of one of its inputs), by which alone that layer is passed.
        """
        cones, run = [], self._single
        for some in self._batches(pixels):
            run = self._run_for(some, run)
            rows = run.rows
            pull = dependence() if branch is None else dependence(rows[branch[0]], branch[1])
            wanted = [*(rows[i] for i in through), run.x.node]
            found = reaching(run, rows[layer], some, wanted, pull=pull)
            for b, pixel in enumerate(some):
                cones.append([Field(pixel, (g[b] > TOUCHED).any(axis=0)) for g in found])
        return cones

    def effective_fields(self, layer: int, pixels: Sequence[tuple[int, ...]]) -> list[Effective]:
        """The effective field of each pixel of a layer."""

        def ask(new: list[tuple[int, ...]]) -> list[Effective]:
            found = zip(new, self._mean_gradients(layer, new), self.fields(layer, new))
            return [Effective(p, share, radius(share, field)) for p, share, field in found]

        return self._each("effective", layer, pixels, ask)

    def _each(self, kind: Any, layer: int, pixels: Sequence[tuple[int, ...]], ask: Callable) -> list:
        """What is known of each pixel, those that are not known yet asked about together."""
        known = self._known.setdefault((kind, layer), {})
        new = [pixel for pixel in dict.fromkeys(pixels) if pixel not in known]
        known.update(zip(new, ask(new) if new else []))
        return [known[pixel] for pixel in pixels]

    def _mean_gradients(self, layer: int, pixels: list[tuple[int, ...]]) -> list[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        total = np.zeros((len(pixels), *self.image.shape[2:]))
        drawn = [] if self.own_weights or not isinstance(self.network, Module) else self.network.parameters()
        used = below(self._single.rows[layer])
        drawn = [p for p in drawn if p in used]
        before = [p.data for p in drawn]
        try:
            for _ in counted(range(self.draws), f"effective field of {self.layers[layer].name}"):
                _redraw(drawn, rng)
                image = rng.standard_normal(self.image.shape).astype(self.image.dtype)
                weight = rng.standard_normal(4096)
                done, run = 0, None
                for some in self._batches(pixels):
                    run = self._run_for(some, run, image)
                    row = run.rows[layer]
                    channels = run.values[row].shape[1]
                    (g,) = reaching(run, row, some, [run.x.node], np.resize(weight, channels))
                    total[done : done + len(some)] += abs(g).sum(axis=1)
                    done += len(some)
        finally:
            for p, data in zip(drawn, before):
                p.data = data
        return [t / (t.sum() or 1.0) for t in total]

    def _run_for(self, pixels: Sequence, before: Recording | None, image: np.ndarray | None = None) -> Recording:
        """A run with an image for each pixel: the one before, if it has as many."""
        return before if before and len(before.x) == len(pixels) else self._run(len(pixels), image)

    def _run(self, count: int, image: np.ndarray | None = None) -> Recording:
        image = self.image if image is None else image
        x = np.ascontiguousarray(np.broadcast_to(image, (count, *image.shape[1:])))
        with setting(definitions=True), unchanged(self.network) if isinstance(self.network, Module) else nullcontext():
            if isinstance(self.network, Module):
                self.network.train(False)
            return Recording(self.network, Tensor(x))

    def _batches(self, pixels: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
        count = max(1, BATCH // (64 * self.image.size))
        return [list(pixels[i : i + count]) for i in range(0, len(pixels), count)]

    # --- names

    def _index(self, layer: Any) -> int:
        if layer is None:
            return len(self.layers) - 1
        names = [row.name for row in self.layers]
        if isinstance(layer, int) and -len(names) <= layer < len(names):
            return layer % len(names)
        if layer not in names:
            raise ValueError(f"receptive_field: no layer is called {layer!r}; there are {', '.join(names)}")
        return names.index(layer)

    def _pixel(self, pixel: Any, layer: int) -> tuple[int, ...]:
        output = self.layers[layer].output
        if pixel is None:
            return tuple(n // 2 for n in output)
        at = tuple(pixel) if isinstance(pixel, Sequence) else (pixel,) * len(output)
        if len(at) != len(output) or any(not 0 <= p < n for p, n in zip(at, output)):
            raise ValueError(f"receptive_field: {self.layers[layer].name} gives {output} pixels, so none is at {at}")
        return at


def _layer(run: Recording, node: Node, name: str, axes: Axes) -> LayerField:
    window = node.parameters.get("window")
    geometry = [getattr(window, field, None) for field in ("kernel", "stride", "dilation", "padding")]
    if geometry[3] is not None:
        geometry[3] = tuple(low if low == high else (low, high) for low, high in geometry[3])
    formula = [None] * 4
    if axes is not None:
        formula = [tuple(getattr(a, field) for a in axes) for field in ("jump", "size", "first", "centre")]
    kind, owner = node.primitive.name, run.owner.get(node)
    kind = type(owner).__name__ if owner and kind not in KINDS else KINDS.get(kind, kind)
    return LayerField(name, kind, spatial(run.values[node]), *geometry, *formula)


def _distinct(labels: list[str]) -> list[str]:
    """Names that occur more than once get a number: concat, concat 2, ..."""
    counts: Counter[str] = Counter()
    names = []
    for label in labels:
        counts[label] += 1
        names.append(label if counts[label] == 1 else f"{label} {counts[label]}")
    return names


def _readings(run: Recording, rows: list[Node], known: dict[Node, Axes], layers: list[LayerField]) -> dict[str, tuple]:
    """What "the receptive field" of a network that pools can mean."""
    if known[rows[-1]] is None or not any(map(is_pool, rows)):
        return {}
    found = {"after the last layer": layers[-1].size}
    if is_pool(rows[-1]):
        before = layers[-2].size if len(layers) > 1 else (1.0,) * len(layers[-1].size)
        found = {"after the last downsampling": layers[-1].size, "before the last downsampling": before}
    plain_axes = run.theory(decimate=True)[rows[-1]]
    if plain_axes is not None:
        found["with decimation in place of pooling"] = tuple(a.size for a in plain_axes)
    return found


def _redraw(parameters: list, rng: np.random.Generator) -> None:
    """He's initialisation for weights, 0 for biases, 1 for the gains of a normalisation."""
    for p in parameters:
        if p.ndim > 1:
            p.data = init.kaiming_uniform(p.shape, rng, nonlinearity="relu", dtype=p.dtype)
        else:
            p.data = np.full(p.shape, 1.0 if p.name.endswith("weight") else 0.0, p.dtype)
