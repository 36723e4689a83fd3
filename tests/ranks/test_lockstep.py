"""Shards that meet: statistics of the whole batch, losses that take the steps of several optimisers themselves."""

import threading
import time

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.ranks.group import Alone
from minidl.ranks.lockstep import Lockstep
from minidl.train import Diverged, fit
from tests.ranks.test_step import TEN, X, Y, batches, close, loss, network, on_every_number_of_ranks, trained
from tests.support.ranks import on_ranks

RNG = np.random.default_rng(0)


def synchronised(**options):
    return nn.SyncBatchNorm.convert_sync_batchnorm(network(dropout=0, **options))


def sgd(model):
    return optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


# --- batch normalisation over the whole batch


def in_shards(layer, parts, function, shards=None):
    """What ``function(x)`` gives for each part of a batch, the shards meeting."""
    lockstep = Lockstep(layer, [], [], Alone(), shards or len(parts), 7)
    found = []
    for number, result in lockstep.run(range(len(parts)), lambda number: function(parts[number])):
        found.append((result, *[b.copy() for b in layer.buffers()]))
        assert number == len(found) - 1
    return found


@pytest.mark.parametrize("sizes", [(4, 4), (5, 1, 2), (3,)])
@pytest.mark.parametrize("relu", [False, True])
def test_outputs_statistics_and_derivatives_are_those_of_the_whole_batch(sizes, relu):
    """Also of second order: the gradient of the squares of the gradients."""
    layer, rng = nn.SyncBatchNorm(3, momentum=0.3).to("float64"), np.random.default_rng(1)
    layer.weight.data, layer.bias.data = rng.normal(size=3), rng.normal(size=3)
    x, u, v = (rng.normal(size=(sum(sizes), 3, 2, 2)) for _ in range(3))

    def derivatives(pieces):
        z = md.tensor(pieces[0], requires_grad=True)
        y = layer(z, relu=relu)
        (g,) = md.grad((y * y * pieces[1]).sum(), [z], create_graph=True)
        second = md.grad((g * g * pieces[2]).sum(), [z, layer.weight])
        return [t.data for t in (y, g, second[0])], second[1].data

    whole, weight = derivatives((x, u, v))
    statistics = [b.copy() for b in layer.buffers()]
    layer.load_state_dict({**layer.state_dict(), "running_mean": np.zeros(3), "running_var": np.ones(3)})
    ends = np.cumsum(sizes)[:-1]
    found = in_shards(layer, list(zip(*(np.split(a, ends) for a in (x, u, v)))), derivatives)
    for i, expected in enumerate(whole):
        np.testing.assert_allclose(np.concatenate([parts[i] for (parts, _), *_ in found]), expected, 1e-9, 1e-11)
    np.testing.assert_allclose(sum(w for (_, w), *_ in found), weight, 1e-9)
    for _, mean, var, _ in found:
        np.testing.assert_allclose((mean, var), statistics[:2], 1e-13)


def test_statistics_are_exact_far_from_zero_and_of_shards_without_values():
    x = RNG.normal(size=(12, 2)) * [1e-3, 5] + [1e6, -3]
    parts = [x[:0], x[:5], x[5:6], x[6:6], x[6:]]
    layer = nn.SyncBatchNorm(2, momentum=1.0).to("float64")
    for _, mean, var, _ in in_shards(layer, parts, lambda part: layer(md.tensor(part)).data):
        np.testing.assert_allclose(mean, x.mean(0), 1e-15)
        np.testing.assert_allclose(var, x.var(0, ddof=1), 1e-6)
    with pytest.raises(ValueError, match=r"all shards of x .* together have one"):
        in_shards(layer, [x[:1], x[:0]], lambda part: layer(md.tensor(part)).data)


def test_without_shards_it_is_batch_norm():
    one, two = nn.BatchNorm2d(3), nn.SyncBatchNorm(3)
    x = md.tensor(RNG.normal(size=(4, 3, 2, 2)), dtype="float32")
    for mode in (True, False):
        assert np.array_equal(one.train(mode)(x).data, two.train(mode)(x).data)
    assert all(np.array_equal(a, b) for a, b in zip(one.buffers(), two.buffers()))
    with pytest.raises(ValueError, match=r"SyncBatchNorm\(3\) takes 2 or 3 or 4 or 5 axes"):
        two(md.tensor(np.zeros((2, 4))))


