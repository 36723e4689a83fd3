"""Clips, tubes, scores by hand, linking, the network, and the command from end to end."""

import json

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

import minidl as md
import tasks.__main__ as frame
from minidl import Tensor
from tasks.track import TrackNet, metrics, report, scenes, sort, train, tubes
from tasks.track.find import Found, find
from tasks.track.model import shifted

# --- clips


def test_objects_keep_to_rays_and_grow_with_their_distance_from_the_vanishing_point():
    clip = scenes.clip("train", 0, 3, 8)
    assert clip.frames.shape == (8, 1, scenes.HEIGHT, scenes.WIDTH) and 0 <= clip.frames.min() <= clip.frames.max() <= 1
    inside = clip.tubes[((clip.tubes > 0.1) & (clip.tubes < np.tile([95.9, 63.9], 2))).all(axis=(1, 2))]
    assert len(inside)
    for tube in inside:
        centre, side = (tube[:, :2] + tube[:, 2:]) / 2 - clip.vanishing, tube[:, 2] - tube[:, 0]
        ratio = centre / side[:, None]
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), atol=1e-3)
    again = scenes.clip("train", 0, 3, 8)
    assert (again.frames == clip.frames).all() and (scenes.clip("test", 0, 3, 8).frames != clip.frames).any()


@pytest.mark.parametrize("frames", [1, 8])
def test_no_object_leaves_the_picture(frames):
    """A box without a side has no offsets: their logarithm would be infinite."""
    rng = np.random.default_rng(0)
    points = [(scenes.WIDTH * x, scenes.HEIGHT * y) for x in (0.25, 0.5, 0.75) for y in (0.0, 0.15)]
    movers = [scenes.Mover.drawn("train", point, frames, rng) for point in points * 50]
    boxes = np.array([[mover.box(t) for t in range(frames)] for mover in movers])
    assert (boxes[..., 2:] - boxes[..., :2]).min() > 3


def test_posts_hide_objects():
    seen = [np.mean([scenes.clip("test", 0, i, 4, posts=n).visible.mean() for i in range(8)]) for n in (0, 2)]
    assert seen[1] < seen[0]


def test_digits_and_textures_are_kept_apart():
    parts = [set(map(bytes, scenes.digits(purpose)[0])) for purpose in scenes.PURPOSES]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


# --- tubes


def test_the_overlap_of_tubes_is_of_their_volumes():
    a = np.array([[[0, 0, 2, 2], [0, 0, 2, 2]]], float)
    b = np.array([[[0, 0, 2, 2], [1, 0, 3, 2]], [[5, 5, 6, 6], [5, 5, 6, 6]], [[0, 0, 0, 0], [0, 0, 2, 2]]], float)
    assert tubes.tube_overlap(a, b).tolist() == [[6 / 10, 0, 4 / 8]]
    assert tubes.suppressed(b, np.array([0.5, 0.9, 0.8]), 0.1).tolist() == [1, 2]


def test_offsets_take_anchors_to_tubes():
    around = tubes.anchors((2, 3), 8, (6.0, 12.0), 4)
    assert around.shape == (12, 4, 4)
    assert around[0, 2].tolist() == [1, 1, 7, 7] and around[1, 0].tolist() == [-2, -2, 10, 10]
    wanted = around.clip(0) + np.array([1, 2, 4, 3], np.float32)
    np.testing.assert_allclose(tubes.decoded(tubes.encoded(wanted, around), around, (99, 99)), wanted, atol=1e-4)


# --- scores


def at(x):
    return np.array([x, 0.0, x + 10, 10])


def test_scores_of_a_switch_by_hand():
    """One object for four frames; a track for two of them, another for the rest."""
    truth = [{1: at(t)} for t in range(4)]
    found = [{7: at(t)} if t < 2 else {8: at(t)} for t in range(4)]
    score = metrics.tracking(truth, found)
    assert score.switches == 1 and score.mota == 3 / 4 and score.idf1 == 2 * 2 / 8
    assert (score.deta, score.assa) == (1.0, 0.5) and score.hota == pytest.approx(0.5**0.5)
    assert metrics.tracking(truth, truth)[:5] == (1.0,) * 5
    nothing = metrics.tracking(truth, [{}] * 4)
    assert nothing[:3] == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no object"):
        metrics.tracking([{}], [{}])


