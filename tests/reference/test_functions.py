"""Functions of tensors, one a line: value, first and second derivative are those of torch, in double precision."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

import minidl as md  # noqa: E402
from minidl import functional as F  # noqa: E402
from tests.reference.test_core import agree  # noqa: E402

pytestmark = pytest.mark.reference
T = torch.nn.functional

POINTS = np.array([[-9.0, -3, -2, -1, -0.5, -0.0], [1e-9, 0.5, 1, 1.5, 2.5, 6]])  # corners, halves, tails
CLASSES = np.array([[0, 3, 2], [1, 1, -100]])  # the last is ignored
WEIGHT = np.array([0.5, 2.0, 1.0, 3.0])
PLACES = np.array([[0, 3, 2, 2, 0], [1, 1, 3, 0, 2]])
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
    ("cumsum", [(3, 4)], (), {"axis": 1}),
    ("gather", [(3, 4)], (1, PLACES), {}),
    ("gather", [(3, 4)], (0, PLACES[:, :4] % 3), {}),
    ("scatter", [(3, 4), None, (2, 2)], (1, PLACES[:, [0, 2]]), {}),
    ("scatter", [(3, 4)], (-1, PLACES, 0.5), {}),
    ("scatter_add", [(3, 4), None, (2, 5)], (1, PLACES), {}),
    ("masked_fill", [(2, 4)], (PLACES[:, :4] > 1, -2.0), {}),
    ("roll", [(3, 4)], (2, 1), {}),
    ("roll", [(3, 4)], ((1, -7), (0, 1)), {}),
    ("roll", [(3, 4)], (5,), {}),
    ("tile", [(3, 4)], ((2,),), {}),
    ("tile", [(3, 4)], ((2, 1, 3),), {}),
    ("pixel_shuffle", [(2, 8, 3, 2)], (2,), {}),
    ("pixel_shuffle", [(9, 2, 3)], (3,), {}),
    ("pixel_unshuffle", [(2, 3, 4, 6)], (2,), {}),
    ("channel_shuffle", [(2, 6, 3, 2)], (3,), {}),
]
PARTS = [  # of these the functions give several: name, arguments, options; of a tensor (5, 4)
    ("split", (2,), {}),
    ("split", ([1, 3],), {"axis": 1}),
    ("chunk", (3,), {}),
    ("chunk", (4,), {"axis": -1}),
    ("sort", (), {}),
    ("sort", (), {"axis": 0, "descending": True}),
    ("topk", (2,), {}),
    ("topk", (3,), {"axis": 0, "largest": False}),
]
EQUATIONS = {  # with the shapes of the operands
    "ij->ji": [(2, 3)],
    "ij->": [(2, 3)],
    "ii->i": [(3, 3)],
    "iij": [(3, 3, 2)],
    "i,i": [(3,), (3,)],
    "i,j->ij": [(3,), (2,)],
    "ij,jk": [(2, 3), (3, 4)],
    "bij,bkj->bik": [(2, 3, 4), (2, 2, 4)],
    "ncij,fc->nfij": [(2, 3, 2, 2), (4, 3)],
    "...ij,...jk->...ik": [(2, 3, 4), (5, 1, 4, 2)],
    "i...,i->...": [(3, 2, 2), (3,)],
    "bn,anm,bm->ba": [(2, 3), (4, 3, 5), (2, 5)],
    "ij,ij,ij->j": [(2, 3), (2, 3), (1, 3)],
    "Ab,bA": [(2, 3), (3, 2)],
}
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


@pytest.mark.parametrize("case", PARTS, ids=str)
def test_functions_that_give_several(case):
    name, arguments, options = case
    x = np.random.default_rng(0).standard_normal((5, 4))
    theirs = {TORCHS.get(k, k): v for k, v in options.items()}
    count = len(getattr(F, name)(x, *arguments, **options))
    assert count == len(getattr(torch, name)(torch.tensor(x), *arguments, **theirs))
    for i in range(count):
        agree(
            lambda x: getattr(F, name)(x, *arguments, **options)[i],  # noqa: B023
            lambda x: getattr(torch, name)(x, *arguments, **theirs)[i],  # noqa: B023
            [x],
        )


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation):
    agree(
        lambda *xs: F.einsum(equation, *xs), lambda *xs: torch.einsum(equation, *xs), drawn(EQUATIONS[equation])
    )  # fmt: skip


def test_positions_and_questions():
    x = np.random.default_rng(0).integers(0, 4, (5, 6)).astype(float)
    t, z = md.Tensor(x), torch.tensor(x)
    for axis, keepdims in ((None, False), (0, False), (-1, True)):
        y = np.random.default_rng(1).standard_normal((5, 6))  # none are equal
        for name in ("argmax", "argmin"):
            theirs = getattr(torch.tensor(y), name)(axis, keepdims)
            assert (getattr(md.Tensor(y), name)(axis, keepdims).numpy() == theirs.numpy()).all()
    for name in ("any", "all"):
        assert getattr(t, name)().item() == getattr(z, name)().item()
        assert (getattr(t > 1, name)(1).numpy() == getattr(z > 1, name)(1).numpy()).all()
    for descending in (False, True):
        order = z.sort(dim=1, descending=descending, stable=True).indices
        assert (t.argsort(1, descending).numpy() == order.numpy()).all()
    classes = np.array([[0, 2], [1, 2]])
    assert (F.one_hot(classes).numpy() == T.one_hot(torch.tensor(classes)).numpy()).all()
    assert (F.one_hot(classes, 4).numpy() == T.one_hot(torch.tensor(classes), 4).numpy()).all()
    np.testing.assert_allclose(t.std(1, ddof=1), z.std(1))
    agree(lambda x: F.std(x, 0, ddof=1), lambda x: torch.std(x, 0), [x + np.eye(5, 6)])
