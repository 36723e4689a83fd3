"""What the chapters on other frameworks say in their tables, as functions: MEASURES[library][row]() is the cell.

Libraries are imported when one of their cells is measured.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import minidl as md
from minidl import functional as F
from minidl import nn, optim

Rows = dict[str, Callable[[], Any]]
BIG = (4096 + np.random.default_rng(0).standard_normal((256, 1))).astype(np.float32)
SPIKE = np.array([0.0, 1, 0, 0])
GROUPS = 64  # maps of the transposed convolution, to 8
KINKS = {  # where a slope is asked for
    "clip(x, 0, 1)": (0, 1), "relu6(x)": (0, 6), "leaky_relu(x)": (0,), "elu(x)": (0,), "hardswish(x)": (-3, 3),
    "abs(x)": (0,), "maximum(x, 2)": (2,), "max(x)": (1, 1), "max(x, axis=0)": (1, 1), "max_pool(x, 2)": (1, 1),
    "std(x)": (1, 1),
}  # fmt: skip


def slopes(slope: Callable, functions: list[Callable]) -> Rows:
    return {row: lambda f=f, at=at: slope(f, [float(a) for a in at]) for (row, at), f in zip(KINKS.items(), functions)}


def norms(derivative: Callable, functions: dict[str, Callable]) -> Rows:
    """The n-th derivative of t -> sum of u f(x + t v) at 0, as chapter 17 draws x, u and v."""
    x, u, v = np.random.default_rng(0).normal(size=(3, 4, 5))
    return {
        f"{name}, order {order}": lambda f=f, order=order: derivative(f, order, x, u, v)
        for name, f in functions.items()
        for order in (1, 2, 3, 4)
    }


def after_norms() -> tuple[np.ndarray, float, np.ndarray]:
    """What chapter 17 draws next: the direction, the gain, and the weights of the squares."""
    rng = np.random.default_rng(0)
    rng.normal(size=(3, 4, 5))
    return rng.normal(size=3), 1.3, rng.normal(size=3)


# --- ours


def slope(f: Callable, at: list[float]) -> np.ndarray:
    x = md.tensor(at, requires_grad=True)
    return md.grad(f(x).sum(), x)[0].numpy()


def derivative(f: Callable, order: int, x: np.ndarray, u: np.ndarray, v: np.ndarray) -> float:
    point = md.tensor(x, requires_grad=True)
    value = (f(point) * u).sum()
    for _ in range(order):
        value = (md.grad(value, point, create_graph=True)[0] * v).sum()
    return value.item()


def remembered(momentum: float) -> float:
    norm = nn.BatchNorm1d(1, momentum=momentum)
    norm(md.tensor([[1.0], [2.0], [3.0]], dtype="float32"))
    return norm.running_mean.item()


def remembered_variance() -> float:
    norm = nn.BatchNorm1d(1, momentum=1.0)
    norm(md.tensor([[1.0], [2.0], [3.0]], dtype="float32"))
    return norm.running_var.item()


def first_step() -> np.ndarray:
    w = md.Parameter(np.zeros(1))
    adam = optim.Adam([w], lr=0.1)
    w.grad = md.tensor([1e-8])
    adam.step()
    return w.data


def at_a_shortcut(rule: str) -> float:
    x = md.tensor([1.0], requires_grad=True)
    h = 3 * x
    with md.relu_rule(rule):
        return md.grad((2 * h - F.relu(h)).sum(), x)[0].item()


def average_precision(first: int) -> float:
    """Of two objects found perfectly; ours has no ids."""
    from tasks.detect.data.records import Detections, Target
    from tasks.detect.evaluate.average_precision import coco_ap

    box = np.array([[2.0, 3, 22, 33]])
    truth, found = Target(box, np.zeros(1, int)), Detections(box, np.zeros(1, int), np.array([0.9]))
    return coco_ap([truth] * 2, [found] * 2, 1)["AP"]


def hessian_entries() -> list[float]:
    v, gain, c = after_norms()
    H = md.hessian(lambda v: ((gain * v / (v * v).sum() ** 0.5) ** 2 * c).sum(), v).numpy()
    return [H[0, 1], H[1, 0]]


def log_softmax(axis: int) -> float:
    return F.log_softmax(np.zeros((1, 65_536) if axis else (65_536, 1), np.float16), axis=axis).numpy().min()


def conv(padding: Any) -> np.ndarray:
    return F.conv(np.arange(1.0, 5)[None, None], np.ones((1, 1, 3)), stride=2, padding=padding).numpy()


def resized(x: np.ndarray, size: Any, mode: str) -> np.ndarray:
    return F.interpolate(x, size=size, mode=mode).numpy()


OURS: Rows = {
    **slopes(slope, [
        lambda x: x.clip(0, 1), F.relu6, F.leaky_relu, F.elu, F.hardswish, abs, lambda x: F.maximum(x, np.full(1, 2.0)),
        lambda x: x.max(), lambda x: x.max(axis=0), lambda x: F.max_pool(x.reshape(1, 1, 2), 2), lambda x: x.std(),
    ]),
    "remembered of 1, 2, 3": remembered_variance,
    "share of the old at momentum 0.1": lambda: 1 - remembered(0.1) / 2,
    "same": lambda: conv("same"),
    "padding=1": lambda: conv(1),
    "fan_in": lambda: nn.init.fans((GROUPS, 8, 3, 3))[0],
    "first step": first_step,
    "nearest, 6 to 2": lambda: resized(np.arange(6.0)[None, None], 2, "nearest"),
    "cubic, the first four of 8": lambda: resized(SPIKE[None, None, None], (1, 8), "cubic")[..., :4],
    "ids 1 and 2": lambda: average_precision(1),
    "ids 0 and 1": lambda: average_precision(0),
    **{rule: lambda rule=rule: at_a_shortcut(rule) for rule in ("guided", "deconvnet")},
    **norms(derivative, {
        "batch norm": lambda x: F.batch_norm(x, None, None, training=True),
        "layer norm": lambda x: F.layer_norm(x, 5),
        "group norm": lambda x: F.group_norm(x, 1),
    }),
    "H[0, 1], H[1, 0]": hessian_entries,
    "log_softmax, axis 1": lambda: log_softmax(1),
    "log_softmax, axis 0": lambda: log_softmax(0),
    "deviation afterwards": lambda: F.batch_norm(BIG, None, None, training=True).numpy().std(),
}  # fmt: skip


# --- others


def of_torch() -> Rows:
    import torch
    from torch.nn import functional as T

    def slope(f, at):
        x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(f(x).sum(), x)[0].numpy()

    def derivative(f, order, x, u, v):
        point, u, v = torch.tensor(x, requires_grad=True), torch.tensor(u), torch.tensor(v)
        value = (f(point) * u).sum()
        for _ in range(order):
            value = (torch.autograd.grad(value, point, create_graph=True)[0] * v).sum()
        return value.item()

    def remembered(what, momentum):
        norm = torch.nn.BatchNorm1d(1, momentum=momentum)
        norm(torch.tensor([[1.0], [2.0], [3.0]]))
        return getattr(norm, what).item()

    def first_step():
        w = torch.zeros(1, requires_grad=True)
        adam = torch.optim.Adam([w], lr=0.1)
        w.grad = torch.tensor([1e-8])
        adam.step()
        return w.detach().numpy()

    def conv(padding):
        try:
            return T.conv1d(torch.arange(1.0, 5)[None, None], torch.ones(1, 1, 3), stride=2, padding=padding).numpy()
        except RuntimeError as error:
            return "refused" if "strided" in str(error) else str(error)

    def resized(x, size, mode):
        return T.interpolate(torch.tensor(x), size=size, mode=mode).numpy()

    def entries():
        v, gain, c = (torch.tensor(a, dtype=torch.float64) for a in after_norms())
        squares = lambda v: (torch._weight_norm(v, gain.reshape(1, 1), 0) ** 2 * c).sum()  # noqa: E731
        H = torch.autograd.functional.hessian(squares, v[None]).reshape(3, 3)
        return [H[0, 1].item(), H[1, 0].item()]

    def log_softmax(axis):
        return T.log_softmax(torch.zeros((1, 65_536) if axis else (65_536, 1), dtype=torch.float16), axis).min().item()

    return {
        **slopes(slope, [
            lambda x: x.clip(0, 1), T.relu6, T.leaky_relu, T.elu, T.hardswish, abs,
            lambda x: torch.maximum(x, torch.full((1,), 2.0, dtype=torch.float64)), lambda x: x.max(),
            lambda x: x.max(dim=0).values, lambda x: T.max_pool1d(x.reshape(1, 1, 2), 2), lambda x: x.std(),
        ]),
        "remembered of 1, 2, 3": lambda: remembered("running_var", 1.0),
        "share of the old at momentum 0.1": lambda: 1 - remembered("running_mean", 0.1) / 2,
        "same": lambda: conv("same"),
        "padding=1": lambda: conv(1),
        "fan_in": lambda: torch.nn.init._calculate_fan_in_and_fan_out(torch.nn.ConvTranspose2d(GROUPS, 8, 3).weight)[0],
        "first step": first_step,
        "nearest, 6 to 2": lambda: resized(np.arange(6.0)[None, None], 2, "nearest"),
        "cubic, the first four of 8": lambda: resized(SPIKE[None, None, None], (1, 8), "bicubic")[..., :4],
        **norms(derivative, {
            "batch norm": lambda x: T.batch_norm(x, None, None, training=True),
            "layer norm": lambda x: T.layer_norm(x, (5,)),
            "group norm": lambda x: T.group_norm(x, 1),
        }),
        "H[0, 1], H[1, 0]": entries,
        "log_softmax, axis 1": lambda: log_softmax(1),
        "log_softmax, axis 0": lambda: log_softmax(0),
        "deviation afterwards": lambda: T.batch_norm(torch.tensor(BIG), None, None, training=True).numpy().std(),
    }  # fmt: skip


def of_jax() -> Rows:
    import jax
    import jax.numpy as jnp

    def slope(f, at):
        return jax.grad(lambda x: f(x).sum())(jnp.array(at, jnp.float32))

    def conv(padding):
        return jax.lax.conv_general_dilated(jnp.arange(1.0, 5)[None, None], jnp.ones((1, 1, 3)), (2,), padding)

    def pool(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2,), (2,), "VALID")

    def all_of(x):
        return x.max()

    return {
        **slopes(slope, [
            lambda x: jnp.clip(x, 0, 1), jax.nn.relu6, jax.nn.leaky_relu, jax.nn.elu, jax.nn.hard_swish, abs,
            lambda x: jnp.maximum(x, 2.0), all_of, lambda x: x.max(axis=0), pool, lambda x: x.std(ddof=1),
        ]),
        "same": lambda: conv("SAME"),
        "SAME_LOWER": lambda: conv("SAME_LOWER"),
        "padding=1": lambda: conv([(1, 1)]),
        "nearest, 6 to 2": lambda: jax.image.resize(jnp.arange(6.0), (2,), "nearest"),
        "cubic, the first four of 8": lambda: jax.image.resize(jnp.array(SPIKE, jnp.float32), (8,), "cubic")[:4],
    }  # fmt: skip


def of_flax() -> Rows:
    import flax.linen as linen
    import jax

    def normalised(x, momentum):
        norm = linen.BatchNorm(use_running_average=False, momentum=momentum)
        y, state = norm.apply(norm.init(jax.random.key(0), x), x, mutable=["batch_stats"])
        return y, state["batch_stats"]

    def fan():
        """1 / the variance of the weights that are drawn, which is 1 / fan_in."""
        layer = linen.ConvTranspose(8, (3, 3))
        weight = layer.init(jax.random.key(0), np.zeros((1, 5, 5, GROUPS), np.float32))["params"]["kernel"]
        return min((72, 576), key=lambda fan: abs(fan - 1 / weight.var()))

    column = np.array([[1.0], [2.0], [3.0]], np.float32)
    return {
        "remembered of 1, 2, 3": lambda: normalised(column, 0.0)[1]["var"],
        "share of the old at momentum 0.1": lambda: 1 - normalised(column, 0.1)[1]["mean"] / 2,
        "fan_in": fan,
        "deviation afterwards": lambda: normalised(BIG, 0.9)[0].std(),
    }


def of_optax() -> Rows:
    import jax.numpy as jnp
    import optax

    adam = optax.adam(0.1)
    return {"first step": lambda: adam.update(jnp.array([1e-8]), adam.init(jnp.zeros(1)))[0]}


def of_keras() -> Rows:
    """On JAX."""
    import keras
    from keras.src.initializers.random_initializers import compute_fans

    def normalised(x, momentum):
        norm = keras.layers.BatchNormalization(momentum=momentum)
        return np.asarray(norm(x, training=True)), norm

    def first_step():
        w, adam = keras.Variable(np.zeros(1, np.float32)), keras.optimizers.Adam(0.1)
        adam.build([w])
        adam.apply([np.array([1e-8], np.float32)])
        return np.asarray(w.value)

    def conv(padding):
        x = np.pad(np.arange(1.0, 5, dtype=np.float32), 0 if padding == "same" else 1)
        return np.asarray(keras.ops.conv(x[None, :, None], np.ones((3, 1, 1), np.float32), 2, padding))

    def resized(x, size, mode):
        return np.asarray(keras.ops.image.resize(x.astype(np.float32)[None, None, :, None], (1, size), mode)).ravel()

    column = np.array([[1.0], [2.0], [3.0]], np.float32)
    return {
        "remembered of 1, 2, 3": lambda: np.asarray(normalised(column, 0.0)[1].moving_variance),
        "share of the old at momentum 0.1": lambda: 1 - np.asarray(normalised(column, 0.1)[1].moving_mean) / 2,
        "same": lambda: conv("same"),
        "padding=1": lambda: conv("valid"),
        "fan_in": lambda: compute_fans((3, 3, 8, GROUPS))[0],
        "first step": first_step,
        "nearest, 6 to 2": lambda: resized(np.arange(6.0), 2, "nearest"),
        "cubic, the first four of 8": lambda: resized(SPIKE, 8, "bicubic")[:4],
        "deviation afterwards": lambda: normalised(BIG, 0.9)[0].std(),
    }


def of_onnxruntime() -> Rows:
    import onnx
    import onnxruntime
    from onnx import helper as h

    def conv(**padding):
        node = h.make_node("Conv", ["x", "w"], ["y"], strides=[2], kernel_shape=[3], **padding)
        w = h.make_tensor("w", onnx.TensorProto.FLOAT, (1, 1, 3), [1.0] * 3)
        ends = [h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 1, n)) for name, n in (("x", 4), ("y", 2))]
        graph = h.make_graph([node], "conv", ends[:1], ends[1:], [w])
        model = h.make_model(graph, ir_version=10, opset_imports=[h.make_opsetid("", 21)])
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"x": np.arange(1.0, 5, dtype=np.float32)[None, None]})[0]

    return {
        "same": lambda: conv(auto_pad="SAME_UPPER"),
        "SAME_LOWER": lambda: conv(auto_pad="SAME_LOWER"),
        "padding=1": lambda: conv(pads=[1, 1]),
    }


def of_pycocotools() -> Rows:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def average_precision(first):
        box = [2.0, 3.0, 20.0, 30.0]
        of = [{"image_id": i, "category_id": 1, "bbox": box, "area": 600.0, "iscrowd": 0} for i in (1, 2)]
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i, "width": 64, "height": 64} for i in (1, 2)],
            "annotations": [entry | {"id": first + i} for i, entry in enumerate(of)],
            "categories": [{"id": 1, "name": "object"}],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([{**entry, "score": 0.9} for entry in of]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation.stats[0]

    return {"ids 1 and 2": lambda: average_precision(1), "ids 0 and 1": lambda: average_precision(0)}


def of_captum() -> Rows:
    import torch
    from captum.attr import Deconvolution, GuidedBackprop

    class Shortcut(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = torch.nn.ReLU()

        def forward(self, x):
            h = 3 * x
            return 2 * h - self.relu(h)

    def attributed(method):
        return method(Shortcut()).attribute(torch.ones(1, 1, requires_grad=True), target=0).item()

    return {"guided": lambda: attributed(GuidedBackprop), "deconvnet": lambda: attributed(Deconvolution)}


MEASURES: dict[str, Callable[[], Rows]] = {
    "minidl": lambda: OURS, "PyTorch": of_torch, "JAX": of_jax, "Flax": of_flax, "Optax": of_optax, "Keras": of_keras,
    "onnxruntime": of_onnxruntime, "pycocotools": of_pycocotools, "Captum": of_captum,
}  # fmt: skip
