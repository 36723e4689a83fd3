"""Scores of saliency maps: hand-made maps with known values, curves, the sanity check, and the planted evidence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

import minidl as md
from minidl import Tensor, data, nn
from minidl import functional as F
from tasks.interpret import curves, evidence, faces, model, sanity, scores, train

SQUARE = np.zeros((6, 8), bool)
SQUARE[2:4, 3:6] = True  # 6 pixels


def one(*place, shape=SQUARE.shape, value=1.0):
    """A map that is `value` at one pixel."""
    values = np.zeros(shape)
    values[place] = value
    return values


# --- pointing


@pytest.mark.parametrize(
    "place, tolerance, found",
    [((2, 3), 0, 1), ((3, 5), 0, 1), ((1, 3), 0, 0), ((1, 2), 1, 1), ((4, 6), 1, 1), ((0, 3), 1, 0), ((0, 3), 2, 1)],
)
def test_pointing_looks_where_the_maximum_is(place, tolerance, found):
    assert scores.pointing(one(*place), SQUARE, tolerance) == found


def test_pointing_with_several_maxima_is_their_share_and_a_constant_map_points_nowhere():
    values = one(2, 3) + one(0, 0) + one(5, 7) + one(5, 0)
    assert scores.pointing(values, SQUARE) == 1 / 4
    assert scores.pointing(np.zeros(SQUARE.shape), SQUARE) == 0
    assert scores.pointing(np.full(SQUARE.shape, 3.0), SQUARE) == 0


def test_pointing_takes_the_largest_not_the_most_negative():
    assert scores.pointing(one(2, 3) - 5 * one(0, 0), SQUARE) == 1


# --- intersection over union


def test_iou_of_known_maps():
    assert scores.iou(SQUARE.astype(float), SQUARE) == 1
    assert scores.iou(np.roll(SQUARE, 1, axis=1) * 2.0 + 1, SQUARE) == 4 / 8  # 4 of 6 in common
    assert scores.iou((~SQUARE).astype(float), SQUARE) == 0
    assert scores.iou(np.zeros(SQUARE.shape), SQUARE) == 0


def test_iou_counts_ties_by_their_share():
    values = one(2, 3, value=2.0) + SQUARE  # 1 pixel above, 5 that tie, all inside
    assert scores.iou(values, SQUARE) == 1
    half = np.zeros(SQUARE.shape)
    half[2:4, 3:6] = half[0, :6] = 1  # 12 tie for 6 places, 6 of them inside: 3 are expected
    assert scores.iou(half, SQUARE) == pytest.approx(3 / (12 - 3))


@settings(deadline=None)
@given(st.permutations(range(48)))
def test_iou_without_ties_is_that_of_the_best_pixels(ranks):
    values = np.array(ranks, float).reshape(SQUARE.shape)
    best = values >= 48 - SQUARE.sum()
    expected = (best & SQUARE).sum() / (best | SQUARE).sum()
    assert scores.iou(values, SQUARE) == pytest.approx(expected)


def test_chance_is_what_random_maps_reach():
    rng = np.random.default_rng(0)
    maps = rng.random((4000, *SQUARE.shape))
    pointing, overlap = scores.chance(SQUARE)
    assert pointing == 4 * 5 / 48
    assert np.mean([scores.pointing(m, SQUARE) for m in maps]) == pytest.approx(pointing, abs=0.03)  # 4 sd
    assert overlap == 6 / 90
    assert np.mean([scores.iou(m, SQUARE) for m in maps]) == pytest.approx(overlap, abs=0.01)


@pytest.mark.parametrize("score", [scores.pointing, scores.iou])
def test_maps_that_cannot_be_scored_are_refused(score):
    with pytest.raises(ValueError, match=r"\(6, 8\), the evidence \(3, 3\)"):
        score(np.zeros((6, 8)), np.zeros((3, 3), bool))
    with pytest.raises(ValueError, match="not finite"):
        score(one(0, 0, value=np.nan), SQUARE)


# --- rank correlation


def test_spearman_by_hand():
    a = np.arange(4.0).reshape(2, 2)
    assert scores.spearman(a, np.exp(a)) == 1
    assert scores.spearman(a, -a) == -1
    assert scores.spearman(a, np.array([[1.0, 0.0], [2.0, 3.0]])) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert np.isnan(scores.spearman(a, np.zeros((2, 2))))
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(1, 4\)"):
        scores.spearman(a, a.reshape(1, 4))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30))
def test_spearman_is_scipys(pairs):
    a, b = np.array(pairs, float).T
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert scores.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


# --- deletion and insertion


class Mean(nn.Module):
    """Logits (0, the log odds of the image's mean, which then is the probability of class 1)."""

    def forward(self, x):
        mean = x.mean(axis=(1, 2, 3))
        return F.stack([mean * 0, F.log(mean + 1e-9) - F.log(1 - mean + 1e-9)], axis=1)


def test_the_area_is_the_trapeziums():
    assert curves.area(np.array([1.0, 1.0])) == 1
    assert curves.area(np.array([1.0, 0.5, 0.0])) == 0.5
    assert curves.area(np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx(1 / 6)
    assert curves.area(np.array([0.2, 0.7, 0.4])) == pytest.approx(np.trapezoid([0.2, 0.7, 0.4], dx=0.5))


def test_the_curves_of_a_network_that_takes_the_mean():
    image = np.zeros((1, 2, 2))
    image[0, 0, 0] = 0.8  # the only pixel that matters
    rng = np.random.default_rng(0)
    right, wrong = image[0], -image[0]
    first = curves.deletion(Mean(), image, 1, right, rng, steps=4)
    last = curves.deletion(Mean(), image, 1, wrong, rng, steps=4)
    np.testing.assert_allclose(first, [0.2, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(last, [0.2, 0.2, 0.2, 0.2, 0], atol=1e-6)
    assert curves.area(first) == pytest.approx(0.1 / 4, abs=1e-6)
    assert curves.area(last) == pytest.approx(0.7 / 4, abs=1e-6)


def test_insertion_begins_blurred_and_ends_with_the_image():
    rng = np.random.default_rng(0)
    image = rng.random((1, 12, 12))
    image[0, 5:7, 5:7] = 3.0
    top = nn.Sequential(nn.MaxPool2d(12), nn.Flatten(), nn.Linear(1, 2, rng=0))
    top[2].weight.data[:], top[2].bias.data[:] = [[0.0], [1.0]], 0
    good = curves.insertion(top, image.astype(np.float32), 1, image[0], rng, steps=9)
    bad = curves.insertion(top, image.astype(np.float32), 1, -image[0], rng, steps=9)
    sharp = 1 / (1 + np.exp(-3.0))
    assert good[0] == bad[0] < sharp - 0.1
    np.testing.assert_allclose(good[1:], sharp, rtol=1e-6)  # 16 pixels come at once, the 4 bright ones first
    np.testing.assert_allclose(bad[-1], sharp, rtol=1e-6)
    assert curves.area(good) > curves.area(bad)


def test_replaced_takes_equal_steps_in_the_order_given():
    image, other = np.zeros((2, 2, 5)), np.ones((2, 2, 5))
    ranking = np.random.default_rng(1).permutation(10)
    stack = curves.replaced(image, other, ranking, 4)
    assert stack.shape == (5, 2, 2, 5)
    np.testing.assert_array_equal(stack.sum(axis=(1, 2, 3)), 2 * np.array([0, 2, 5, 8, 10]))
    for k, pixels in zip((0, 2, 5, 8, 10), stack.reshape(5, 2, 10)):
        assert set(np.flatnonzero(pixels[0])) == set(ranking[:k])
        np.testing.assert_array_equal(pixels[0], pixels[1])


def test_lots_decide_between_equal_pixels():
    values = np.zeros((3, 3))
    values[1, 1] = 1
    orders = [curves.order(values, np.random.default_rng(i)) for i in range(20)]
    assert all(o[0] == 4 and sorted(o) == list(range(9)) for o in orders)
    assert len({tuple(o) for o in orders}) > 10


# --- the sanity check


def little_network(seed=0):
    return model.GAPNet(3, width=4, rng=seed).eval()


IMAGES = np.random.default_rng(5).normal(size=(6, 1, 12, 12)).astype(np.float32)


def features(network):
    with md.no_grad():
        return network.features[0](Tensor(IMAGES)).numpy()[:, 0]  # of the first layer


def test_a_method_that_ignores_the_weights_has_correlation_1_and_one_that_is_noise_nearly_0():
    rng = np.random.default_rng(0)
    methods = {"edges": lambda network: np.abs(IMAGES[:, 0]), "noise": lambda network: rng.random((6, 12, 12))}
    found = sanity.check(little_network(), methods, IMAGES, np.random.default_rng(1))
    assert list(found["edges"]) == ["head", "features.10", "features.7", "features.3", "features.0"]
    assert all(value == pytest.approx(1, abs=1e-12) for value in found["edges"].values())
    assert all(abs(value) < 0.2 for value in found["noise"].values())  # 6 maps of 144 pixels: sd 0.034


def test_randomisation_goes_from_the_top_down():
    found = sanity.check(little_network(), {"first layer": features}, IMAGES, np.random.default_rng(1))["first layer"]
    *above, bottom = found.values()
    assert above == [pytest.approx(1, abs=1e-12)] * 4  # what is below is not touched
    assert bottom < 0.9


def test_the_network_under_check_stays_as_it_is_and_what_is_random_keeps_its_numbers():
    network = little_network()
    before = network.state_dict()
    states = [broken.state_dict() for _, broken in sanity.cascade(network, IMAGES, np.random.default_rng(2))]
    for name, array in before.items():
        np.testing.assert_array_equal(array, network.state_dict()[name])
    for name, _ in network.named_parameters():
        np.testing.assert_array_equal(np.sort(before[name], axis=None), np.sort(states[-1][name], axis=None))
    assert not np.array_equal(before["features.0.weight"], states[-1]["features.0.weight"])
    np.testing.assert_array_equal(before["features.0.weight"], states[-2]["features.0.weight"])


def test_batch_norms_of_a_random_network_are_measured_anew():
    *_, (_, broken) = sanity.cascade(little_network(), IMAGES, np.random.default_rng(2))
    with md.no_grad():
        y = broken.features[0](Tensor(IMAGES)).numpy()
    np.testing.assert_allclose(broken.features[1].running_mean, y.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(broken.features[1].running_var, y.var(axis=(0, 2, 3), ddof=1), rtol=1e-4)
    assert not any(module.training for module in broken.modules())


def test_similarity_leaves_out_what_was_empty_and_counts_what_became_so_as_0():
    ramp, flat = np.arange(9.0).reshape(3, 3), np.zeros((3, 3))
    assert sanity.similarity(np.stack([ramp, flat]), np.stack([ramp, ramp])) == 1
    assert sanity.similarity(np.stack([ramp, ramp]), np.stack([ramp, flat])) == 0.5
    assert np.isnan(sanity.similarity(flat[None], ramp[None]))


# --- planted evidence


def planted(label, seed=3, n=40):
    return evidence.scenes(np.full(n, label), np.random.default_rng(seed), test=False)


def test_all_glyphs_differ_and_have_the_same_number_of_pixels():
    assert evidence.GLYPHS.shape == (8, 7, 7)
    assert set(evidence.GLYPHS.sum(axis=(1, 2))) == {13}
    assert len({glyph.tobytes() for glyph in evidence.GLYPHS}) == 8


def test_the_class_changes_nothing_outside_the_evidence():
    a, b = planted(0), planted(2)
    changed = a.images[:, 0] != b.images[:, 0]
    assert not (changed & ~a.masks).any()
    assert changed.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(a.masks, b.masks)
    np.testing.assert_array_equal(a.distractors, b.distractors)
    assert (a.masks.sum(axis=(1, 2)) == evidence.GLYPH**2).all()


def test_swapping_the_evidence_swaps_the_class():
    a, b = planted(0), planted(2)
    swapped = np.where(a.masks[:, None], b.images, a.images)
    np.testing.assert_array_equal(swapped, b.images)  # with the patch of a T, a picture is that of a T


def test_the_glyph_of_the_class_is_in_the_evidence_and_brighter():
    for label in range(4):
        found = planted(label)
        for image, mask in zip(found.images[:, 0], found.masks):
            patch = image[mask].reshape(7, 7)
            assert (patch[evidence.GLYPHS[label]] >= 0.75).all()
            assert (patch[~evidence.GLYPHS[label]] < 0.75).all()


def test_distractors_are_no_class_and_come_equally_with_all():
    labels = evidence.balanced(4000, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(labels), [1000] * 4)
    found = evidence.scenes(labels, np.random.default_rng(1), test=False)
    assert set(found.distractors.ravel()) == {4, 5, 6, 7}
    counts = np.array([np.bincount(found.distractors[labels == c].ravel(), minlength=8)[4:] for c in range(4)])
    assert stats.chi2_contingency(counts).pvalue > 0.001
    totals = found.images[:, 0].sum(axis=(1, 2)) / evidence.SIDE**2
    means = [totals[labels == c].mean() for c in range(4)]
    assert np.ptp(means) < 5 * totals.std() / np.sqrt(1000)


def test_glyphs_do_not_overlap_and_lie_in_the_picture():
    found = planted(1, n=300)
    bright = (found.images[:, 0] >= 0.75).sum(axis=(1, 2))
    assert (bright == 4 * 13).all()
    assert found.images.min() >= 0 and found.images.max() <= 1 and found.images.dtype == np.float32


def test_textures_of_training_and_test_do_not_meet(monkeypatch):
    left = np.zeros((3, 256, 256))
    left[..., :128] = 1
    monkeypatch.setattr(evidence, "textures", lambda: left)
    rng = np.random.default_rng(0)
    assert len(np.unique(evidence.backgrounds(300, rng, test=False))) == 1
    assert len(np.unique(evidence.backgrounds(300, rng, test=True))) == 1


def test_pictures_depend_on_the_seed_only():
    for a, b in ((planted(1, 4), planted(1, 4)), (train.test_scenes(2, 9), train.test_scenes(2, 9))):
        np.testing.assert_array_equal(a.images, b.images)
    assert not np.array_equal(planted(1, 4).images, planted(1, 5).images)


# --- faces


def test_faces_are_split_without_overlap_and_by_class():
    train_part, test_part = faces.split()
    assert len(set(train_part) & set(test_part)) == 0 and len(set(train_part) | set(test_part)) == 200
    labels = faces.subset()[1]
    assert (labels[test_part].sum(), len(test_part)) == (25, 50)


def test_a_batch_of_faces():
    images, labels = faces.batch(24, data.generator(0, 1))
    assert images.shape == (24, 1, 25, 25) and images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1
    assert labels.sum() == 12
    again, _ = faces.batch(24, data.generator(0, 1))
    np.testing.assert_array_equal(images, again)


def test_augmenting_by_nothing_is_the_identity_or_the_mirror(monkeypatch):
    for name, value in {"SHIFT": 0, "TURN": 0, "ZOOM": 0, "CONTRAST": (1, 1), "LIGHT": 0}.items():
        monkeypatch.setattr(faces, name, value)
    images = faces.subset()[0][:20]
    found = faces.augmented(images, np.random.default_rng(0))
    same = [np.allclose(a, b, atol=1e-6) for a, b in zip(found, images)]
    mirrored = [np.allclose(a, b[..., ::-1], atol=1e-6) for a, b in zip(found, images)]
    assert all(s or m for s, m in zip(same, mirrored)) and 0 < sum(same) < 20


def test_prepared_and_back():
    images = np.linspace(0, 1, 9).reshape(1, 1, 3, 3)
    seen = model.prepared(images)
    assert seen.dtype == np.float32 and seen[0, 0, 1, 1] == 0
    np.testing.assert_allclose(model.pixels(seen), images, atol=1e-6)