def test_precision_of_tubes_by_hand():
    tube = np.array([[at(0), at(1)]])
    other = tube + 50
    truth = [(np.concatenate([tube, other]), np.array([3, 3]))]
    found = [Found(np.concatenate([other, other + 100, tube]), np.array([3, 3, 3]), np.array([0.9, 0.8, 0.7]))]
    assert metrics.tube_precision(truth, found) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert metrics.tube_precision(truth, [found[0]._replace(classes=np.array([3, 4, 4]))]) == 0.5


def test_boxes_are_linked_where_they_are_expected():
    def single(*boxes):
        count = len(boxes)
        return Found(np.array(boxes, np.float32).reshape(-1, 1, 4), np.full(count, 5), np.full(count, 0.8))

    crossing = [single(at(4.0 * t), at(40 - 4.0 * t)) for t in range(11)]
    crossing[5] = single(at(20))  # one hides the other
    found = sort.linked(crossing)
    assert len(found.tubes) == 2 and (found.classes == 5).all()
    ends = sorted(found.tubes[:, -1, 0].tolist())
    assert ends == [0, 40]
    right = next(tube for tube in found.tubes if tube[0, 0] == 0)
    assert right[-1, 0] == 40
    np.testing.assert_allclose(right[:, 0], 4.0 * np.arange(11), atol=1e-5)  # also where it was hidden


# --- the network


@pytest.mark.parametrize(("streams", "view"), [("2d", "given"), ("3d", "learned"), ("both", "none")])
def test_gradients_reach_every_parameter(streams, view):
    settings = train.Settings.of({"streams": streams, "view": view, "frames": 3, "width": 2, "batch": 2})
    net, loss = settings.build(), train.Loss(0)
    if net.look is not None:  # it moves nothing at first, so that its convolutions get no gradient
        net.look.out.weight.data = np.full_like(net.look.out.weight.numpy(), 1e-3)
    sum(loss(net, train.Clips(settings)(0), "cpu").values()).backward()
    assert all(p.grad is not None and np.abs(p.grad.numpy()).max() > 0 for p in net.parameters())


def test_a_view_is_moved_by_whole_pixels_and_can_be_differentiated():
    clips = np.random.default_rng(0).random((2, 1, 2, 8, 12))
    shift = np.array([[2 * 3 / 12, 2 * 1 / 8], [0, 0]])  # 3 pixels right, 1 down
    moved = shifted(Tensor(clips), Tensor(shift)).numpy()
    np.testing.assert_allclose(moved[0, :, :, :-1, :-3], clips[0, :, :, 1:, 3:], atol=1e-6)
    np.testing.assert_allclose(moved[1], clips[1], atol=1e-6)
    assert md.gradcheck(lambda s: shifted(clips, s).sum() + (shifted(clips, s) ** 2).sum(), shift + 0.013)


def test_the_vanishing_points_come_to_one_place():
    net = TrackNet(2, "2d", "given", 2, rng=0)
    clips = [scenes.clip("train", 0, i, 2) for i in range(3)]
    x, vanishing = train.stacked(clips)
    moved = net(Tensor(x), vanishing).moved.numpy()
    places = vanishing - moved
    np.testing.assert_allclose(places, np.broadcast_to(places[0], places.shape), atol=1e-4)
    with pytest.raises(ValueError, match="vanishing points"):
        net(Tensor(x))


def test_what_is_found_is_inside_the_clip_and_the_best_comes_first():
    net = TrackNet(3, "both", "none", 2, rng=0)
    for found in find(net, [scenes.clip("test", 0, i, 3) for i in range(2)]):
        assert found.tubes.shape[1:] == (3, 4) and (np.diff(found.scores) <= 0).all()
        assert (found.tubes >= 0).all() and (found.tubes[..., 2:] <= [scenes.WIDTH, scenes.HEIGHT]).all()


# --- the command


def run(out, *argv):
    return frame.main(["track", "--quiet", "--out", str(out), *map(str, argv)])


def test_the_command_from_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "TESTED", 3)
    monkeypatch.setattr(report, "CHOSEN", 2)
    assert run(tmp_path, "--steps", 2, "--width", 2, "--frames", 3, "--batch", 1) == 0
    assert "detect, then track" in capsys.readouterr().out and (tmp_path / "figure.png").exists()
    assert set(json.loads((tmp_path / "scores.json").read_text())) == set(report.POSTS)
    trained = ("--checkpoint", tmp_path / "checkpoint.npz")
    assert run(tmp_path / "page", *trained, "--explain", 1) == 0
    assert "data:image/png" in (tmp_path / "page" / "explain-1.html").read_text()
    for argv, said in ((trained, "--explain N"), (("--frames", 1), "--streams 2d")):
        assert run(tmp_path / "page", *argv) == 2
        assert said in capsys.readouterr().err
