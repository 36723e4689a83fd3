"""Losses and scores of segmentation against naive loops and golden numbers; weights near borders, deformation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from tasks.segment import LOSSES, augment, labels, losses, metrics, probabilities
from tasks.segment import confusion as confusion_matrix

P, G = np.array([[0.8, 0.4], [0.2, 0.1]]), np.array([[1, 1], [0, 0]])  # probabilities and truth of a tiny image


def drawn(classes, *, maps=None, n=2, size=(4, 5), seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, maps or classes, *size)), rng.integers(classes, size=(n, *size))


def probability(logits):
    """Of each class at each pixel, by the definition: (N, K, H, W), K = 2 for one map."""
    x = np.concatenate([np.zeros_like(logits), logits], axis=1) if logits.shape[1] == 1 else logits
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)


# --- golden numbers


def test_soft_and_hard_overlap_of_the_tiny_image():
    u = md.tensor(np.log(P / (1 - P))[None, None], requires_grad=True)
    loss = losses.dice(u, G[None])
    loss.backward()
    assert abs(loss.item() + 0.842105) < 5e-7
    np.testing.assert_allclose(u.grad.data[0, 0], [[-0.036639, -0.111690], [0.018910, 0.005319]], atol=5e-7)
    assert abs(u.grad.data.sum() + 0.124100) < 5e-7
    assert abs(losses.dice(u, G[None], denominator="linear").item() + 0.685714) < 5e-7
    matrix = confusion_matrix(labels(u)[0], G, 2)
    np.testing.assert_array_equal(matrix, [[2, 0], [1, 1]])
    assert (metrics.dice(matrix)[1], metrics.iou(matrix)[1], metrics.pixel_accuracy(matrix)) == (2 / 3, 1 / 2, 3 / 4)


# --- losses against loops


@settings(max_examples=30, deadline=None)
@given(
    classes=st.integers(2, 4), single=st.booleans(), weighted=st.booleans(), per_pixel=st.booleans(),
    ignored=st.sampled_from([None, 0, 1, 255, -1]), seed=st.integers(0, 99),
)  # fmt: skip
def test_cross_entropy_and_focal_loss_are_their_formulas(classes, single, weighted, per_pixel, ignored, seed):
    classes = 2 if single else classes
    x, t = drawn(classes, maps=1 if single else None, seed=seed)
    rng = np.random.default_rng(seed + 1)
    if ignored is not None:
        t[rng.random(t.shape) < 0.3] = ignored
    weight = rng.random(classes) + 0.5 if weighted else None
    pixel_weight = rng.random(t.shape) if per_pixel else None
    entropy = total = focal = n = 0.0
    p = probability(x)
    for position in np.ndindex(t.shape):
        if t[position] == ignored:
            continue
        own = p[position[0], t[position], position[1], position[2]]
        w = weight[t[position]] if weighted else 1.0
        focal += -w * (1 - own) ** 1.5 * np.log(own)
        n += 1
        w *= pixel_weight[position] if per_pixel else 1.0
        entropy += -w * np.log(own)
        total += w
    options = {"weight": weight, "ignore_index": ignored}
    ours = losses.cross_entropy(md.Tensor(x), t, pixel_weight=pixel_weight, **options)
    np.testing.assert_allclose(ours.item(), entropy / total if total else 0, rtol=1e-10)
    np.testing.assert_allclose(losses.focal(md.Tensor(x), t, gamma=1.5, **options).item(), focal / max(n, 1), rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    classes=st.integers(2, 4), single=st.booleans(), background=st.booleans(), linear=st.booleans(),
    reduction=st.sampled_from(["mean", "sum", "pooled"]), ignored=st.sampled_from([None, 0, 255]),
    eps=st.sampled_from([0.0, 1.0]), seed=st.integers(0, 99),
)  # fmt: skip
def test_dice_is_its_formula(classes, single, background, linear, reduction, ignored, eps, seed):
    classes, background = (2, False) if single else (classes, background)
    x, t = drawn(classes, maps=1 if single else None, n=3, seed=seed)
    if ignored is not None:
        t[np.random.default_rng(seed).random(t.shape) < 0.3] = ignored
    p, kept = probability(x), t != ignored
    chosen = range(0 if background else 1, classes)
    overlap, total = np.zeros((3, len(chosen))), np.zeros((3, len(chosen)))
    for i, (j, c) in itertools.product(range(3), enumerate(chosen)):
        for m, n in np.ndindex(4, 5):
            if kept[i, m, n]:
                q, g = p[i, c, m, n], float(t[i, m, n] == c)
                overlap[i, j] += q * g
                total[i, j] += q + g if linear else q * q + g * g
    if reduction == "pooled":
        overlap, total = overlap.sum(axis=0), total.sum(axis=0)
    none = total + eps == 0  # nothing counts in that image: nothing found where nothing is
    values = np.where(none, -1.0, -(2 * overlap + eps) / (total + eps + none))
    options = {"background": background, "ignore_index": ignored, "eps": eps}
    ours = losses.dice(
        md.Tensor(x), t, reduction=reduction, denominator="linear" if linear else "squared", **options
    )
    np.testing.assert_allclose(ours.item(), values.sum() if reduction == "sum" else values.mean(), rtol=1e-10)


def test_losses_by_name():
    x, t = (md.Tensor(a) if a.dtype.kind == "f" else a for a in drawn(3))
    wanted = {
        "cross-entropy": losses.cross_entropy(x, t), "dice": losses.dice(x, t), "focal": losses.focal(x, t),
        "dice-linear": losses.dice(x, t, denominator="linear"), "dice-pooled": losses.dice(x, t, reduction="pooled"),
        "cross-entropy+dice": (losses.dice(x, t, eps=1.0) + losses.cross_entropy(x, t)) / 2,
    }  # fmt: skip
    assert {name: loss(x, t).item() for name, loss in LOSSES.items()} == {n: y.item() for n, y in wanted.items()}
    assert len({round(y.item(), 6) for y in wanted.values()}) == len(LOSSES)
    weights = np.random.default_rng(0).random(t.shape)
    entropy = losses.cross_entropy(x, t, weight=[1, 2, 3], pixel_weight=weights)
    mixed = losses.cross_entropy_dice(
        x, t, share=0.2, eps=0.5, weight=[1, 2, 3], pixel_weight=weights, background=True
    )
    both = 0.2 * losses.dice(x, t, eps=0.5, background=True).item() + 0.8 * entropy.item()
    assert abs(mixed.item() - both) < 1e-12


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("maps", [1, 3])
def test_what_is_ignored_has_no_influence_and_no_gradient(name, maps):
    x, t = drawn(max(maps, 2), maps=maps)
    hidden = np.random.default_rng(1).random(t.shape) < 0.4
    t[hidden] = 255
    other = np.where(hidden[:, None], 50.0, x)
    first, second = (md.tensor(v, requires_grad=True) for v in (x, other))
    values = [LOSSES[name](v, t, ignore_index=255) for v in (first, second)]
    assert abs(values[0].item() - values[1].item()) < 1e-12
    values[0].backward()
    gradient = np.moveaxis(first.grad.data, 1, -1)
    assert not gradient[hidden].any() and gradient[~hidden].all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("maps", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_gradients_are_right_and_finite_however_large_the_logits(name, maps, scale):
    x, t = drawn(max(maps, 2), maps=maps, n=1, size=(2, 3))
    if scale == 1.0:
        assert md.gradcheck(lambda v: LOSSES[name](v, t), md.tensor(x, requires_grad=True))
    v = md.tensor((x * scale).astype(np.float32), requires_grad=True)
    y = LOSSES[name](v, t)
    y.backward()
    assert np.isfinite(y.item()) and np.isfinite(v.grad.data).all()
    assert y.dtype == v.grad.dtype == np.float32 and y.shape == ()


def test_one_map_stands_for_two():
    x, t = drawn(2, maps=1)
    two = np.concatenate([np.zeros_like(x), x], axis=1)
    for loss in LOSSES.values():
        np.testing.assert_allclose(loss(md.Tensor(x), t).item(), loss(md.Tensor(two), t).item(), rtol=1e-12)
    np.testing.assert_array_equal(labels(x), labels(two))
    np.testing.assert_allclose(probabilities(md.Tensor(x)).data[:, 0], probability(x)[:, 1], rtol=1e-12)
    np.testing.assert_allclose(probabilities(md.Tensor(two)).data, probability(x), rtol=1e-12)
    # and the losses of one map that the engine has are these
    f = t[:, None].astype(float)
    np.testing.assert_allclose(
        losses.cross_entropy(md.Tensor(x), t).item(), F.binary_cross_entropy_with_logits(md.Tensor(x), f).item()
    )
    np.testing.assert_allclose(
        losses.focal(md.Tensor(x), t, weight=(0.75, 0.25)).item(), F.sigmoid_focal_loss(md.Tensor(x), f).item()
    )


def test_traps_of_dice():
    empty = np.zeros((1, 2, 2), int)
    u = md.tensor(np.zeros((1, 1, 2, 2)), requires_grad=True)
    (gradient,) = md.grad(losses.dice(u, empty), [u])
    assert not gradient.data.any()  # nothing is there: whatever is predicted overlaps by 0
    (gradient,) = md.grad(losses.dice(u, empty, eps=1.0), [u])
    assert (gradient.data > 0).all()  # with eps what is predicted in vain is pushed down
    missed = md.tensor(np.full((1, 1, 1, 1), -30.0), requires_grad=True)
    there = np.ones((1, 1, 1), int)
    (gradient,) = md.grad(losses.dice(missed, there), [missed])
    assert abs(gradient.item()) < 1e-12
    (gradient,) = md.grad(losses.cross_entropy(missed, there), [missed])
    assert abs(gradient.item() + 1) < 1e-12


def test_pooling_weighs_images_by_their_size():
    """A large object and one of 4 pixels, both found with probability 0.7 and 0.1 elsewhere."""
    t = np.zeros((2, 20, 20), int)
    t[0, 2:18, 2:18] = 1
    t[1, 9:11, 9:11] = 1
    x = np.log(np.where(t, 0.7 / 0.3, 0.1 / 0.9))[:, None]
    u = md.tensor(x, requires_grad=True)
    (apart,), (pooled,) = (md.grad(losses.dice(u, t, reduction=r), [u]) for r in ("mean", "pooled"))
    assert losses.dice(u, t).item() > losses.dice(u, t, reduction="pooled").item() + 0.1
    assert abs(apart.data[1, 0, 9, 9]) > 5 * abs(pooled.data[1, 0, 9, 9])


@pytest.mark.parametrize("call, error, message", [
    (lambda x, t: losses.dice(x, t[:, 1:]), ValueError, r"got \(2, 1, 4, 5\) and \(2, 3, 5\); a network without"),
    (lambda x, t: losses.focal(x, t.astype(float)), TypeError, "must be integers, got float64"),
    (lambda x, t: losses.dice(x, t, background=True), ValueError, "needs a map of logits for class 0"),
    (lambda x, t: losses.cross_entropy(x, t, pixel_weight=np.ones(3)), ValueError, r"pixel_weight has shape \(3,\)"),
])  # fmt: skip
def test_what_a_loss_refuses(call, error, message):
    x, t = drawn(2, maps=1)
    with pytest.raises(error, match=message):
        call(md.Tensor(x), t)


# --- scores


@settings(max_examples=60, deadline=None)
@given(classes=st.integers(1, 4), ignored=st.sampled_from([None, 0, 255]), seed=st.integers(0, 999))
def test_scores_are_those_of_the_sets_of_pixels(classes, ignored, seed):
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(classes, size=(2, 3, 4))
    if ignored is not None:
        truth[rng.random(truth.shape) < 0.3] = ignored
    matrix = confusion_matrix(guess.astype(np.uint8), truth, classes, ignore_index=ignored)
    counted = [i for i in np.ndindex(truth.shape) if truth[i] != ignored]
    wanted = np.zeros((classes, classes), int)
    for i in counted:
        wanted[truth[i], guess[i]] += 1
    np.testing.assert_array_equal(matrix, wanted)
    dice, iou, filled = metrics.dice(matrix), metrics.iou(matrix), metrics.dice(matrix, empty=1.0)
    for c in range(classes):
        a, b = ({i for i in counted if of[i] == c} for of in (truth, guess))
        if not a | b:
            assert np.isnan(dice[c]) and np.isnan(iou[c]) and filled[c] == 1
            continue
        assert dice[c] == filled[c] == 2 * len(a & b) / (len(a) + len(b))
        assert iou[c] == len(a & b) / len(a | b)
        assert abs(dice[c] - metrics.dice_from_iou(iou[c])) < 1e-15  # D = 2 J / (1 + J)
        assert abs(iou[c] - metrics.iou_from_dice(dice[c])) < 1e-15
    right = [truth[i] == guess[i] for i in counted]
    np.testing.assert_equal(metrics.pixel_accuracy(matrix), np.mean(right) if right else np.nan)


@pytest.mark.parametrize("guess, truth, message", [
    ([0, 1], [0], r"the prediction has shape \(2,\), the target \(1,\)"),
    ([0, 2], [0, 1], "the prediction must hold whole numbers from 0 to 1, got int64 from 0 to 2"),
    ([0, 1], [0, 255], "the target must hold whole numbers from 0 to 1, got int64 from 0 to 255"),
    ([0.0, 1.0], [0, 1], "the prediction must hold whole numbers .*, got float64"),
])  # fmt: skip
def test_what_a_confusion_matrix_refuses(guess, truth, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(guess, truth, 2)


# --- weights of pixels


CELLS = np.array([
    [0, 0, 0, 0, 0, 0, 0],
    [0, 1, 1, 0, 2, 2, 0],
    [0, 1, 1, 0, 2, 2, 0],
    [0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 7],
])  # fmt: skip


def test_border_weights_are_the_papers_formula():
    weights = augment.border_weights(CELLS, w0=3.0, sigma=2.0)
    cells, inside = np.unique(CELLS[CELLS > 0]), CELLS > 0
    for position in np.ndindex(CELLS.shape):
        here = inside[position]
        wanted = CELLS.size / (2 * (inside if here else ~inside).sum())
        if not here:
            distances = sorted(
                min(np.hypot(*np.subtract(position, q)) for q in np.argwhere(cell == CELLS)) for cell in cells
            )
            wanted += 3.0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * 2.0**2))
        assert abs(weights[position] - wanted) < 1e-6
    assert weights.dtype == np.float32 and weights[1, 3] > weights[0, 3] > weights[4, 0]
    assert abs(weights[inside].sum() / weights.size - 0.5) < 1e-6  # cells weigh half


def test_border_weights_of_few_cells():
    one = (CELLS == 1).astype(int)
    weights = augment.border_weights(one, w0=1e6)
    assert set(np.round(weights[one > 0], 5)) == {round(35 / 8, 5)} and len(np.unique(weights)) == 2
    for filled in (np.zeros((2, 3), int), np.ones((2, 3), int)):
        np.testing.assert_array_equal(augment.border_weights(filled), 1)
    with pytest.raises(ValueError, match=r"a mask holds integers, \(H, W\), got float64"):
        augment.border_weights(np.zeros((2, 3)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999))
def test_separated_cells_do_not_touch(seed):
    cells = np.random.default_rng(seed).integers(0, 4, (4, 4)).repeat(3, axis=0).repeat(3, axis=1).astype(np.uint8)
    apart = augment.separated(cells)
    assert apart.dtype == cells.dtype
    for i, j in np.ndindex(cells.shape):
        near = (slice(max(i - 1, 0), i + 2), slice(max(j - 1, 0), j + 2))
        assert apart[i, j] in (0, cells[i, j])
        assert len(set(apart[near].ravel()) - {0, apart[i, j]}) == 0 or not apart[i, j]
        if cells[i, j] and not apart[i, j]:  # only where another cell is next to it
            assert len(set(cells[near].ravel()) - {0}) > 1


# --- deformation


def test_displacements_are_drawn_on_a_coarse_grid_and_smooth_in_between():
    field = augment.displacement((41, 61), rng=3, sigma=10.0)
    np.testing.assert_allclose(field[:, ::20, ::30], np.random.default_rng(3).normal(0, 10, (2, 3, 3)), atol=1e-9)
    second = [np.abs(np.diff(field, 2, axis=axis)).max() for axis in (1, 2)]
    assert field.shape == (2, 41, 61) and max(second) < 0.06 * np.abs(field).max()  # 0.1 at a kink
    draws = np.stack([augment.displacement((3, 3), rng=seed, sigma=4.0) for seed in range(200)])
    assert abs(draws.std() / 4 - 1) < 5 / np.sqrt(2 * draws.size) and abs(draws.mean()) < 5 * 4 / np.sqrt(draws.size)
    with pytest.raises(ValueError, match="a grid of at least 2x2, got 1x1"):
        augment.displacement((3, 3), rng=0, grid=1)


def mirror(i, n):
    """The place in [0, n) that place i is the mirror image of; mirrors stand on the first and the last place."""
    i = abs(i) % (2 * (n - 1))
    return min(i, 2 * (n - 1) - i)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
def test_warping_looks_where_the_field_says(dtype):
    rng = np.random.default_rng(0)
    x = (100 * rng.random((2, 5, 6))).astype(dtype)
    field = rng.uniform(-12, 12, (2, 5, 6))
    wanted = np.zeros((2, 5, 6))
    for c, m, n in np.ndindex(2, 5, 6):
        at = np.array([m, n]) + field[:, m, n]
        if x.dtype.kind != "f":
            wanted[c, m, n] = x[c, mirror(round(at[0]), 5), mirror(round(at[1]), 6)]
            continue
        low = np.floor(at).astype(int)
        for corner in itertools.product((0, 1), (0, 1)):
            share = np.prod(np.where(corner, at - low, 1 - (at - low)))
            wanted[c, m, n] += share * x[c, mirror(low[0] + corner[0], 5), mirror(low[1] + corner[1], 6)]
    y = augment.warp(x, field)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, wanted, rtol=1e-5 if dtype == np.float32 else 1e-9)
    np.testing.assert_array_equal(augment.warp(x[0], field), y[0])


def test_image_and_mask_are_deformed_together_and_by_the_seed_alone():
    mask = np.zeros((50, 40), np.uint8)
    mask[10:30, 5:25] = 3
    mask[35:45, 20:35] = 255
    image = np.stack([mask == 3, mask == 255]).astype(np.float32)
    moved, labelled = augment.elastic(image, mask, rng=5)
    assert set(np.unique(labelled)) == {0, 3, 255} and labelled.dtype == np.uint8
    assert moved.dtype == np.float32 and moved.min() >= 0 and moved.max() <= 1
    for channel, value in zip(moved, (3, 255)):  # linear and nearest interpolation part by half a pixel at edges
        assert (channel[labelled == value] > 0.2).all() and (channel[labelled != value] < 0.8).all()
    assert (labelled != mask).mean() > 0.05
    again, other = (augment.elastic(image, mask, rng=seed)[1] for seed in (5, 6))
    assert np.array_equal(again, labelled) and not np.array_equal(other, labelled)
    still = augment.elastic(image, mask, rng=5, sigma=0.0)
    assert np.array_equal(still[0], image) and np.array_equal(still[1], mask)
    generator = np.random.default_rng(5)  # a generator goes on, a seed starts again
    assert np.array_equal(augment.elastic(image, mask, rng=generator)[1], labelled)
    assert not np.array_equal(augment.elastic(image, mask, rng=generator)[1], labelled)
    with pytest.raises(ValueError, match=r"differ in size: \(50, 40\) and \(40, 50\)"):
        augment.elastic(image, mask.T, rng=0)


@pytest.mark.parametrize("shape, symmetries", [((3, 3), 8), ((3, 4), 4)])
def test_turning_gives_each_symmetry_and_keeps_the_shape(shape, symmetries):
    mask = np.arange(np.prod(shape)).reshape(shape)
    image = np.stack([mask, -mask]).astype(float)
    found = set()
    for seed in range(60):
        x, t = augment.turned(image, mask, rng=seed)
        np.testing.assert_array_equal(x, np.stack([t, -t]))
        assert t.shape == shape and t.dtype == mask.dtype and t.flags.c_contiguous
        found.add(t.tobytes())
    square = [np.rot90(m, k) for m in (mask, mask[:, ::-1]) for k in range(4)]
    assert found == {m.tobytes() for m in square if m.shape == shape} and len(found) == symmetries


def test_augmented_is_both_from_one_stream():
    mask = (np.indices((20, 20)).sum(axis=0) // 4).astype(np.int32)
    image = mask.astype(np.float32)
    rng = np.random.default_rng(2)
    wanted = augment.turned(*augment.elastic(image, mask, rng=rng, sigma=3.0, grid=4), rng=rng)
    for ours, theirs in zip(augment.augmented(image, mask, rng=2, sigma=3.0, grid=4), wanted):
        np.testing.assert_array_equal(ours, theirs)
    x, t = augment.augmented(image, mask, rng=2, sigma=0)
    np.testing.assert_array_equal(x, t)
