"""Functions of tensors, one a line: value, first and second derivative are those of torch, in double precision."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

from minidl import functional as F  # noqa: E402
from tests.reference.test_core import agree  # noqa: E402

pytestmark = pytest.mark.reference
T = torch.nn.functional

POINTS = np.array([[-9.0, -3, -2, -1, -0.5, -0.0], [1e-9, 0.5, 1, 1.5, 2.5, 6]])  # corners, halves, tails
CLASSES = np.array([[0, 3, 2], [1, 1, -100]])  # the last is ignored
WEIGHT = np.array([0.5, 2.0, 1.0, 3.0])
ALIKE = np.array([1, -1, 1])

ENTRY_BY_ENTRY = {  # function, options
    "gelu": [{}, {"approximate": "tanh"}],
    "silu": [{}],
    "mish": [{}],
    "selu": [{}],
    "relu6": [{}],
    "hardtanh": [{}, {"min_val": -2.0, "max_val": 0.5}],
    "hardsigmoid": [{}],
    "hardswish": [{}],
    "erf": [{}],
    "erfc": [{}],
    "expm1": [{}],
    "sign": [{}],
    "floor": [{}],
    "ceil": [{}],
    "trunc": [{}],
    "round": [{}, {"decimals": 1}],
}
FUNCTIONS = [  # name; shapes of the tensors (a string: one of probabilities); data behind them; options of both
    ("log1p", ["4 5"], (), {}),
    ("layer_norm", [(2, 3, 5)], ((3, 5),), {}),
    ("layer_norm", [(2, 3, 5), None, (5,), (5,)], ((5,),), {"eps": 0.1}),
    ("rms_norm", [(2, 3, 5)], ((5,),), {}),
    ("rms_norm", [(2, 3, 5), None, (3, 5)], ((3, 5),), {"eps": 0.1}),
    ("instance_norm", [(2, 3, 5)], (), {}),
    ("instance_norm", [(2, 3, 4, 2)], (None, None, WEIGHT[1:], WEIGHT[:3]), {"eps": 0.1}),
    ("norm", [(3, 4)], (), {"p": 2.0}),
    ("norm", [(3, 4)], (), {"p": 1.0, "axis": 1}),
    ("norm", [(3, 4)], (), {"p": 1.5, "axis": 0, "keepdims": True}),
    ("norm", [(3, 4)], (), {"p": 3.0, "axis": (0, 1)}),
    ("norm", [(3, 4)], (), {"p": float("inf"), "axis": -1}),
    ("normalize", [(3, 4, 2)], (), {}),
    ("normalize", [(3, 4)], (), {"p": 3.0, "axis": 0}),
    ("cosine_similarity", [(3, 4, 2), (3, 4, 2)], (), {}),
    ("cosine_similarity", [(3, 4), (1, 4)], (), {"axis": -1}),
    ("pairwise_distance", [(3, 4), (3, 4)], (), {}),
    ("pairwise_distance", [(3, 4), (4,)], (), {"p": 3.0, "keepdims": True}),
]
LOSSES = [  # as above; each with every reduction
    ("cross_entropy", [(2, 4, 3)], (CLASSES,), {"label_smoothing": 0.1, "ignore_index": -100}),
    ("cross_entropy", [(2, 4, 3)], (CLASSES,), {"label_smoothing": 0.3, "weight": WEIGHT, "ignore_index": -100}),
    ("cross_entropy", [(2, 4, 3), "2 4 3"], (), {"label_smoothing": 0.1, "weight": WEIGHT}),
    ("cross_entropy", [(4,), "4"], (), {}),
    ("nll_loss", [(2, 4, 3)], (CLASSES,), {"weight": WEIGHT, "ignore_index": -100}),
    ("huber_loss", [(3, 4), (3, 4)], (), {"delta": 0.7}),
    ("binary_cross_entropy", ["3 4", "3 4"], (), {"weight": WEIGHT}),
    ("kl_div", [(3, 4), "3 4"], (), {}),
    ("kl_div", [(3, 4), (3, 4)], (), {"log_target": True}),
    ("triplet_margin_loss", [(3, 4), (3, 4), (3, 4)], (), {}),
    ("triplet_margin_loss", [(3, 4), (3, 4), (3, 4)], (), {"margin": 0.5, "p": 3.0, "swap": True}),
    ("cosine_embedding_loss", [(3, 4), (3, 4)], (ALIKE,), {"margin": -0.5}),
]
GRIDS = [  # options of grid_sample, shapes of x and grid
    ({"mode": mode, "padding_mode": padding, "align_corners": aligned}, shapes)
    for mode in ("nearest", "bilinear", "bicubic")
    for padding in ("zeros", "border", "reflection")
    for aligned in (False, True)
    for shapes in ([(2, 2, 4, 5), (2, 3, 2, 2)], [(1, 2, 1, 3), (1, 2, 2, 2)], [(1, 2, 3, 4, 2), (1, 2, 2, 3, 3)])
    if mode != "bicubic" or len(shapes[0]) == 4
]
TORCHS = {"axis": "dim", "keepdims": "keepdim"}  # torch's words for NumPy's


def as_torch(v):
    return torch.tensor(v) if isinstance(v, np.ndarray) else v


def compare(name, xs, data, options, orders=2):
    """Ours and torch's function of this name, of the tensors xs (None: the data comes first) and the same data."""
    theirs = getattr(T, name, None) or getattr(torch, name)
    their_options = {TORCHS.get(k, k): as_torch(v) for k, v in options.items()}
    k = next((i for i, x in enumerate(xs) if x is None), len(xs))

    def placed(tensors, data):
        return (*tensors[:k], *data, *tensors[k:])

    agree(
        lambda *ts: getattr(F, name)(*placed(ts, data), **options),
        lambda *ts: theirs(*placed(ts, [as_torch(v) for v in data]), **their_options),
        [x for x in xs if x is not None],
        orders,
    )