def test_a_model_is_converted_in_place_shared_layers_once():
    norm = nn.BatchNorm1d(2, eps=0.1)
    model = nn.Sequential(nn.Linear(2, 2), norm, nn.Sequential(norm, nn.InstanceNorm1d(2)), nn.BatchNorm3d(4)).eval()
    before, state = list(model.parameters()), list(model.state_dict())
    assert nn.SyncBatchNorm.convert_sync_batchnorm(model) is model
    kinds = [type(m).__name__ for m in model.modules()]
    assert kinds == ["Sequential", "Linear", "SyncBatchNorm", "Sequential", "InstanceNorm1d", "SyncBatchNorm"]
    assert model[1] is model[2][0] and model[1].eps == 0.1 and model[1].running_var is norm.running_var
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True)) and list(model.state_dict()) == state
    assert not model[1].training and type(nn.SyncBatchNorm.convert_sync_batchnorm(norm)) is nn.SyncBatchNorm


def test_training_is_that_without_shards_and_the_same_bits_on_any_number_of_ranks():
    options = {"model": lambda: synchronised(dtype="float64"), "optimiser": sgd, "of": batches(9, 3)}
    state, line = on_every_number_of_ranks(lambda group: trained(group, record=True, shards=4, **options))
    whole, expected = trained(shards=1, **options)
    close(line, expected, 1e-11)
    for name, (dtype, _, content) in whole.items():
        np.testing.assert_allclose(np.frombuffer(state[name][2], dtype), np.frombuffer(content, dtype), 1e-9, 1e-12)


def test_accumulation_dropout_and_recomputation_meet_too():
    def run(group):
        model = nn.SyncBatchNorm.convert_sync_batchnorm(network())
        return trained(group, 2, model=model, accumulate=2, of=batches(9, 3), recompute=[model[1]], shards=4)

    on_every_number_of_ranks(run)


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_nan_is_named_with_its_shard_and_rank():
    def breaking(model, batch):
        return loss(model, batch[:2]) + F.log(md.tensor(float(6 not in batch[2])))

    def run(group):
        with pytest.raises(Diverged, match="shard 6 on rank 1: log made 1 of 1"):
            trained(group, model=synchronised(), loss=breaking, of=lambda step: (X[:8], Y[:8], np.arange(8)))

    on_ranks(2, run)


# --- losses that take the steps themselves


class Pair(nn.Module):
    """A generator and a discriminator with batch norm, dropout, a learned constant."""

    def __init__(self):
        rng = np.random.default_rng(3)
        self.noise = np.random.default_rng(4)
        self.g = nn.Sequential(
            nn.ConvTranspose2d(2, 4, 2, rng=rng), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 3, 3, rng=rng)
        )
        self.d = nn.Sequential(
            nn.Conv2d(3, 4, 3, rng=rng), nn.SyncBatchNorm(4), nn.LeakyReLU(0.2), nn.Dropout(0.2, rng=5), nn.Flatten(),
            nn.Linear(16, 1, rng=rng),
        )  # fmt: skip


def adversarial(optimisers, ema):
    """DCGAN's steps: of the discriminator, whose weights are clipped, and of the generator."""
    def update(model, batch):
        x = md.Tensor(batch[0]).astype("float32")
        z = md.Tensor(model.noise.standard_normal((len(x), 2, 1, 1), np.float32))
        d_loss = F.softplus(-model.d(x)).mean() + F.softplus(model.d(model.g(z).detach())).mean()
        optimisers["d"].zero_grad()
        d_loss.backward()
        norm = optim.clip_grad_norm(model.d.parameters(), 0.05)
        optimisers["d"].step()
        for p in model.d.parameters():
            p.data = p.data.clip(-0.3, 0.3)
        model.d.requires_grad_(False)
        g_loss = F.softplus(-model.d(model.g(z))).mean()
        optimisers["g"].zero_grad()
        g_loss.backward()
        optimisers["g"].step()
        model.d.requires_grad_(True)
        ema.update()
        return {"d": d_loss, "g": g_loss.item(), "norm": norm}

    return update


def gan(group, steps=2, shards=4, **options):
    model = Pair()
    optimisers = {name: optim.Adam(getattr(model, name).parameters(), lr=0.01) for name in "dg"}
    ema = optim.EMA(model.g, 0.5)
    line = fit(model, optimisers, adversarial(optimisers, ema), batches(6, 3), steps, manual=True, shards=shards,
               ranks=group, progress=False, **options)  # fmt: skip
    averages = ema.state_dict()
    return {name: a.tobytes() for name, a in (model.state_dict() | averages).items()}, line


def test_several_optimisers_give_the_same_bits_on_any_number_of_ranks():
    _, line = on_every_number_of_ranks(lambda group: gan(group, 3), (1, 2, 4))
    assert line.keys() == {"step", "d", "g", "norm"} and line["norm"] > 0.05


