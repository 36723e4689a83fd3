"""The backward pass: one walk through a graph, from the output to the leaves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from .anomaly import stop_at_anomaly
from .context import current, setting
from .tensor import Leaf, Node, Placeholder, Tensor, as_tensor


def walk(
    output: Tensor, g: Tensor, wanted: set[Node] | None, release: bool, pull: Callable | None = None,
    take: Callable[[Node, Tensor], None] | None = None,
) -> dict[Node, Tensor]:  # fmt: skip
    """Carry the cotangent `g` of `output` back; return the cotangents of leaves, or of the `wanted` nodes.

    Nodes are visited from the newest to the oldest: a node is older than all its consumers, so its
    cotangent is complete when its turn comes. No recursion: depth is bounded by memory alone.
    ``pull(g, y, useful)`` runs in place of the pullback of y's primitive: the only way to walk differently.
    ``take(leaf, cotangent)`` gets that of a leaf once its last consumer is done, and it is not returned.
    """
    useful = None if wanted is None else _leads_to(wanted, output.node)
    found: dict[Node, Tensor] = {}
    now = current()  # a profile looks at each node, too
    pull = pull or getattr(now.trace, "pull", None) or (_watched if now.anomaly else None)
    pending = {output.node: g}
    waiting = {} if take is None else _consumers(output.node)
    heap, new = [(-output.node.order, output.node)], object.__new__
    while heap:
        _, node = heappop(heap)
        if node not in pending:
            continue  # a leaf whose cotangent was taken
        g = pending.pop(node)
        leaf = type(node) is Leaf
        if leaf if wanted is None else node in wanted:
            found[node] = g
        if leaf:
            continue
        if node.inputs is None:
            if wanted is None:
                raise released(node)
            continue  # a wanted one, and the others are not below it
        if node.output is None:  # not saved, as no rule needs it: g has its form
            y = Placeholder(g.data, node)
        else:
            y = new(Tensor)
            y.data, y.node = node.output, node
        below = pull(g, y, useful) if pull else node.primitive.pullback(g, y, useful)
        for x, gx in below:
            key = x.node
            if key in pending:
                pending[key] = pending[key] + gx
            elif key.order < node.order:
                pending[key] = gx
                heappush(heap, (-key.order, key))
            elif key.existed_at(node.order):  # a leaf that was frozen since, whose turn is over
                found[key] = found[key] + gx if key in found else gx
        for leaf in _leaves(node) if waiting else ():
            waiting[leaf] -= 1
            if not waiting[leaf] and leaf in pending:
                take(leaf, pending.pop(leaf))
        if release and below:  # a wanted node that nothing is wanted below has not been consumed
            node.inputs = node.parameters = node.output = None
    return found


def _leaves(node: Node) -> list[Leaf]:
    """Those among the inputs of a node."""
    return [x.node for x in node.inputs or () if isinstance(x, Tensor) and type(x.node) is Leaf]


def _consumers(root: Node) -> Counter[Leaf]:
    """How often each leaf is an input of a node below `root`."""
    counts: Counter[Leaf] = Counter()
    below, stack = {root}, [root]
    while stack:
        node = stack.pop()
        counts.update(_leaves(node))
        new = {x.node for x in node.inputs or () if isinstance(x, Tensor) and x.node is not None} - below
        below |= new
        stack += new
    return counts


def _watched(g: Tensor, y: Tensor, useful: set[Node] | None) -> list[tuple[Tensor, Tensor]]:
    """The pullback, and a look at what it gives: a rule is named as a whole, not the operations inside it."""
    node = y.node
    with setting(anomaly=False):
        grads = node.primitive.pullback(g, y, useful)
    read = [t.data for t in (g, y, *node.inputs) if isinstance(t, Tensor)]
    for _, gx in grads:
        stop_at_anomaly(f"the backward rule of {node.primitive.name}", read, gx.data, getattr(node, "where", "?"))
    return grads


def released(node: Node) -> RuntimeError:
    """The error of a pass that comes to a node which an earlier one has consumed."""
    return RuntimeError(
        f"the graph was released by an earlier backward pass (met at {node.primitive.name!r}); "
        "pass retain_graph=True to the first pass"
    )


def _leads_to(wanted: set[Node], root: Node) -> set[Node]:
    """The nodes below `root` from which a wanted node is reached, the wanted ones included.

    Raises RuntimeError for a released node, unless it is older than all that is wanted: that may be below it.
    """
    below, stack = {root}, [root]
    oldest = min((n.changes[0] if type(n) is Leaf else n.order for n in wanted), default=math.inf)
    while stack:
        node = stack.pop()
        if node.inputs is None and node.order > oldest:
            raise released(node)
        for x in node.inputs or ():
            if isinstance(x, Tensor) and x.node is not None and x.node not in below:
                below.add(x.node)
                stack.append(x.node)
    useful = wanted & below
    for node in sorted(below, key=lambda n: n.order):  # inputs before consumers
        if any(isinstance(x, Tensor) and x.node in useful for x in node.inputs or ()):
            useful.add(node)
    return useful


def backward(
    output: Tensor, grad: Any = None, create_graph: bool = False, retain_graph: bool | None = None,
    take: Callable[[Node, Any], None] | None = None,
) -> None:  # fmt: skip
    """Add d(output)/d(leaf), contracted with `grad`, to the ``.grad`` of every leaf below.

    `grad` may be left out for a tensor of one element (it is then 1). The graph is released on the
    way unless `retain_graph`, which defaults to `create_graph` (record the pass, to differentiate it).
    ``take(leaf, array)``, where it is given, gets each of these sums in place of ``.grad``, as soon as it is complete:
    while the pass still runs, so that it can be sent to other processes meanwhile. `leaf` is the tensor's ``node``.
    """
    if output.node is None:
        raise RuntimeError("backward() on a tensor that requires no gradient: nothing it came from does")
    g = seed(output, grad)
    retain = create_graph if retain_graph is None else retain_graph
    trace = current().trace

    def taken(leaf: Node, gradient: Tensor) -> None:
        total = (gradient if leaf.grad is None else leaf.grad + gradient).data
        if trace is not None:
            trace.effect("take", take, leaf, total)
        take(leaf, total)

    with setting(recording=create_graph):
        for leaf, gradient in walk(output, g, None, not retain, take=take and taken).items():
            if take is None:
                leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
            else:
                taken(leaf, gradient)


def seed(output: Tensor, g: Any) -> Tensor:
    """The cotangent that a pass starts with: `g`, or 1 for an output of one element."""
    if g is None:
        if output.size != 1:
            raise ValueError(
                f"the output has shape {output.shape}: a gradient without grad= needs one element; "
                "sum it first, or pass grad= of that shape"
            )
        return output.ones_like()
    g = as_tensor(g)
    if g.shape != output.shape:
        raise ValueError(f"grad has shape {g.shape}, the output {output.shape}")
    return g if g.dtype == output.dtype else g.astype(output.dtype)
