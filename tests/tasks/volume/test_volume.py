"""The task volume: V-Net, the crop that gradients pass, generated and own volumes, the command."""

import numpy as np
import pytest

import minidl as md
from tasks.volume import VNet, data, evaluate, report, speckle, train
from tasks.volume.evaluate import RowScores

# --- V-Net

# The layers of the network that the authors released: (inputs, outputs, kernel), as its prototxt lists them, the two
# last, which make the classes, left out.
RELEASED = [
    (1, 16, 5), (16, 32, 2), (32, 32, 5), (32, 64, 2), *[(64, 64, 5)] * 2, (64, 128, 2), *[(128, 128, 5)] * 3,
    (128, 256, 2), *[(256, 256, 5)] * 3, (256, 128, 2), *[(256, 256, 5)] * 3, (256, 64, 2), *[(128, 128, 5)] * 2,
    (128, 32, 2), (64, 64, 5), (64, 16, 2), (32, 32, 5),
]  # fmt: skip


def test_the_released_network_has_as_many_parameters():
    with md.nn.init.undrawn():
        model = VNet(1, 2, convolutions=(1, 1, 2, 3, 3), ascending=(3, 2, 1, 1))
    of_layers = sum(i * o * k**3 + 2 * o for i, o, k in RELEASED)  # a bias and a slope for each channel
    assert sum(p.size for p in model.parameters()) == of_layers + 32 * 2 + 2


def test_the_papers_network():
    """Figure 2 and table 1: shapes of 128 x 128 x 64 down to 8 x 8 x 4 with 256 channels, and what its layers hold."""
    with md.nn.init.undrawn():
        model = VNet()
    assert [len(stage.convs) for stage in [model.first, *model.stages]] == [1, 2, 3, 3, 3]
    assert [len(stage.convs) for stage in model.joined] == [3, 3, 2, 1]
    assert [stage.convs[0].weight.shape for stage in model.joined] == [(c, c, 5, 5, 5) for c in (256, 128, 64, 32)]
    assert [up.conv.weight.shape for up in model.up] == [
        (256, 128, 2, 2, 2), (256, 64, 2, 2, 2), (128, 32, 2, 2, 2), (64, 16, 2, 2, 2)
    ]  # fmt: skip
    assert [down.conv.weight.shape for down in model.down] == [(2 * c, c, 2, 2, 2) for c in (16, 32, 64, 128)]
    five = 125 * (1 * 16 + 2 * 32**2 + 3 * 64**2 + 3 * 128**2 + 3 * 256**2)  # down
    five += 125 * (3 * 256**2 + 3 * 128**2 + 2 * 64**2 + 32**2)  # up
    two = 8 * (16 * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256 * 128 + 256 * 64 + 128 * 32 + 64 * 16)
    channels = 16 + 32 * 3 + 64 * 4 + 128 * 4 + 256 * 4 + (128 + 3 * 256) + (64 + 3 * 128) + (32 + 2 * 64) + (16 + 32)
    assert sum(p.size for p in model.parameters()) == five + two + 2 * channels + 32 * 2 + 2 == 65_175_314


def test_a_stage_is_its_definition():
    rng = np.random.default_rng(0)
    model = VNet(2, 3, width=4, stages=2, kernel=3, rng=rng)
    for p in model.parameters():
        p.data = rng.normal(0, 0.3, p.shape).astype(np.float32)
    x = rng.standard_normal((1, 2, 4, 6, 2)).astype(np.float32)

    def prelu(y, layer):
        slope = layer.weight.data.reshape(-1, 1, 1, 1)
        return np.maximum(y, 0) + slope * np.minimum(y, 0)

    def conv(y, layer):
        return np.stack([
            sum(correlated(y[c], layer.weight.data[f, c]) for c in range(len(y))) + layer.bias.data[f]
            for f in range(len(layer.weight.data))
        ])  # fmt: skip

    def correlated(y, w):
        from scipy.ndimage import correlate

        return correlate(y, w, mode="constant")

    def stage(y, layers, repeat=1):
        z = y
        for i, layer in enumerate(layers.convs):
            z = conv(z, layer)
            z = prelu(z + np.concatenate([y] * repeat) if i == len(layers.convs) - 1 else z, layers.prelus[i])
        return z

    kept = stage(x[0], model.first, 2)
    w, b = model.down[0].conv.weight.data, model.down[0].conv.bias.data.reshape(-1, 1, 1, 1)
    blocks = kept.reshape(4, 2, 2, 3, 2, 1, 2)  # (C, D/2, 2, H/2, 2, W/2, 2)
    low = stage(prelu(np.einsum("cdihjwk,fcijk->fdhw", blocks, w) + b, model.down[0].prelu), model.stages[0])
    w, b = model.up[0].conv.weight.data, model.up[0].conv.bias.data.reshape(-1, 1, 1, 1)
    up = np.einsum("cdhw,cfijk->fdihjwk", low, w).reshape(4, 4, 6, 2) + b
    high = stage(np.concatenate([prelu(up, model.up[0].prelu), kept]), model.joined[0])
    logits = np.einsum("cdhw,fc->fdhw", high, model.last.weight.data[:, :, 0, 0, 0])
    logits += model.last.bias.data.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(model(md.Tensor(x)).data[0], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kernel": 4}, "odd kernel"),
        ({"in_channels": 3}, "in_channels divides"),
        ({"convolutions": (1, 2)}, "5 stages need 5 numbers"),
        ({"stages": 3, "ascending": (1,)}, "2 on the way up"),
    ],
)
def test_impossible_networks_are_refused(options, message):
    with md.nn.init.undrawn(), pytest.raises(ValueError, match=message):
        VNet(**options)


