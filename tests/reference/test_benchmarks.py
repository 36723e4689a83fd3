"""The rows of the CPU benchmark in minidl and in PyTorch: equal outputs and gradients, in float64."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

from benchmarks import cpu, gpu  # noqa: E402
from benchmarks.harness import networks  # noqa: E402
from benchmarks.harness.interface import Unsupported  # noqa: E402
from benchmarks.harness.libraries import is_installed, library  # noqa: E402
from benchmarks.harness.measure import measure  # noqa: E402
from benchmarks.harness.rows import ROWS, Job  # noqa: E402

pytestmark = pytest.mark.reference


ROWS = [*ROWS, *(row for row in gpu.ROWS if row.network is networks.resnet50)]


@pytest.fixture(scope="module")
def libraries():
    before = torch.get_num_threads()
    yield [library(name, 1) for name in ("minidl", "torch")]
    torch.set_num_threads(before)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_outputs_and_gradients_agree(row, libraries):
    ours, theirs = (Job(row, each, tiny=True, dtype="float64").results() for each in libraries)
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=1e-9, atol=1e-11 * abs(array).max(), err_msg=name)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_two_steps_lead_to_equal_weights(row, libraries):
    """Weights after the second step say that the update is the same, its state included."""
    states = []
    for each in libraries:
        job = Job(row, each, tiny=True, dtype="float64")
        for _ in range(2):
            job.run()
        states.append({name: np.asarray(array) for name, array in job.model.state_dict().items()})
    assert list(states[0]) == list(states[1])
    for name, array in states[0].items():
        np.testing.assert_allclose(array, states[1][name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_networks_are_those_that_they_are_named_after(libraries):
    for each in libraries:
        resnet = networks.resnet18(each)
        assert sum(np.prod(p.shape) for p in resnet.parameters()) == 11_689_512
        assert "layer2.0.downsample.0.weight" in resnet.state_dict()
        resnet = networks.resnet50(each)
        assert sum(np.prod(p.shape) for p in resnet.parameters()) == 25_557_032
        assert {"layer1.0.downsample.1.weight", "layer4.2.conv3.weight"} <= set(resnet.state_dict())
        dncnn = networks.dncnn(each)
        assert sum(np.prod(p.shape) for p in dncnn.parameters()) == 556_096
        for build, count in ((networks.resnet20, 269_722), (networks.mobilenet, 4_231_976)):
            assert sum(np.prod(p.shape) for p in build(each).parameters()) == count
        vgg = networks.vgg16(each, width=1, hidden=2, classes=3)
        assert list(vgg.state_dict())[-2:] == ["classifier.6.weight", "classifier.6.bias"]
        assert "features.28.weight" in vgg.state_dict()


def test_the_benchmark_compares_both_in_one_run():
    row, names = next(row for row in ROWS if row.name == "denoiser"), ["minidl", "torch", "best"]
    result = measure(row, {name: cpu.COLUMNS[name] for name in names}, threads=1, rounds=1, tiny=True)
    assert set(result.seconds) == {"minidl", "torch", "best"} and set(result.gemm) == {"minidl", "torch"}
    assert result.ratio("torch") > 0 and "torch/minidl" in cpu.means([result], list(result.seconds))[row.group]


def test_at_its_best_and_exported_torch_computes_the_same(libraries):
    """onnxruntime is optional beside torch; torch.compile would take a minute here."""
    row = next(row for row in ROWS if row.name == "resnet18-inference")
    expected = Job(row, libraries[0], tiny=True).results()["output"]
    best = Job(row, library("torch", 1, mode="best"), tiny=True)
    assert best.x.is_contiguous(memory_format=torch.channels_last) and best.infer().is_inference()
    others = [best]
    if is_installed("onnxruntime"):
        others.append(Job(row, library("onnxruntime", 1), tiny=True))
        with pytest.raises(Unsupported, match="inference only"):
            Job(ROWS[0], others[1].library, tiny=True).run()
    for job in others:
        job.finish()
        np.testing.assert_allclose(job.results()["output"], expected, rtol=1e-3, atol=1e-3 * abs(expected).max())
