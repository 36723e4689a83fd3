"""What save_onnx writes: onnxruntime computes what our network computes, and so does the file read again."""

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime", reason="compares with onnxruntime")

import minidl as md  # noqa: E402
from minidl import nn  # noqa: E402
from minidl.core.primitive import registry  # noqa: E402
from minidl.onnx.save.file import as_model  # noqa: E402
from minidl.onnx.save.recording import named  # noqa: E402
from minidl.onnx.save.writers import REASONS  # noqa: E402
from tasks.denoise.model import DnCNN, LectureDenoiser  # noqa: E402
from tasks.detect.models.faster_rcnn import faster_rcnn_small  # noqa: E402
from tasks.detect.models.retinanet import RetinaNet  # noqa: E402
from tasks.detect.models.rfcn import rfcn_small  # noqa: E402
from tasks.detect.models.ssd import SSD  # noqa: E402
from tasks.detect.models.yolo import YOLO  # noqa: E402
from tasks.labs.wavenet import WaveNet  # noqa: E402
from tasks.models import MODELS  # noqa: E402
from tasks.models.milesial import MilesialUNet  # noqa: E402
from tasks.models.segmentation import SEGMENTERS  # noqa: E402
from tasks.segment.fcn import FCN  # noqa: E402
from tasks.segment.simple import SimpleNet  # noqa: E402
from tasks.segment.unet import UNet  # noqa: E402
from tasks.volume.vnet import VNet  # noqa: E402

from ..onnx.written import calls, outputs  # noqa: E402

pytestmark = pytest.mark.reference
CLASSIFIERS = {  # one of each family, and the side of its pictures
    "alexnet_small": 16, "vgg_small": 16, "googlenet_small": 16, "resnet_small": 16, "densenet_small": 16,
    "googlenet": 64, "resnet18": 64, "densenet121": 64, "squeezenet1_1": 64, "mobilenet_v2": 64, "inception_v3": 96,
    "mobilenet_v3_small": 64, "shufflenet_v2_x0_5": 64, "mnasnet0_5": 64, "efficientnet_b0": 64, "regnet_x_400mf": 64,
    "regnet_y_400mf": 64, "convnext_tiny": 64, "swin_t": 64, "swin_v2_t": 64, "mobilenet_v1": 32,
    "inception_v2": 64,
}  # fmt: skip


def by_runtime(proto, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.mark.parametrize("name", sorted(p for p in registry if p not in REASONS))
def test_every_sample_of_every_primitive(name):
    for n, (function, arrays, expected) in enumerate(calls(name, np.float32)):
        if name == "roi_pool":  # bins that end between cells: they are cut in single precision
            expected = function(*map(md.Tensor, arrays)).data
        (found,) = outputs(function, arrays, by_runtime, dynamic_batch=False)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=f"sample {n}")


def randomised(model):
    """Weights that keep the scale of activations, and running statistics that matter."""
    rng = np.random.default_rng(0)
    for p in model.parameters():
        fan_in = p.size // len(p.data) if p.ndim > 1 else 1
        p.data = ((1 / fan_in) ** 0.5 * rng.standard_normal(p.shape, np.float32)).astype(p.dtype)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer[...] = rng.normal(size=buffer.shape)
        if name.endswith("running_var"):
            buffer[...] = rng.uniform(0.5, 2, size=buffer.shape)
    return model.eval()


def undrawn(make, *arguments, **options):
    with nn.init.undrawn():
        return make(*arguments, **options)


