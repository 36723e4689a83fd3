"""The networks of segmentation: published numbers, what a pixel sees, any size, tiles that equal the whole image."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from tasks.models import VGG
from tasks.segment import FCN, SimpleNet, UNet, input_size, valid_sizes
from tasks.segment.unet import centre, context

UPS = ("transposed", "nearest")
VARIANTS = ("32s", "16s", "8s")


def picture(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def parameters(net):
    return sum(p.size for p in net.parameters())


def shapes(net, x):
    """The shape of what each module gives, by path."""
    paths, seen = {module: path for path, module in net.named_modules()}, {}
    with nn.module.watch(lambda module, inputs, output: seen.update({paths[module]: output.shape})), md.no_grad():
        net(x)
    return seen


# --- U-Net: the paper's numbers


def test_the_papers_unet_has_the_published_number_of_parameters():
    with nn.init.undrawn():
        assert parameters(UNet()) == 31_030_658


def test_parameters_of_other_forms():
    paper, maps = parameters(UNet(base=4, rng=0)), [4, 8, 16, 32, 64, 32, 16, 8, 4]
    assert parameters(UNet(base=4, padded=True, batch_norm=False, rng=0)) == paper
    # with batch norm, scale and shift in place of the bias of each of 18 convolutions
    assert parameters(UNet(base=4, padded=True, rng=0)) == paper + 2 * sum(maps)
    # without skips, half the inputs of the first convolution of each decoder block
    assert parameters(UNet(base=4, skips=False, rng=0)) == paper - sum(9 * n * n for n in maps[-4:])


def test_maps_of_figure_1_of_the_paper():
    """A 64th of the maps: sizes do not depend on it, and the numbers of maps are 64 times as many."""
    seen = shapes(UNet(base=1, rng=0), md.Tensor(picture(1, 1, 572, 572)))
    encoder = [(1, 568), (2, 280), (4, 136), (8, 64)]
    assert [seen[f"encoder.{i}"] for i in range(4)] == [(1, c, n, n) for c, n in encoder]
    assert seen["bottom"] == (1, 16, 28, 28)
    for part, levels in (("upsample", [(8, 56), (4, 104), (2, 200), (1, 392)]),
                         ("decoder", [(8, 52), (4, 100), (2, 196), (1, 388)])):  # fmt: skip
        assert [seen[f"{part}.{i}"] for i in range(4)] == [(1, c, n, n) for c, n in levels]
    assert seen["head"] == seen[""] == (1, 2, 388, 388)
    assert valid_sizes(572) == ((568, 280, 136, 64), 28, 388)
    assert input_size(388) == 572 and context() == 184


@pytest.mark.parametrize("up", UPS)
@pytest.mark.parametrize("depth", [1, 2])
def test_legal_sizes_are_those_that_work(depth, up):
    net = UNet(base=1, depth=depth, up=up, rng=0)
    side, legal = input_size(1, depth, up), {}
    for n in range(1, side + 4 * net.period):
        x = md.Tensor(picture(1, 1, n, side))
        try:
            sizes = net.sizes(n)
        except ValueError:
            with pytest.raises(ValueError, match=f"sizes {net.period} b .* got {n}"):
                net(x)
            continue
        seen = shapes(net, x)
        assert sizes.skips == tuple(seen[f"encoder.{i}"][2] for i in range(depth))
        assert (sizes.bottom, sizes.output) == (seen["bottom"][2], seen[""][2])
        assert n - sizes.output == context(depth, up)
        legal[n] = sizes.output
    assert len(legal) == 4 and min(legal) == side
    for wanted in range(1, max(legal.values()) + 1):
        assert net.input_size(wanted) == min(n for n, output in legal.items() if output >= wanted)


def test_an_illegal_size_is_one_line_that_names_its_neighbours():
    with pytest.raises(ValueError, match=r"16 b \+ 60 from 188 on, got 512; nearest: 508 and 524; or use padded=True"):
        UNet(base=1, rng=0)(md.Tensor(picture(1, 1, 572, 512)))
    with pytest.raises(ValueError, match="got 20; nearest: 188;"):
        valid_sizes(20)
    with pytest.raises(ValueError, match="up 'bilinear' is unknown: one of transposed, nearest"):
        UNet(up="bilinear")
    with pytest.raises(ValueError, match="depth must be 1 or more, got 0"):
        UNet(depth=0)


def test_skips_are_cropped_at_their_centre():
    x = picture(1, 2, 12, 9)
    np.testing.assert_array_equal(centre(md.Tensor(x), (4, 3)).data, x[:, :, 4:8, 3:6])


def test_unet_starts_from_hes_initialisation():
    net = UNet(base=32, depth=2, rng=0)
    for weight, incoming in ((net.encoder[1].conv2.weight, 9 * 64), (net.decoder[0].conv1.weight, 9 * 128),
                             (net.upsample[0].weight, 128)):  # fmt: skip
        assert abs(weight.data.std() / (2 / incoming) ** 0.5 - 1) < 5 / (2 * weight.size) ** 0.5  # five standard errors
    assert not any(p.data.any() for name, p in net.named_parameters() if name.endswith("bias"))
    assert net.training and UNet(base=1, depth=1, dropout=0.5, rng=0).dropout.p == 0.5


# --- what a pixel sees: means for maxima and positive weights, so that no path has a gradient of zero


def transparent(net):
    net = net.to("float64")
    for p in net.parameters():
        p.data = np.full(p.shape, 1 / p.size)
    net.pool = nn.AvgPool2d(2)
    return net


def seen_from(output, x):
    """Rows and columns from first to last of the input on which an entry depends: (first row, height, width)."""
    (gradient,) = md.grad(output, [x], retain_graph=True)
    rows, columns = (np.flatnonzero(np.abs(gradient.data).sum(axis=axes)) for axes in ((0, 1, 3), (0, 1, 2)))
    assert len(rows) == np.ptp(rows) + 1
    return rows[0], len(rows), len(columns)


def test_receptive_fields_of_the_papers_unet():
    size = input_size(17)
    bottom = []
    for path in ("skip", "up", "both"):
        net = transparent(UNet(base=1, rng=0))
        first = net.decoder[-1].conv1.weight.data  # (1, 1 + 1, 3, 3): the skip comes first
        if path != "both":
            first[:, slice(1, 2) if path == "skip" else slice(0, 1)] = 0
        x = md.tensor(np.ones((1, 1, size, size)), requires_grad=True)
        with nn.module.watch(lambda m, i, o, net=net: bottom.append(o) if m is net.bottom else None):
            y = net(x)
        fields = [seen_from(y[0, 0, i, i], x)[1:] for i in range(16 if path == "up" else 4)]
        if path == "skip":
            assert set(fields) == {(9, 9)}
        else:  # what comes up is a whole number of the bottom's cells: how many depends on the phase
            assert set(fields) <= {(188, 188), (204, 204)}
        if path == "up":
            assert len(set(fields)) == 2
            assert seen_from(bottom[-1][0, 0, 0, 0], x) == (0, 140, 140)


@pytest.mark.parametrize("up", UPS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_radius_of_the_padded_form_is_the_farthest_pixel_that_counts(depth, up):
    net = transparent(UNet(base=1, depth=depth, padded=True, batch_norm=False, up=up, rng=0))
    middle = 9 * net.period
    x = md.tensor(np.ones((1, 1, 2 * middle, net.period)), requires_grad=True)
    y, reach = net(x), []
    for i in range(middle, middle + net.period):
        first, height, _ = seen_from(y[0, 0, i].sum(), x)
        reach += [i - first, first + height - 1 - i]
    assert max(reach) == net.radius


# --- any size


@pytest.mark.parametrize("size", [(1, 1), (5, 16), (33, 47)])
@pytest.mark.parametrize("make", [
    *(lambda up=up: UNet(2, 3, base=2, padded=True, up=up, rng=0) for up in UPS),
    lambda: UNet(2, 3, base=2, depth=2, padded=True, skips=False, dropout=0.5, rng=0),
    *(lambda v=v: FCN(3, 2, v, 1, rng=0) for v in VARIANTS),
    lambda: FCN(3, 2, "8s", 1, batch_norm=True, rng=0),
])  # fmt: skip
def test_the_size_of_the_image_is_the_size_of_the_logits(make, size):
    net = make()
    x = picture(2, 2, *size)
    logits = net.eval()(md.Tensor(x))
    assert logits.shape == (2, 3, *size) and logits.dtype == np.float32
    low = np.pad(x, [(0, 0), (0, 0), *((0, -n % net.period) for n in size)], mode="edge")  # the same, by hand
    np.testing.assert_array_equal(net(md.Tensor(low)).data[:, :, : size[0], : size[1]], logits.data)


@pytest.mark.parametrize("make", [
    lambda: UNet(1, 2, base=2, depth=2, rng=0), lambda: UNet(1, 2, base=2, depth=2, up="nearest", skips=False, rng=0),
    lambda: UNet(1, 2, base=2, depth=3, padded=True, rng=0), lambda: FCN(2, 1, "8s", 2, dropout=0.0, rng=0),
    lambda: SimpleNet(rng=0),
])  # fmt: skip
def test_a_small_step_down_the_gradient_gains_what_the_gradient_says(make):
    net = make().to("float64")
    if isinstance(net, FCN):  # its scores start at 0, and what is below them then has no gradient
        for i, score in enumerate((net.score_fr, net.score_pool4, net.score_pool3)):
            score.weight.data = picture(*score.weight.shape, seed=i, dtype=np.float64)
    x = md.Tensor(picture(1, 1, 60 if getattr(net, "depth", 0) == 2 else 64, 60, dtype=np.float64))
    y = net(x)
    labels = np.random.default_rng(0).random(y.shape[:1] + y.shape[2:]) < 0.5

    def loss():
        y = net(x)
        if y.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(y[:, 0], labels.astype(float))
        return F.cross_entropy(y, labels.astype(int))

    before = loss()
    before.backward()
    without = [name for name, p in net.named_parameters() if p.requires_grad and not p.grad.data.any()]
    assert without == []
    learnt = [p for p in net.parameters() if p.requires_grad]
    step = 1e-7 / sum(float((p.grad.data**2).sum()) for p in learnt)  # the loss should fall by 1e-7
    md.optim.SGD(learnt, lr=step).step()
    assert abs((before.item() - loss().item()) / 1e-7 - 1) < 0.02


@pytest.mark.parametrize("make", [
    lambda seed: UNet(base=2, depth=2, rng=seed), lambda seed: FCN(width=1, rng=seed), lambda seed: SimpleNet(rng=seed)
])  # fmt: skip
def test_a_seed_decides_the_weights_and_leaves_the_default_generator_alone(make):
    nn.init.manual_seed(5)
    first, again, other = (make(seed).state_dict() for seed in (1, 1, 2))
    assert nn.init.generator().random() == np.random.default_rng(5).random()
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert not all(np.array_equal(first[n], other[n]) for n in first)


# --- FCN


def test_fcn_has_the_papers_134_million_parameters():
    """VGG16's 138,357,544 with 21 classes rather than 1000, besides what enlarges."""
    with nn.init.undrawn():
        assert parameters(FCN(21)) == 138_357_544 - 4097 * 1000 + 4097 * 21 + 21 * 64 * 64
    small = [parameters(FCN(21, width=2, variant=v, rng=0)) for v in VARIANTS]
    enlarging = [21 * (2 * n) ** 2 for n in (32, 16, 8)]
    assert small[1] - small[0] == 17 * 21 + 21 * 21 * 4**2 + enlarging[1] - enlarging[0]
    assert small[2] - small[1] == 9 * 21 + 21 * 21 * 4**2 + enlarging[2] - enlarging[1]
    with pytest.raises(ValueError, match="variant '4s' is unknown: one of 32s, 16s, 8s"):
        FCN(variant="4s")


