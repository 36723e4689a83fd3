"""Norms, distances, angles, and losses of probabilities: SciPy's values, zeros, half precision, refusals."""

import numpy as np
import pytest
from scipy.spatial import distance
from scipy.special import rel_entr

import minidl as md
from minidl import functional as F
from minidl import nn

RNG = np.random.default_rng(0)
A, B, C = RNG.normal(size=(3, 4, 5))
P, Q = RNG.uniform(0.1, 0.9, size=(2, 4, 5))


def close(ours, expected, tolerance=1e-12):
    np.testing.assert_allclose(np.asarray(ours), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, np.inf])
def test_norms_are_numpys_and_flat_at_0(p):
    x = np.where(RNG.random(A.shape) < 0.3, 0, A)
    x[1] = 0
    for axis, keepdims in ((0, False), (-1, True)):
        close(F.norm(md.Tensor(x), p, axis, keepdims), np.linalg.norm(x, p, axis, keepdims))
    close(md.Tensor(x).norm(p), np.linalg.norm(x.ravel(), p))
    t = md.tensor(x, requires_grad=True)
    y = F.norm(t, p, 1)
    if p:
        (g,) = md.grad(y.sum(), t, create_graph=True)
        assert (g.numpy()[1] == 0).all() and np.isfinite(g.numpy()).all()
        if g.requires_grad:
            (h,) = md.grad((g * A).sum(), t, allow_unused=True)
            assert h is None or np.isfinite(h.numpy()).all()


def test_half_precision_does_not_overflow():
    x = md.tensor(np.full((300, 300), 1, np.float16), requires_grad=True)
    y = x.norm()
    assert y.dtype == np.float16 and y.item() == 300
    assert F.normalize(x * 200, axis=0).dtype == np.float16 and np.isfinite(F.normalize(x * 200).numpy()).all()


def test_angles_and_distances_are_scipys():
    rows = list(zip(A, B))
    a, b = md.Tensor(A), md.Tensor(B)
    close(nn.CosineSimilarity()(a, b), [1 - distance.cosine(*r) for r in rows])
    close(F.cosine_similarity(a.T, b.T, axis=0), [1 - distance.cosine(*r) for r in rows])
    close(nn.PairwiseDistance(3, 0.0)(a, b), [distance.minkowski(*r, 3) for r in rows])
    close(F.normalize(a, axis=0).norm(axis=0), np.ones(5))
    assert F.normalize(a * 0).tolist() == (0 * A).tolist()


def test_losses_of_vectors():
    near, far, other = (np.linalg.norm(x - y + 1e-6, axis=1) for x, y in ((A, B), (A, C), (B, C)))
    a, b, c = md.Tensor(A), md.Tensor(B), md.Tensor(C)
    close(F.triplet_margin_loss(a, b, c, reduction="none"), np.maximum(near - far + 1, 0))
    close(nn.TripletMarginLoss(0.5, swap=True)(a, b, c), np.maximum(near - np.minimum(far, other) + 0.5, 0).mean())
    cos, alike = np.array([1 - distance.cosine(*r) for r in zip(A, B)]), [1, -1, -1, 1]
    expected = np.where(np.array(alike) == 1, 1 - cos, np.maximum(cos + 0.5, 0))
    close(nn.CosineEmbeddingLoss(-0.5, reduction="none")(a, b, alike), expected)
    close(F.cosine_embedding_loss(a[0], b[0], 1), 1 - cos[0])
    assert md.gradcheck(lambda a, b: F.cosine_embedding_loss(a, b, [1, -1], margin=-1.5), [A[:2, :2], B[:2, :2]])


def test_losses_of_probabilities():
    p, q = md.Tensor(P), md.Tensor(Q)
    logits = md.Tensor(np.log(P / (1 - P)))
    weight = RNG.uniform(size=5)
    close(nn.BCELoss(weight)(p, q), F.binary_cross_entropy_with_logits(logits, q, weight=weight))
    close(F.binary_cross_entropy(md.tensor([0.0, 1.0, 0.0]), [1, 1, 0], reduction="none"), [100, 0, 0])
    x = md.tensor([0.0, 1.0, 0.5], requires_grad=True)
    close(md.grad(F.binary_cross_entropy(x, [1, 0, 1], reduction="sum"), x)[0], [0, 0, -2])
    close(nn.KLDivLoss(reduction="batchmean")(p.log(), q), rel_entr(Q, P).sum() / 4)
    close(F.kl_div(p.log(), q.log(), log_target=True, reduction="none"), rel_entr(Q, P))
    t = md.tensor([0.0, 1.0], requires_grad=True)
    y = F.kl_div(p[0, :2].log(), t, reduction="sum")
    close(y, -np.log(P[0, 1]))
    assert np.isfinite(md.grad(y, t)[0].numpy()).all()
    log_p = F.log_softmax(logits, 1)
    close(nn.NLLLoss(weight, ignore_index=3)(log_p, [0, 3, 1, 4]),
          nn.CrossEntropyLoss(weight, ignore_index=3)(logits, [0, 3, 1, 4]))  # fmt: skip
    close(F.nll_loss(log_p[0], 2), -log_p[0, 2].item())
    d = np.abs(P - 3 * Q)
    close(nn.HuberLoss(delta=0.5)(p, 3 * Q), np.where(d < 0.5, d * d / 2, 0.5 * (d - 0.25)).mean())


@pytest.mark.parametrize("f, message", [
    (lambda: F.norm(md.Tensor(A), -1), "norm: p must be 0 or more, got -1"),
    (lambda: F.huber_loss(md.Tensor(A), B, delta=0), "huber_loss: delta must be above 0, got 0"),
    (lambda: F.huber_loss(md.Tensor(A), B[0]), r"huber_loss: the target has shape \(5,\), the input \(4, 5\)"),
    (lambda: F.nll_loss(md.Tensor(P), [1, 2]), r"nll_loss: the target has shape \(2,\); an input \(4, 5\) needs"),
    (lambda: F.binary_cross_entropy(md.Tensor(A), P), "binary_cross_entropy: probabilities must lie between 0 and 1"),
    (lambda: F.kl_div(md.Tensor(A), B, reduction="all"), "kl_div: reduction 'all' is unknown"),
    (lambda: nn.HuberLoss("batchmean"), "reduction 'batchmean' is unknown"),
    (lambda: F.triplet_margin_loss(md.Tensor(A), B, C[0]), r"all must have one shape, .* negative \(5,\)"),
    (lambda: F.triplet_margin_loss(md.Tensor(A), B, C, margin=0), "margin must be above 0, got 0"),
    (lambda: F.cosine_embedding_loss(md.Tensor(A), B, [1, 0, 1, 1]), r"targets must be 1 \(alike\) or -1"),
    (lambda: F.cosine_embedding_loss(md.Tensor(A), B, 1), r"vectors \(N, D\) and targets \(N,\)"),
])  # fmt: skip
def test_refusals(f, message):
    with pytest.raises(ValueError, match=message):
        f()
