"""Interpolation by bands of its matrices: the numbers of the definition, the same bits on any number of threads."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl import functional as F
from minidl.kernels import resample
from minidl.kernels.cpu import workers
from minidl.ops.resample import area_matrix, linear_matrix

CASES = {
    "pool": lambda x: F.adaptive_avg_pool(x, (90, 77)),
    "area": lambda x: F.interpolate(x, size=(40, 200), mode="area"),
    "linear": lambda x: F.interpolate(x, size=(301, 260), mode="bilinear"),
    "cubic": lambda x: F.interpolate(x, size=(150, 310), mode="bicubic"),
    "antialiased": lambda x: F.interpolate(x, size=(100, 70), mode="bicubic", antialias=True),
}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_bands_give_the_definition_and_its_gradient(name, channels_last, monkeypatch):
    rng, used = np.random.default_rng(0), []
    monkeypatch.setattr(resample, "by_blocks", lambda *a, f=resample.by_blocks: (used.append(1), f(*a)))
    x = rng.normal(size=(2, 180, 170, 3)).transpose(0, 3, 1, 2) if channels_last else rng.normal(size=(2, 3, 180, 170))
    x = md.Tensor(x, requires_grad=True)
    y = CASES[name](x)
    g = Tensor(rng.normal(size=y.shape))
    (gx,) = md.grad(y, [x], g)
    assert used
    with md.definitions():
        (wanted,) = md.grad(CASES[name](x), [x], g)
        np.testing.assert_allclose(y.numpy(), CASES[name](x).numpy(), atol=1e-12)
    np.testing.assert_allclose(gx.numpy(), wanted.numpy(), atol=1e-11)


def test_the_bits_do_not_depend_on_the_number_of_threads(monkeypatch):
    x = Tensor(np.random.default_rng(0).normal(size=(1, 8, 400, 300)).astype(np.float32))
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(workers, "thread_count", lambda n=threads: n)
        results.append(F.adaptive_avg_pool(x, 211).numpy())
    assert np.array_equal(*results)


def test_blocks_cover_what_is_not_zero_and_full_matrices_have_none():
    for matrix in (area_matrix(512, 308), area_matrix(150, 400), linear_matrix(300, 70, 300 / 70, False)):
        blocks = resample.banded(matrix)
        rest = matrix.copy()
        for block in blocks:
            rest[block] = 0
        assert not rest.any() and [rows.start for rows, _ in blocks] == list(range(0, len(matrix), resample.ROWS))
    assert resample.banded(area_matrix(512, 7)) is None and resample.banded(area_matrix(100, 60)) is None
    assert resample.banded(np.ones((200, 200))) is None
