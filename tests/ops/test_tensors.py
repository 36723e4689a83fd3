"""Order, gathering, pieces, shuffles, running sums, einsum: NumPy's values, ties, repeats, refusals."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 5))
TIES = np.array([[2.0, 1, 2, np.nan, 0], [1, 1, 1, 0, 1]])


@pytest.mark.parametrize("dtype", ["f8", "i8", "u1"])
@pytest.mark.parametrize("axis", [0, -1])
def test_sorting_keeps_the_order_of_equal_entries(dtype, axis):
    x = np.nan_to_num(TIES).astype(dtype) if dtype != "f8" else TIES
    for descending in (False, True):
        values, order = F.sort(md.Tensor(x), axis, descending)
        key = -x.astype(float) if descending else x
        expected = np.argsort(np.where(np.isnan(key), -np.inf if descending else np.inf, key), axis, kind="stable")
        assert (order.numpy() == expected).all() and values.dtype == dtype
        np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, expected, axis))
        best, where = md.Tensor(x).topk(2, axis, descending)
        np.testing.assert_array_equal(best.numpy(), values.numpy().take(range(2), axis))
        assert (where.numpy() == order.numpy().take(range(2), axis)).all()
    assert F.sort(md.tensor(3.0)).values.item() == 3 and F.argsort(md.tensor(3.0)).item() == 0


def test_positions_of_extremes_and_questions_are_numpys():
    x = md.Tensor(X)
    for axis, keepdims in ((None, False), (1, True), (-1, False)):
        for name in ("argmax", "argmin", "any", "all"):
            ours, theirs = (getattr(v > 0, name)(axis=axis, keepdims=keepdims) for v in (x, X))
            np.testing.assert_array_equal(ours, theirs)
    assert F.any(x, (0, 2)).shape == (4,) and F.all(x).item() is True
    np.testing.assert_allclose(x.std((0, 2), True, 1), X.std((0, 2), keepdims=True, ddof=1), rtol=1e-14)
    flat = md.tensor([2.0, 2.0], requires_grad=True)
    assert md.grad(flat.std(), flat)[0].tolist() == [0, 0]


def test_the_gradient_of_a_sorted_entry_goes_to_where_it_stood():
    x = md.tensor(X[0], requires_grad=True)
    g = RNG.normal(size=X[0].shape)
    assert (md.grad(x.sort(0).values, x, g)[0].numpy() == np.take_along_axis(g, X[0].argsort(0).argsort(0), 0)).all()


def test_scatter_takes_the_last_of_several_and_gradients_follow():
    x, src = (md.tensor(v, requires_grad=True) for v in (X[0], X[1]))
    index = [[0, 2, 0], [4, 4, 4]]
    y = F.scatter(x, 1, index, src)
    expected = X[0].copy()
    for i in range(2):
        for j in range(3):
            expected[i, index[i][j]] = X[1, i, j]
    assert (y.numpy() == expected).all()
    gx, gs = md.grad(y.sum(), [x, src])
    assert (gx.numpy() == (expected == X[0])).all()
    assert gs.numpy()[:2, :3].tolist() == [[0, 1, 1], [0, 0, 1]] and gs.numpy().sum() == 3
    assert x.scatter(0, np.zeros((0, 5), int), src).tolist() == x.tolist()
    added = X[0].copy()
    np.add.at(added, (np.arange(2)[:, None], np.array(index)), X[1, :2, :3])
    np.testing.assert_allclose(x.scatter_add(1, index, src).numpy(), added, rtol=1e-15)
    assert (F.gather(y, 1, index).numpy() == np.take_along_axis(expected[:2], np.array(index), 1)).all()


def test_masks_and_one_hot_vectors():
    x = md.tensor(X[0], requires_grad=True, dtype="f")
    y = x.masked_fill(X[0, 0] > 0, -np.inf)
    assert y.dtype == np.float32 and ((y.numpy() == -np.inf) == (X[0, 0] > 0)).all()
    assert (md.grad(y.sum(), x)[0].numpy() == (X[0, 0] <= 0)).all()
    assert F.one_hot([[0, 2]]).tolist() == [[[1, 0, 0], [0, 0, 1]]] and F.one_hot([], 3).shape == (0, 3)


def test_pieces_turns_and_repetitions_are_numpys():
    x = md.Tensor(X)
    for parts, expected in (
        (x.split(2, 1), np.split(X, [2], 1)),
        (F.split(x, [1, 0, 4], -1), np.split(X, [1, 1], -1)),
        (x.chunk(3, -1), np.split(X, [2, 4], -1)),
        (F.chunk(x[:0], 3), [X[:0]]),
    ):
        assert [p.tolist() for p in parts] == [e.tolist() for e in expected]
    for shifts, axis in ((2, None), (-1, 0), ((7, 2), (1, -1))):
        assert (x.roll(shifts, axis).numpy() == np.roll(X, shifts, axis)).all()
    for reps in (2, (2, 1), (2, 1, 1, 3), (0,)):
        assert (x.tile(reps).numpy() == np.tile(X, reps)).all()


def test_shuffles_are_their_formulas():
    x, r = RNG.normal(size=(2, 8, 3, 2)), 2
    y = nn.PixelShuffle(r)(md.Tensor(x))
    for c, h, w, i, j in np.ndindex(2, 3, 2, r, r):
        assert (y.numpy()[:, c, r * h + i, r * w + j] == x[:, r * r * c + r * i + j, h, w]).all()
    assert (nn.PixelUnshuffle(r)(y).numpy() == x).all() and F.pixel_shuffle(x[0], r).shape == (2, 6, 4)
    dealt = nn.ChannelShuffle(4)(md.Tensor(x)).numpy()
    for k, i in np.ndindex(2, 4):
        assert (dealt[:, 4 * k + i] == x[:, i * 2 + k]).all()


def test_running_sums_are_exact_in_single_precision():
    x = np.full(200_000, 0.1, np.float32)
    y = F.cumsum(md.Tensor(x), 0)
    assert y.dtype == np.float32 and abs(y.numpy()[-1] / (x.sum(dtype=float)) - 1) < 1e-7
    assert F.cumsum(md.Tensor(np.full(300, 200, np.uint8)), 0).numpy()[-1] == 60000


@pytest.mark.parametrize("equation, shapes", [
    ("ij,jk->ki", [(2, 3), (3, 4)]), ("bij,bjk", [(2, 3, 4), (2, 4, 5)]), ("iji->j", [(3, 2, 3)]),
    ("...i,...i->...", [(2, 3), (4, 1, 3)]), ("i...,j", [(2, 3), (4,)]), ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 2)]),
    ("a,a,a->", [(3,)] * 3), ("nchw,fc->nfhw", [(2, 3, 4, 5), (6, 3)]), ("ij,kl->", [(2, 3), (4, 5)]),
    ("ij->ij", [(0, 3)]), ("ij,jk->ik", [(2, 0), (0, 3)]), (",i->i", [(), (3,)]),
])  # fmt: skip
def test_einsum_is_numpys(equation, shapes):
    xs = [RNG.normal(size=s) for s in shapes]
    y = F.einsum(equation, *map(md.Tensor, xs))
    np.testing.assert_allclose(y.numpy(), np.einsum(equation, *xs), rtol=1e-12, atol=1e-12)
    assert F.einsum(equation, [x.astype("f") for x in xs]).dtype == np.float32


def test_einsum_repeats_an_axis_of_length_1():
    a, b = RNG.normal(size=(2, 1)), RNG.normal(size=(3, 4))
    np.testing.assert_allclose(F.einsum("ij,jk->ik", a, b), np.repeat(a, 3, 1) @ b, rtol=1e-12)


@pytest.mark.parametrize("error, f, message", [
    (ValueError, lambda x: F.einsum("ij,jk", x), "is for 2 operands, got 1"),
    (ValueError, lambda x: F.einsum("ij", x), "'ij' does not fit an operand of 3 axes"),
    (ValueError, lambda x: F.einsum("ijk,ij->k", x, x[0]), "'i' is 3 long and 4 long"),
    (ValueError, lambda x: F.einsum("ijk->l", x), "the result has 'l', no operand has"),
    (ValueError, lambda x: F.einsum("ijk->ii", x), "those of the result each once"),
    (ValueError, lambda x: F.argmax(x[:0], 0), r"argmax over nothing: shape \(0, 4, 5\), axis 0"),
    (ValueError, lambda x: F.topk(x, 6), "topk: k=6 of axis 2, which has 5 entries"),
    (ValueError, lambda x: F.gather(x, 0, [0]), r"the index has shape \(1,\); it needs 3 axes"),
    (IndexError, lambda x: F.gather(x, 0, [[[-1]]]), "names positions -1 to -1, axis 0 .* has 0 to 2"),
    (TypeError, lambda x: F.gather(x, 0, [[[0.5]]]), "must hold integers, got float64"),
    (ValueError, lambda x: F.scatter(x, 0, [[[1, 1]]], x[:, :, :1]), r"src has shape \(3, 4, 1\)"),
    (TypeError, lambda x: F.masked_fill(x, X, 0), "must hold True and False, got float64"),
    (ValueError, lambda x: F.masked_fill(x, X[0, :3] > 0, 0), r"the mask \(3, 5\) must broadcast to x \(3, 4, 5\)"),
    (IndexError, lambda x: F.one_hot([0, 3], 3), "the classes are 0 to 3, 3 classes are 0 to 2"),
    (ValueError, lambda x: F.split(x, 0), "a length of 1 or more, got 0"),
    (ValueError, lambda x: F.split(x, [1, 1]), r"pieces of \[1, 1\] make 2, axis 0 of x \(3, 4, 5\) has 3"),
    (ValueError, lambda x: F.chunk(x, 0), "chunks must be 1 or more, got 0"),
    (ValueError, lambda x: F.roll(x, (1, 2), 0), r"2 shifts, \(1, 2\), for 1 axes"),
    (ValueError, lambda x: F.tile(x, -1), r"must be 0 or more, got \(-1,\)"),
    (ValueError, lambda x: F.pixel_shuffle(x, 2), r"3 channels of x \(3, 4, 5\) do not divide by 2\^2 = 4"),
    (ValueError, lambda x: F.pixel_unshuffle(x, 2), r"4 x 5 pixels .* do not divide by 2 x 2"),
    (ValueError, lambda x: F.channel_shuffle(x, 3), "does not divide into 3 groups"),
])  # fmt: skip
def test_refusals(error, f, message):
    with pytest.raises(error, match=message):
        f(md.Tensor(X))
