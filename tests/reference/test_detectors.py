"""torchvision's detectors beside ours with the same weights, drawn so that there are many boxes: the same boxes,
classes, scores, masks and keypoints in photographs, small ones to save time (`photographs.py` has them whole)."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.detect.released import with_state

from .detectors import NETWORKS, PHOTOGRAPHS, apart, drawn, picture, plain_torchvision, torch  # skips without torch

pytestmark = pytest.mark.reference
SIDES, MOBILE, PROPOSALS, HEADED = (96, 160), (192, 320), 60, 8  # detections that masks and keypoints are predicted of


@pytest.fixture(autouse=True, scope="module")
def torchvision_in_python():
    with plain_torchvision():
        yield


def sides_of(name):
    """The shorter and the longer side of pictures; a MobileNet's maps have cells of 32 pixels."""
    return MOBILE if "mobile" in name else SIDES


def small_drawn(name):
    """torchvision's network, for the sizes of pictures and the number of proposals of these tests."""
    options = {} if name.startswith("ssd") else dict(zip(("min_size", "max_size"), sides_of(name)))
    if "rcnn" in name:
        options |= {"rpn_post_nms_top_n_test": PROPOSALS}
        options |= {} if name.startswith("faster") else {"box_detections_per_img": HEADED}
    classes = 2 if "keypoint" in name else 91
    return drawn(name, [picture(each, 4) for each in PHOTOGRAPHS], classes, **options)


def small(detector):
    """Ours, for the same."""
    model, (shortest, longest) = detector.model, sides_of(detector.network)
    if hasattr(model, "rpn"):
        settings = model.rpn.settings
        model.rpn.settings = replace(settings, after=(settings.after[0], PROPOSALS))
        if model.masks or model.num_keypoints:
            model.settings = replace(model.settings, limit=HEADED)
    return replace(detector, preparation=replace(detector.preparation, shortest=shortest, longest=longest))


def compare(net, detector, pictures, least=4):
    """The detections of both in pictures that go through the networks together."""
    with torch.no_grad():
        wanted = net([torch.from_numpy(each) for each in pictures])
    for theirs, found in zip(wanted, detector.find(pictures), strict=True):
        assert len(found) == len(theirs["labels"]) >= least
        assert len(np.unique(found.labels)) > (len(detector.names) > 1)
        result = apart(theirs, found, detector.numbers)
        assert result.labels == 0 and result.boxes <= 1e-2 and result.scores <= 1e-4
        if result.masks is not None:
            assert found.masks.any() and result.masks == 0
        if result.keypoints is not None:
            assert result.keypoints <= 1e-2 and result.keypoint_scores <= 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_of_photographs_are_torchvisions(name):
    net = small_drawn(name)
    detector = with_state(net.state_dict())
    if name.endswith("320_fpn"):  # its weights are shaped as those of the one for large pictures
        detector = with_state(net.state_dict(), name)
    assert detector.network == name
    detector = small(detector)
    assert named(detector.model.state_dict()) == named(net.state_dict())
    for photo in PHOTOGRAPHS[: 1 if name == "ssd300_vgg16" else 5]:  # which has 31 billion MACs, whatever the picture
        compare(net, detector, [picture(photo, 4)])
    if "ssd" not in name:  # whose pictures are all of one size
        compare(net, detector, [picture("coffee", 4), picture("chelsea", 3)])


def named(state):
    """The names in a state but those that frozen statistics lack."""
    return [name for name in state if not name.endswith("num_batches_tracked")]