def assert_equal_everywhere(model, *shape, sizes=(1, 3)):
    """In onnxruntime to 1e-5 of the largest output, read again to 1e-6, on batches of several sizes."""
    x = np.random.default_rng(1).standard_normal((max(sizes), *shape), np.float32)
    proto = as_model(model, x[:1])
    again = md.load_onnx(proto)
    for n in sizes:
        with md.no_grad():
            expected = [np.asarray(y) for y in dict(named(model(md.Tensor(x[:n])))).values()]
            repeated = again(md.Tensor(x[:n]))
        repeated = repeated if isinstance(repeated, tuple) else (repeated,)
        found = by_runtime(proto, {proto.graph.input[0].name: x[:n]})
        for right, theirs, ours in zip(expected, found, repeated, strict=True):
            size = np.abs(right).max()
            assert size > 0 and right.std() > 1e-3
            assert theirs.dtype == right.dtype and np.abs(theirs - right).max() < 1e-5 * size
            assert ours.dtype == right.dtype and np.abs(ours.data - right).max() < 1e-6 * size


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name):
    size = CLASSIFIERS[name]
    assert_equal_everywhere(randomised(undrawn(MODELS[name], num_classes=10)), 3, size, size, sizes=(1, 2))


NETWORKS = {
    "unet": (lambda: UNet(depth=2), (1, 60, 60)),
    "unet padded": (lambda: UNet(depth=2, padded=True, batch_norm=True), (1, 33, 21)),
    "unet nearest": (lambda: UNet(depth=2, padded=True, up="nearest"), (1, 32, 32)),
    "milesial's unet": (lambda: MilesialUNet(2, 3, bilinear=True), (3, 32, 32)),
    "lraspp": (lambda: SEGMENTERS["lraspp_mobilenet_v3_large"](num_classes=3), (3, 65, 65)),
    "deeplab": (lambda: SEGMENTERS["deeplabv3_mobilenet_v3_large"](num_classes=3), (3, 65, 65)),
    "vnet": (lambda: VNet(width=4, stages=3, kernel=3), (1, 8, 8, 12)),
    "fcn32s": (lambda: FCN(variant="32s", width=4), (3, 40, 50)),
    "fcn8s": (lambda: FCN(variant="8s", width=4), (3, 40, 50)),
    "simple": (lambda: SimpleNet(), (1, 20, 20)),
    "lecture": (lambda: LectureDenoiser(), (1, 20, 20)),
    "dncnn": (lambda: DnCNN(depth=6), (1, 20, 20)),
    "wavenet": (lambda: WaveNet(8, 4, 6, (1, 2, 4), np.random.default_rng(0)), (8, 30)),
    "retinanet": (lambda: RetinaNet.small(3), (3, 64, 64)),
    "ssd": (lambda: SSD.small(3), (3, 96, 96)),
    "yolo": (lambda: YOLO.small(3), (3, 96, 96)),
    "faster r-cnn, first stage": (lambda: FirstStage(faster_rcnn_small(3)), (3, 64, 64)),
    "r-fcn, second stage": (lambda: Voting(rfcn_small(3)), (3, 64, 64)),
    "mask r-cnn, second stage": (lambda: SecondStage(faster_rcnn_small(3, masks=True, num_keypoints=2)), (3, 64, 64)),
}


class FirstStage(nn.Module):
    """Up to the suppression."""

    def __init__(self, detector):
        self.detector = detector

    def forward(self, images):
        return self.detector.rpn(self.detector.backbone(images), images.shape[2:])


class SecondStage(FirstStage):
    """Fixed regions of the first image to logits, steps, masks and keypoints."""

    def forward(self, images):
        maps = self.detector.backbone(images)
        boxes = np.array([[0, 1, 2, 30, 40], [0, 3, 4, 20, 30], [0, 5.5, 5, 50, 50]])
        heads = (self.detector.box_outputs, self.detector.mask_outputs, self.detector.keypoint_outputs)
        return [head(maps, boxes) for head in heads]


class Voting(FirstStage):
    """Fixed regions of the first image to logits and steps, by the votes of their bins."""

    def forward(self, images):
        boxes = np.array([[0, 1, 2, 30, 40], [0, 3, 4, 20, 30], [0, 5.5, 5, 50, 50]])
        return list(self.detector.box_outputs(self.detector.backbone(images), boxes))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_the_tasks(name):
    make, shape = NETWORKS[name]
    assert_equal_everywhere(randomised(undrawn(make)), *shape)