def test_sides_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"sides that divide by 4, got \(1, 1, 8, 8, 6\)"):
        VNet(width=2, stages=3, kernel=3)(md.Tensor(np.zeros((1, 1, 8, 8, 6), np.float32)))


# --- volumes


def test_generated_volumes_depend_on_the_seed_only_and_hold_both_organs():
    sizes = []
    for seed in range(8):
        volume, again = (speckle.generate(np.random.default_rng(seed), 24) for _ in range(2))
        assert volume.image.tobytes() == again.image.tobytes() and volume.labels.tobytes() == again.labels.tobytes()
        assert volume.image.dtype == np.float32 and volume.labels.dtype == np.uint8
        assert abs(volume.image.mean()) < 0.1 and abs(volume.image.std() - 1) < 0.1
        sizes.append([(volume.labels == k).mean() for k in (1, 2)])
    small, large = np.array(sizes).T
    assert small.min() > 0.001 and small.max() < 0.03 < large.min() and large.max() < 0.35
    other = data.generated(0, data.TEST, 1, 24, lambda: None)[0]
    assert not np.array_equal(data.generated(0, data.TRAIN, 1, 24, lambda: None)[0].labels, other.labels)


def test_speckle_multiplies_and_neighbours_are_alike():
    field = speckle._speckle(np.random.default_rng(0), 32)
    assert field.min() > 0 and field.mean() == pytest.approx(1)
    # of 2 looks the amplitude is a chi of 4 degrees of freedom: its deviation over its mean
    assert field.std() == pytest.approx(np.sqrt(4 / (9 * np.pi / 8) - 1), rel=0.1)
    d = field**2 / (field**2).mean() - 1
    for axis, grain in enumerate(speckle.GRAIN):  # intensity: the square of the field's own correlation
        assert (d * np.roll(d, 1, axis)).mean() / d.var() == pytest.approx(np.exp(-1 / (2 * grain**2)), abs=0.07)
    assert abs((d * np.roll(d, 8, 1)).mean() / d.var()) < 0.1


def test_slices_move_with_their_labels():
    rng = np.random.default_rng(2)
    cube = rng.random((24, 24, 24))
    image, labels = speckle._moved(rng, cube, (cube > 0.5).astype(np.uint8))
    assert np.array_equal(labels, image > 0.5)
    moved = [i for i in range(24) if not np.array_equal(image[i], cube[i])]
    assert 0 < len(moved) <= 4


def test_batches_mirror_image_and_labels_together():
    volume = speckle.generate(np.random.default_rng(0), 16)
    coded = speckle.Volume(volume.labels.astype(np.float32), volume.labels)
    batches = data.VolumeBatches([coded] * 3, 2, seed=0)
    seen = set()
    for step in range(40):
        for image, labels in batches(step):
            assert np.array_equal(image, labels)
            seen.add(labels.tobytes())
    assert len(seen) == 8


def test_padding_and_masks():
    volume = speckle.Volume(np.ones((5, 8, 9), np.float32), np.full((5, 8, 9), 2, np.uint8))
    image, labels = data.padded(volume, 4)
    assert image.shape == labels.shape == (8, 8, 12) and (image == 1).all() and labels.sum() == 2 * 5 * 8 * 9
    m = data.masks(np.array([[[0, 1, 2]]]))
    assert m.shape == (1, 2, 1, 1, 3) and m.reshape(2, 3).tolist() == [[0, 1, 0], [0, 0, 1]]


# --- scores


def test_dice_of_known_masks():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert evaluate.dice(a, b) == 1
    a[:2], b[1:3] = True, True
    assert evaluate.dice(a, b) == 0.5 and evaluate.dice(a, ~a) == 0


def results(values):
    names = [row.name for row in (*train.ROWS, train.CONTROL)]
    return {name: RowScores([(s, g), (s, g)], [0.1, 0.3, 0.2]) for name, (s, g) in zip(names, values)}


def test_the_table_and_the_order_of_the_rows():
    lecture = results([(0.818, 0.918), (0.878, 0.922), (0.894, 0.924), (0.906, 0.934), (0.8, 0.9)])
    lines = evaluate.table(lecture).splitlines()
    assert lines[1].split()[-4:] == ["0.818", "0.918", "0.200", "s"] and lines[5].startswith("(initial")
    assert evaluate.order(lecture) == (
        "order of the lecture's rows: small organ kept (+0.060, +0.016, +0.012); "
        "large organ kept (+0.004, +0.002, +0.010)"
    )
    other = results([(0.8, 0.9), (0.9, 0.8), (0.85, 0.9), (0.95, 0.95), (0.8, 0.9)])
    assert "small organ NOT kept" in evaluate.order(other) and "large organ NOT kept" in evaluate.order(other)
    assert "without auto-context over initial segmentation: small 2, large 1" in report.steps_up([lecture, other])