@pytest.mark.parametrize("variant", VARIANTS)
def test_enlarging_starts_as_bilinear_interpolation(variant):
    net = FCN(3, 1, variant, 1, rng=0)
    layers = [m for m in net.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.stride[0] for m in layers] == {"32s": [32], "16s": [2, 16], "8s": [2, 2, 8]}[variant]
    x = md.Tensor(picture(1, 3, 4, 5))
    for layer in layers:
        factor = layer.stride[0]
        y, wanted = layer(x).data, F.interpolate(x, scale_factor=factor, mode="linear").data
        inside = (..., slice(factor // 2, -(factor // 2)), slice(factor // 2, -(factor // 2)))
        assert y.shape == wanted.shape  # at the border the one sees zeros, the other the last entries again
        np.testing.assert_allclose(y[inside], wanted[inside], atol=1e-5)
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == [f"upscore{variant[:-1]}.weight"]


def test_added_skips_change_nothing_before_they_have_learnt():
    """Until then FCN-16s and FCN-8s enlarge the scores of fc7 in two and in three steps, and no more."""
    x = md.Tensor(picture(1, 1, 64, 96, dtype=np.float64))
    for variant in VARIANTS:
        net = FCN(2, 1, variant, 1, dropout=0.0, rng=0).to("float64")
        assert not net.score_fr.weight.data.any()
        net.score_fr.weight.data = picture(*net.score_fr.weight.shape, dtype=np.float64)
        y = net.score_fr(net.classifier(net.features(x)))
        for layer in net.modules():
            y = layer(y) if isinstance(layer, nn.ConvTranspose2d) else y
        np.testing.assert_array_equal(net(x).data, y.data)
        for name in {"32s": [], "16s": ["score_pool4"], "8s": ["score_pool4", "score_pool3"]}[variant]:
            getattr(net, name).bias.data[0] = 1  # a skip that has learnt adds to its class
            more = net(x).data - y.data
            assert (more[:, 0, 16:-16, 16:-16] > 0.99).all() and not more[:, 1].any()
            getattr(net, name).bias.data[0] = 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_maps_of_an_fcn_lie_over_each_other(variant):
    """With kernels that are their own mirror images the network commutes with mirroring: no layer is off its place."""
    net = FCN(2, 1, variant, 1, dropout=0.0, rng=0).to("float64")
    for i, layer in enumerate(m for m in net.modules() if isinstance(m, nn.Conv2d)):
        weight = picture(*layer.weight.shape, seed=i, dtype=np.float64)
        layer.weight.data = (weight + weight[..., ::-1]) + (weight + weight[..., ::-1])[..., ::-1, :]
    x = picture(1, 1, 96, 64, dtype=np.float64)
    for flip in ((..., slice(None, None, -1)), (..., slice(None, None, -1), slice(None))):
        y, mirrored = net(md.Tensor(x)).data, net(md.Tensor(x[flip])).data
        np.testing.assert_allclose(mirrored, y[flip], atol=1e-10 * np.abs(y).max())
        assert np.abs(mirrored - y).max() > 1e-3 * np.abs(y).max()


def test_a_classifiers_weights_start_an_fcn():
    """Where fc6 lies over all of the classifier's 7x7 cells, and only there, fc7 is the classifier's second layer."""
    vgg = VGG((2, 2, 3, 3, 3), (1, 2, 4, 8, 8), 5, 3, batch_norm=False, hidden=64, rng=0).eval()
    for i, p in enumerate(p for p in vgg.parameters() if p.ndim == 2):
        p.data = picture(*p.shape, seed=i) / p.shape[1] ** 0.5
    net = FCN(2, 3, "8s", 1, rng=1).eval()
    before = net.state_dict()
    net.load_vgg16(vgg.state_dict())
    x = md.Tensor(picture(1, 3, 224, 224))
    hidden = []
    with nn.module.watch(lambda m, i, o: hidden.append(o) if m in (vgg.classifier[4], net.classifier[4]) else None):
        vgg(x)
        net(x)
    theirs, ours = (h.data for h in hidden)
    assert theirs.shape == (1, 64) and ours.shape == (1, 64, 7, 7) and (theirs > 0).sum() > 10
    np.testing.assert_allclose(ours[:, :, 3, 3], theirs, atol=1e-5 * theirs.max())
    assert all(np.array_equal(before[n], net.state_dict()[n]) for n in before if "score" in n)


@pytest.mark.parametrize("spoil, message", [
    (lambda s: s.pop("features.5.bias"), "features.5.bias must hold \\(2,\\), flattened or not, got nothing"),
    (lambda s: s.update({"classifier.0.weight": np.zeros((64, 8))}), "classifier.0.weight .* got \\(64, 8\\)"),
    (lambda s: s.update({"classifier.3.weight": np.zeros((32, 128))}), "classifier.3.weight .* got \\(32, 128\\)"),
])  # fmt: skip
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(spoil, message):
    net = FCN(2, 3, width=1, rng=1)
    before = net.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    spoil(state)
    with pytest.raises(ValueError, match=message):
        net.load_vgg16(state)
    assert all(np.array_equal(before[n], net.state_dict()[n]) for n in before)


# --- the written assignment's network


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_simple_net_is_the_assignments_formula_and_so_are_its_gradients(activation):
    net = SimpleNet(2, 3, activation=activation, rng=0).to("float64")
    x = picture(1, 2, 5, 6, dtype=np.float64)
    g = (picture(1, 1, 5, 6, seed=1) > 0).astype(np.float64)
    z = net.features(md.Tensor(x)).data[0]
    h, b = net.layer2.weight.data[0], net.layer2.bias.data[0]
    around = np.pad(z, [(0, 0), (1, 1), (1, 1)])
    u = np.full((5, 6), b)
    for j, k, i, m, n in np.ndindex(3, 3, 3, 5, 6):
        u[m, n] += h[j, k, i] * around[j, m + k, n + i]
    logits = net(md.Tensor(x))
    np.testing.assert_allclose(logits.data[0, 0], u, rtol=1e-12)
    F.soft_dice_loss(F.sigmoid(logits), g).backward()
    p = 1 / (1 + np.exp(-u))
    total = (p**2).sum() + g.sum()
    overlap = 2 * (p * g[0, 0]).sum() / total
    delta = 2 * (overlap * p - g[0, 0]) / total * p * (1 - p)
    wanted = np.zeros_like(h)
    for j, k, i, m, n in np.ndindex(3, 3, 3, 5, 6):
        wanted[j, k, i] += delta[m, n] * around[j, m + k, n + i]
    np.testing.assert_allclose(net.layer2.weight.grad.data[0], wanted, rtol=1e-10)
    np.testing.assert_allclose(net.layer2.bias.grad.data[0], delta.sum(), rtol=1e-10)
    assert not np.allclose(wanted, wanted[:, ::-1, ::-1], rtol=0.1)  # the other convention has the flipped one


def test_simple_nets_that_there_are_not():
    with pytest.raises(ValueError, match="activation 'elu' is unknown"):
        SimpleNet(activation="elu")
    with pytest.raises(ValueError, match="kernel_size must be odd, so that pixels have a centre, got 4"):
        SimpleNet(kernel_size=4)
