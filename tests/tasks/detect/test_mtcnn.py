"""MTCNN: each step of the cascade against the formula, the whole on drawn weights, and how its weights are read."""

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

import minidl as md
from minidl import Tensor
from tasks.detect.models import mtcnn
from tasks.detect.models.mtcnn import MTCNN, ONet, PNet, RNet, moved, squared, unlike
from tasks.detect.released.faces import load_faces


def drawn(least=(0.3, 0.01, 0.01), **options):
    """The cascade with weights that say yes often."""
    model, rng = MTCNN(least=least, **options), np.random.default_rng(0)
    for name, p in model.named_parameters():
        small = name.split(".")[1] in ("conv4_2", "dense5_2", "dense6_2", "dense6_3")  # steps and landmarks
        scale = 0.003 if small else (2 / max(p.size / len(p.data), 1)) ** 0.5 if p.ndim > 1 else 0.05
        p.data = (rng.normal(0, scale, p.shape) + ("prelu" in name) * 0.25).astype(np.float32)
    return model


PICTURE = np.random.default_rng(1).integers(0, 256, (3, 40, 52)).astype(np.float32)


def test_the_networks_have_the_papers_shapes_and_parameters():
    counts = [sum(p.size for p in network().parameters()) for network in (PNet, RNet, ONet)]
    assert counts == [6632, 100178, 389040]
    with md.no_grad():
        shapes = [[y.shape for y in net(Tensor(np.zeros((2, 3, n, n + k), np.float32)))]
                  for net, n, k in ((PNet(), 12, 2), (RNet(), 24, 0), (ONet(), 48, 0))]  # fmt: skip
    assert shapes == [[(2, 4, 1, 2), (2, 2, 1, 2)], [(2, 4), (2, 2)], [(2, 4), (2, 10), (2, 2)]]


def test_a_window_of_the_first_network_is_where_its_map_says():
    model = drawn(least=(0.0, 2.0, 2.0), smallest=12)
    model.pnet.conv4_2.weight.data[:] = 0  # no steps
    model.pnet.conv4_2.bias.data[:] = 0
    model.scales = lambda height, width: [1.0]
    with model.inference():
        boxes = model.first(Tensor(PICTURE[None]))
    assert len(boxes) and (boxes[:, 2:] - boxes[:, :2] == 11).all() and (boxes[:, :2] % 2 == 1).all()
    assert boxes[:, 0].max() <= 2 * 21 + 1  # of 41x53 pixels


def test_sizes_of_the_picture():
    model = MTCNN(smallest=20)
    assert np.allclose(model.scales(40, 100), 0.6 * 0.709 ** np.arange(3)) and model.scales(19, 100) == []
    assert len(model.detect(PICTURE[:, :15])) == 0


def test_boxes_are_moved_and_squared():
    boxes = np.array([[10, 20, 29, 29]], np.float32)
    assert moved(boxes, np.array([[0.1, 0.2, -0.1, 0]])).tolist() == [[12, 22, 27, 29]]
    assert moved(boxes, np.array([[1, 0, 0, 1]]), extra=0).tolist() == [[29, 20, 29, 38]]
    assert squared(boxes).tolist() == [[10, 15, 29, 34]]


def test_what_shares_most_of_a_smaller_box_goes():
    boxes = np.array([[1, 1, 20, 20], [3, 3, 8, 8], [15, 15, 30, 30], [1, 1, 20, 20]], np.float32)
    assert unlike(boxes, np.array([0.8, 0.9, 0.7, 0.6]), 0.7).tolist() == [1, 2]
    assert unlike(boxes, np.array([0.8, 0.9, 0.7, 0.6]), 1.0).tolist() == [1, 0, 2, 3]
    assert unlike(boxes[:0], np.zeros(0), 0.7).tolist() == []


def test_crops_are_those_pixels_also_at_the_border(monkeypatch):
    seen = []

    def network(x):
        seen.append(x.numpy())
        return (Tensor(np.zeros((len(x), 4))), Tensor(np.zeros((len(x), 2))))

    monkeypatch.setattr(mtcnn, "TOGETHER", 2)
    boxes = np.array([[1, 1, 24, 24], [-3.7, 5, 20.9, 28], [30, 20, 60, 50], [60, 1, 70, 9]], np.float32)
    kept, _, _ = mtcnn.looked_at(network, Tensor(PICTURE[None]), boxes, 24)
    assert kept.tolist() == boxes[:3].tolist() and [len(x) for x in seen] == [2, 1]
    np.testing.assert_allclose(seen[0][0], (PICTURE[:, :24, :24] - 127.5) / 128, atol=1e-6)
    rows = PICTURE[:, 4:28, :20]  # x from 1 to 20: resampled to 24
    starts = [(o * 20 // 24, -(-(o + 1) * 20 // 24)) for o in range(24)]
    wanted = np.stack([rows[..., a:b].mean(-1) for a, b in starts], -1)
    np.testing.assert_allclose(seen[0][1], (wanted - 127.5) / 128, atol=1e-5)


def test_the_cascade_finds_faces_with_landmarks_the_same_ones_every_time():
    model = drawn()
    found, again = model.detect(PICTURE), model.detect(PICTURE)
    assert len(found) and found.keypoints.shape == (len(found), 5, 3)
    assert np.array_equal(found.boxes, again.boxes) and (found.keypoints[..., 2] == found.scores[:, None]).all()
    assert len(drawn(least=(1.1, 0, 0)).detect(PICTURE)) == len(drawn(least=(0, 1.1, 0)).detect(PICTURE)) == 0


def test_weights_are_three_files_of_a_folder(tmp_path):
    model = drawn()
    with pytest.raises(FileNotFoundError, match=r"no pnet\.pt in .*: --weights of mtcnn names the folder"):
        load_faces(tmp_path)
    for name in ("pnet", "rnet", "onet"):
        md.save_weights(tmp_path / f"{name}.npz", getattr(model, name).state_dict())
    faces = load_faces(tmp_path)
    faces.model.least = model.least
    found = faces.find([PICTURE / 255], 0.5)[0]
    wanted = model.detect(PICTURE)
    assert np.array_equal(found.boxes, wanted.boxes[wanted.scores >= 0.5])
    (tmp_path / "rnet.npz").rename(tmp_path / "onet.npz")
    with pytest.raises(FileNotFoundError, match="no rnet"):
        load_faces(tmp_path)
    (tmp_path / "rnet.npz").write_bytes((tmp_path / "pnet.npz").read_bytes())
    with pytest.raises(ValueError, match="does not hold the weights of rnet"):
        load_faces(tmp_path)