def drawn(shapes):
    rng = np.random.default_rng(0)
    return [
        rng.uniform(0.05, 0.95, tuple(map(int, s.split()))) if isinstance(s, str) else s and rng.standard_normal(s)
        for s in shapes
    ]


@pytest.mark.parametrize("name", ENTRY_BY_ENTRY)
def test_entry_by_entry(name):
    for options in ENTRY_BY_ENTRY[name]:
        if name == "hardsigmoid":  # torch's derivative has 1/6 in single precision
            agree(F.hardsigmoid, lambda x: T.relu6(x + 3) / 6, [POINTS])
            continue
        compare(name, [3 * np.random.default_rng(0).standard_normal((4, 5))], (), options)
        compare(name, [POINTS], (), options, orders=1 if name == "selu" else 2)  # at 0 torch's second differs


@pytest.mark.parametrize("case", FUNCTIONS, ids=str)
def test_functions(case):
    name, shapes, data, options = case
    compare(name, drawn(shapes), data, options)


@pytest.mark.filterwarnings("ignore:reduction")  # torch advises "batchmean"
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_losses(case, reduction):
    name, shapes, data, options = case
    compare(name, drawn(shapes), data, {**options, "reduction": reduction})


@pytest.mark.parametrize("case", GRIDS, ids=str)
def test_grid_sample(case):
    """torch cannot differentiate its gradient again; that of ours is proved by differences in tests/ops."""
    options, (size, grid) = case
    x = np.random.default_rng(0).standard_normal(size)
    points = np.random.default_rng(1).uniform(-2.6, 2.6, grid)  # far outside, too
    compare("grid_sample", [x, points], (), options, orders=1)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 1, 3), (1, 2, 3, 4, 2)])
def test_affine_grid(size, aligned):
    rank = len(size) - 2
    theta = np.random.default_rng(0).standard_normal((size[0], rank, rank + 1))
    compare("affine_grid", [theta], (size,), {"align_corners": aligned})