def test_a_run_of_several_optimisers_is_resumed_in_the_same_bits(tmp_path):
    path, whole = tmp_path / "c.npz", gan("alone")
    gan("alone", 1, checkpoint=path)
    averages = {name for name in whole[0] if name not in Pair().state_dict()}  # an EMA of one's own is not saved
    for state, line in on_ranks(2, lambda group: gan(group, 2, checkpoint=path, resume=True, shards=None)):
        assert line == whole[1] and {n: state[n] for n in state if n not in averages} \
            == {n: whole[0][n] for n in state if n not in averages}


class Plain(nn.Module):
    """Without statistics of shards or draws: how the batch is cut does not matter but for rounding."""

    def __init__(self):
        self.first, self.second = nn.Linear(48, 5, rng=0).to("float64"), nn.Linear(5, 3, rng=1).to("float64")
        self.norm = nn.SyncBatchNorm(5).to("float64")
        self.unused = md.Parameter(np.ones(2))

    def forward(self, x):
        return self.second(F.tanh(self.norm(self.first(x.reshape(len(x), -1)))))


def taken_by_hand(shards, of, every=1, clip=None, steps=5):
    """Two optimisers, gradients of several steps added up, clipped; a penalty on the gradient with respect to x."""
    model = Plain()
    one = optim.SGD([*model.first.parameters(), model.unused], lr=0.1, weight_decay=0.1)
    two = optim.SGD([*model.second.parameters(), *model.norm.parameters()], lr=0.05, momentum=0.9)

    def update(model, batch):
        x = md.tensor(batch[0], requires_grad=True)
        value = F.cross_entropy(model(x), batch[1])
        (slope,) = md.grad(value, [x], create_graph=True)
        slope = slope * len(x)  # of the sum of the losses of all samples, in the shard as in the batch
        (value + (slope * slope).sum() / len(x)).backward()
        norm = 0.0
        if batch[2] % every == every - 1:
            norm = optim.clip_grad_norm(model.parameters(), clip) if clip else 0.0
            for optimiser in (one, two):
                optimiser.step()
                optimiser.zero_grad()
        return {"loss": value, "norm": norm}

    def numbered(step):
        return *of(step), step

    line = fit(model, {"one": one, "two": two}, update, numbered, steps, manual=True, shards=shards, progress=False)
    return line, model


@pytest.mark.parametrize(("n", "last", "options"), [(16, None, {"every": 2}), (10, 7, {"clip": 0.1}), (9, 3, {})])
def test_steps_taken_by_hand_are_those_of_the_whole_batch(n, last, options):
    (line, model), (expected, whole) = (taken_by_hand(shards, batches(n, last), **options) for shards in (8, 1))
    close(line, expected, 1e-11)
    for name, found in model.state_dict().items():
        np.testing.assert_allclose(found, whole.state_dict()[name], 1e-10, 1e-12)
    assert (model.unused.data == 1).all()  # no gradient: the weight does not decay


def test_what_the_whole_batch_does_not_define_is_refused():
    model = Plain()
    optimiser = optim.SGD(model.parameters(), lr=0.1)

    def run(update, match, optimiser=optimiser, error=RuntimeError, group="alone"):
        with pytest.raises(error, match=match):
            fit(model, optimiser, update, TEN, 1, manual=True, shards=4, ranks=group, progress=False)

    def other_steps(model, batch):
        F.cross_entropy(model(md.tensor(batch[0])), batch[1]).backward()
        if len(batch[0]) == 3:
            optimiser.step()
        return {}

    def other_values(model, batch):
        model.first.bias.data = model.first.bias.data + batch[0].mean()
        return {}

    def other_terms(model, batch):
        return {"loss": 1.0} if len(batch[0]) == 3 else {"other": 1.0}

    run(other_steps, "shards of a batch do not meet: shard 0 is at a step of SGD, .*shard 2 is at the end")
    run(other_values, "shards 0 and 1 assign first.bias different values; let an optimiser change it")
    run(other_terms, r"the loss of a shard has the terms \['loss'\], that of another \['other'\]", error=ValueError)
    newton = optim.LBFGS(model.parameters())
    run(lambda model, batch: newton.step(lambda: None), "LBFGS .*: train with shards=1", newton, ValueError)

    def on_two(group):
        run(other_steps, "the shards of a batch do not meet", group=group)
        run(other_terms, "the loss of a shard has the terms", group=group, error=ValueError)

    on_ranks(2, on_two)


def test_a_shard_that_fails_ends_the_threads_of_all():
    before = threading.active_count()

    def failing(model, batch):
        optim.clip_grad_norm(model.parameters(), 1.0)
        raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        model = Plain()
        fit(model, optim.SGD(model.parameters(), lr=1), failing, TEN, 1, manual=True, shards=4, progress=False)
    for _ in range(1000):
        if threading.active_count() == before:
            break
        time.sleep(1e-3)
    assert threading.active_count() == before
