"""Training that is recorded ends in the bits of training that is not."""

import warnings

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.train import fit


def trained(record, steps=6, loss=None, resume=False, **options):
    md.manual_seed(0)
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(24, 1, 8, 8)).astype("f"), rng.integers(0, 3, 24)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2, rng=1), nn.Flatten(), nn.Linear(288, 3)
    )

    def batches(step):
        at = slice(4 * (step % 6), 4 * (step % 6) + 4)
        return images[at].copy(), labels[at].copy()

    def cross_entropy(model, batch):
        return {"entropy": F.cross_entropy(model(md.Tensor(batch[0])), batch[1])}

    optimiser = optim.Adam(model.parameters(), lr=0.01)
    fit(model, optimiser, loss or cross_entropy, batches, steps, record=record, progress=False, resume=resume,
        schedule=optim.cosine(0.01, 12), **options)  # fmt: skip
    return [*model.state_dict().values(), *optimiser.state_dict().values()]


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"clip": 0.1}])
def test_recorded_training_has_the_same_bits(options):
    for a, b in zip(trained(False, **options), trained(True, **options), strict=True):
        assert np.array_equal(a, b)


def test_recorded_training_resumes(tmp_path):
    whole = trained(False, steps=12)
    trained(True, steps=7, checkpoint=tmp_path / "net.npz")
    rest = trained(True, steps=12, checkpoint=tmp_path / "net.npz", resume=True)
    assert all(np.array_equal(a, b) for a, b in zip(whole, rest, strict=True))


def test_a_loss_that_cannot_be_repeated_runs_as_it_is():
    seen = []

    def loss(model, batch):
        seen.append(len(batch))
        value = F.cross_entropy(model(md.Tensor(batch[0])), batch[1])
        return value * (1 + (value.item() > 1))

    with pytest.warns(UserWarning, match="item.. reads the value of a tensor.*runs as it is"):
        recorded = trained(True, loss=loss)
    assert len(seen) == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(np.array_equal(a, b) for a, b in zip(trained(False, loss=loss), recorded, strict=True))


def test_divergence_is_still_named():
    def loss(model, batch):
        return F.log(model(md.Tensor(batch[0])).sum() * 0 - 1).sum()

    with pytest.raises(md.train.Diverged, match="log made 1 of 1 values NaN"), np.errstate(invalid="ignore"):
        trained(True, loss=loss)
