"""Every layer beside torch's: same text, same state, same forward and gradients, in training and in use."""

from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

import minidl as md  # noqa: E402
from minidl import nn  # noqa: E402

pytestmark = pytest.mark.reference

# name, positional arguments, keyword arguments, input shape
LAYERS = [
    ("Linear", (5, 3), {}, (4, 5)),
    ("Linear", (5, 3), {"bias": False}, (2, 4, 5)),
    ("Identity", (54,), {"unused": 1}, (2, 3)),
    ("Flatten", (), {}, (2, 3, 4, 5)),
    ("Flatten", (2, 3), {}, (2, 3, 4, 5, 2)),
    ("Conv1d", (4, 6, 3), {"padding": 1, "groups": 2}, (2, 4, 9)),
    ("Conv1d", (2, 3, 4), {"padding": "same", "dilation": 2}, (2, 2, 9)),
    ("Conv1d", (2, 3, 3), {"padding": 2, "padding_mode": "circular"}, (2, 2, 9)),
    ("Conv2d", (3, 4, 3), {}, (2, 3, 6, 7)),
    ("Conv2d", (3, 4, (3, 2), 2, (1, 0)), {"bias": False}, (2, 3, 7, 6)),
    ("Conv2d", (4, 4, 3), {"padding": 2, "dilation": 2, "groups": 4}, (2, 4, 7, 6)),
    ("Conv2d", (2, 3, 3), {"padding": "valid"}, (2, 2, 5, 5)),
    ("Conv2d", (2, 3, (3, 4)), {"padding": "same", "padding_mode": "reflect"}, (2, 2, 6, 5)),
    ("Conv2d", (2, 3, 3), {"padding": (2, 1), "stride": 2, "padding_mode": "replicate"}, (2, 2, 6, 5)),
    ("Conv3d", (2, 3, (1, 2, 3), (1, 2, 1), (0, 1, 1)), {}, (2, 2, 3, 4, 5)),
    ("Conv3d", (2, 3, 2), {"padding": 1, "padding_mode": "circular"}, (1, 2, 3, 4, 3)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "groups": 2, "output_padding": 1}, (2, 4, 5)),
    ("ConvTranspose2d", (3, 4, 3, 2, 1, 1), {}, (2, 3, 4, 5)),
    ("ConvTranspose2d", (4, 2, (2, 3)), {"dilation": (1, 2), "padding": (0, 1), "bias": False}, (2, 4, 4, 5)),
    ("ConvTranspose3d", (2, 3, 2, 2), {}, (2, 2, 2, 3, 2)),
    ("BatchNorm1d", (3,), {}, (6, 3)),
    ("BatchNorm1d", (3,), {"momentum": None}, (4, 3, 5)),
    ("BatchNorm2d", (3,), {"eps": 1e-3, "momentum": 0.3}, (4, 3, 2, 5)),
    ("BatchNorm2d", (3,), {"affine": False}, (4, 3, 2, 5)),
    ("BatchNorm2d", (3,), {"bias": False}, (4, 3, 2, 5)),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, (4, 3, 2, 5)),
    ("BatchNorm3d", (2,), {}, (2, 2, 3, 2, 2)),
    ("GroupNorm", (2, 6), {}, (3, 6, 4)),
    ("GroupNorm", (3, 6), {"affine": False, "eps": 1e-3}, (3, 6, 4, 2)),
    ("LayerNorm", (5,), {}, (2, 3, 5)),
    ("LayerNorm", ((3, 5), 0.01), {"bias": False}, (2, 3, 5)),
    ("LayerNorm", ([3, 5],), {"elementwise_affine": False}, (3, 5)),
    ("RMSNorm", (5,), {}, (2, 3, 5)),
    ("RMSNorm", ((3, 5), 0.01, False), {}, (2, 3, 5)),
    ("InstanceNorm1d", (3,), {}, (2, 3, 5)),
    ("InstanceNorm1d", (3, 1e-5, 0.3, True, True), {}, (4, 3, 5)),
    ("InstanceNorm2d", (3,), {"affine": True, "bias": False}, (3, 4, 5)),
    ("InstanceNorm2d", (3,), {"track_running_stats": True, "momentum": None}, (2, 3, 4, 5)),
    ("InstanceNorm3d", (2,), {"affine": True}, (2, 2, 3, 4, 2)),
    ("LocalResponseNorm", (5,), {}, (2, 7, 3, 3)),
    ("LocalResponseNorm", (4, 0.5), {"beta": 0.5, "k": 2.0}, (2, 7, 3)),
    ("MaxPool1d", (2,), {}, (2, 3, 7)),
    ("MaxPool2d", ((2, 3),), {"stride": 1, "padding": 1}, (2, 3, 6, 7)),
    ("MaxPool2d", (3, 2), {"ceil_mode": True}, (2, 3, 6, 8)),
    ("MaxPool3d", (2,), {"dilation": 2, "stride": 1}, (1, 2, 4, 5, 4)),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1}, (2, 3, 7)),
    ("AvgPool2d", (2,), {}, (2, 3, 6, 7)),
    ("AvgPool2d", (3, 2, 1), {"count_include_pad": False, "ceil_mode": True}, (2, 3, 6, 8)),
    ("AvgPool3d", ((2, 1, 2),), {}, (2, 2, 4, 3, 5)),
    ("AdaptiveAvgPool1d", (3,), {}, (2, 3, 7)),
    ("AdaptiveAvgPool2d", ((1, 1),), {}, (2, 3, 6, 7)),
    ("AdaptiveAvgPool2d", ((None, 4),), {}, (2, 3, 6, 7)),
    ("AdaptiveAvgPool3d", (2,), {}, (2, 2, 4, 3, 5)),
    ("Upsample", (), {"scale_factor": 2}, (2, 3, 4)),
    ("Upsample", (), {"size": (5, 7), "mode": "bilinear", "align_corners": True}, (2, 3, 4, 4)),
    ("Upsample", (), {"scale_factor": (2, 1.5, 1), "mode": "trilinear"}, (1, 2, 3, 4, 2)),
    ("ReLU", (), {}, (3, 4)),
    ("ReLU", (True,), {}, (3, 4)),
    ("LeakyReLU", (0.2,), {"inplace": True}, (3, 4)),
    ("PReLU", (), {}, (3, 4, 2)),
    ("PReLU", (4, 0.1), {}, (3, 4, 2)),
    ("ELU", (0.7,), {}, (3, 4)),
    ("GELU", (), {}, (3, 4)),
    ("GELU", ("tanh",), {}, (3, 4)),
    ("SiLU", (True,), {}, (3, 4)),
    ("Mish", (), {}, (3, 4)),
    ("SELU", (), {}, (3, 4)),
    ("ReLU6", (True,), {}, (3, 4)),
    ("Hardtanh", (-0.5, 0.3), {"inplace": True}, (3, 4)),
    ("Hardswish", (), {}, (3, 4)),
    ("Sigmoid", (), {}, (3, 4)),
    ("Tanh", (), {}, (3, 4)),
    ("Softplus", (), {}, (3, 4)),
    ("Softplus", (2.0, 30.0), {}, (3, 4)),
    ("Softmax", (1,), {}, (3, 4, 2)),
    ("LogSoftmax", (-1,), {}, (3, 4, 2)),
    ("PixelShuffle", (2,), {}, (2, 8, 3, 2)),
    ("PixelUnshuffle", (2,), {}, (2, 3, 4, 6)),
    ("ChannelShuffle", (3,), {}, (2, 6, 3)),
    ("Dropout", (0.0,), {}, (3, 4)),
    ("Unflatten", (1, (2, 3)), {}, (2, 6, 4)),
    ("AdaptiveMaxPool1d", (3,), {}, (2, 3, 7)),
    ("AdaptiveMaxPool2d", ((None, 4),), {}, (2, 3, 6, 7)),
    ("AdaptiveMaxPool3d", (2,), {}, (2, 2, 4, 3, 5)),
    ("AvgPool2d", (3, 2, 1), {"divisor_override": 2}, (2, 3, 6, 8)),
    ("Upsample", (), {"size": (5, 7), "mode": "bicubic"}, (2, 3, 4, 4)),
    ("Upsample", (), {"scale_factor": 1.7, "mode": "nearest-exact", "recompute_scale_factor": True}, (2, 3, 4)),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}, (2, 3, 4, 3)),
    ("UpsamplingBilinear2d", ((5, 3),), {}, (2, 3, 4, 4)),
    ("Unfold", ((2, 3),), {"padding": 1, "stride": (2, 1)}, (2, 3, 5, 4)),
    ("Unfold", (2,), {}, (3, 5, 4)),
    ("Fold", ((4, 5), (2, 2)), {"stride": (2, 1)}, (2, 12, 8)),
    ("Fold", ((4, 5), (2, 2)), {"dilation": 2}, (12, 6)),
    ("ReflectionPad1d", (2,), {}, (2, 3, 5)),
    ("ReflectionPad2d", ((1, 2, 0, 3),), {}, (2, 3, 4, 4)),
    ("ReflectionPad3d", ((1, 0, 1, 1, 0, 1),), {}, (2, 3, 4, 3)),
    ("ReplicationPad1d", ((3, -1),), {}, (2, 3, 4)),
    ("ReplicationPad2d", ((-1, 2, 5, 1),), {}, (2, 3, 4, 4)),
    ("ReplicationPad3d", (1,), {}, (2, 2, 3, 2, 2)),
    ("ZeroPad1d", ((-1, 3),), {}, (2, 3, 4)),
    ("ZeroPad2d", ((1, 2, -1, -1),), {}, (3, 4, 4)),
    ("ZeroPad3d", (1,), {}, (2, 2, 3, 2, 2)),
    ("ConstantPad1d", (2, 1.5), {}, (3, 4)),
    ("ConstantPad2d", ((1, -2, 3, 0), -0.5), {}, (2, 3, 4, 4)),
    ("ConstantPad3d", ((1, -2, 3, 0, 1, 1), 2.0), {}, (2, 2, 3, 2, 4)),
    ("CircularPad1d", ((2, 1),), {}, (2, 3, 4)),
    ("CircularPad2d", ((-1, 2, 3, 0),), {}, (2, 3, 4, 4)),
    ("CircularPad3d", (1,), {}, (2, 3, 2, 2)),
    ("Dropout1d", (0.0,), {}, (3, 4, 2)),
    ("Dropout2d", (0.0,), {}, (3, 4, 2, 2)),
    ("Dropout3d", (0.0,), {}, (3, 4, 2, 2, 2)),
    ("Conv1d", (4, 6, 3), {"padding": 1, "groups": 2}, (4, 9)),  # from here on without a batch
    ("Conv2d", (2, 3, 3), {"padding": (2, 1), "stride": 2, "padding_mode": "replicate"}, (2, 6, 5)),
    ("Conv3d", (2, 3, 2), {"padding": 1, "padding_mode": "circular"}, (2, 3, 4, 3)),
    ("ConvTranspose2d", (3, 4, 3, 2, 1, 1), {}, (3, 4, 5)),
    ("MaxPool1d", (2,), {}, (3, 7)),
    ("MaxPool2d", ((2, 3),), {"stride": 1, "padding": 1}, (3, 6, 7)),
    ("AvgPool3d", ((2, 1, 2),), {}, (2, 4, 3, 5)),
    ("AdaptiveAvgPool2d", ((None, 4),), {}, (3, 6, 7)),
    ("AdaptiveMaxPool2d", (2,), {}, (3, 6, 7)),
]


def case_name(case):
    return f"{case[0]}{case[1]}{case[2] or ''}"


def make_pair(name, args, options):
    """The layer and torch's, both in double precision and with the same random state."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, **options).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p += 0.3 * torch.randn_like(p)
        for b in theirs.buffers():
            if b.is_floating_point():
                b += torch.rand_like(b)
    ours = getattr(nn, name)(*args, **options).to(np.float64)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def assert_close(a, b, what):
    np.testing.assert_allclose(np.asarray(a), b.detach().numpy(), rtol=1e-10, atol=1e-12, err_msg=what)


def assert_same_state(ours, theirs):
    mine, yours = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(yours)
    for name in mine:
        assert_close(mine[name], yours[name], name)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("case", LAYERS, ids=case_name)
def test_layer_equals_torch(case, mode):
    name, args, options, shape = case
    ours, theirs = make_pair(name, args, options)
    getattr(ours, mode)(), getattr(theirs, mode)()
    for seed in range(2):  # twice: running averages go on
        rng = np.random.default_rng(seed)
        data = rng.standard_normal(shape)
        x, z = md.Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        y, w = ours(x), theirs(z * 1)  # times 1, for inplace=True is not allowed on a leaf
        assert_close(y, w, "forward")
        g = rng.standard_normal(y.shape)
        ours.zero_grad(), theirs.zero_grad()
        y.backward(g), w.backward(torch.tensor(g))
        assert_close(x.grad, z.grad, "gradient of x")
        for (path, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert_close(p.grad, q.grad, f"gradient of {path}")
        assert_same_state(ours, theirs)


@pytest.mark.parametrize("case", LAYERS, ids=case_name)
def test_fresh_layer_has_the_state_and_text_of_torch(case):
    name, args, options, _ = case
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    if options.get("padding") != "valid":  # torch keeps the word, here it is no padding
        assert repr(ours) == repr(theirs)
    mine, yours = ours.state_dict(), theirs.state_dict()
    assert [(k, v.shape, v.dtype) for k, v in mine.items()] == [
        (k, tuple(v.shape), v.numpy().dtype) for k, v in yours.items()
    ]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_unpool_equals_torch(rank):
    shape = (2, 3, 6, 5, 4)[: rank + 2]
    data = np.random.default_rng(rank).standard_normal(shape)
    pool, unpool = getattr(nn, f"MaxPool{rank}d")(2, return_indices=True), getattr(nn, f"MaxUnpool{rank}d")(2)
    pool_t = getattr(torch.nn, f"MaxPool{rank}d")(2, return_indices=True)
    unpool_t = getattr(torch.nn, f"MaxUnpool{rank}d")(2)
    x, z = md.Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, w = unpool(*pool(x), output_size=shape), unpool_t(*pool_t(z), output_size=shape)
    assert repr(unpool) == repr(unpool_t)
    assert_close(y, w, "forward")
    y.backward(data), w.backward(torch.tensor(data))
    assert_close(x.grad, z.grad, "gradient")


def test_unpooling_and_output_sizes_without_a_batch():
    data = np.random.default_rng(0).standard_normal((3, 6, 5))
    y, indices = nn.MaxPool2d(2, return_indices=True)(md.Tensor(data))
    z, places = torch.nn.MaxPool2d(2, return_indices=True)(torch.tensor(data))
    np.testing.assert_array_equal(indices.data, places.numpy())
    ours, theirs = nn.MaxUnpool2d(2)(y, indices, output_size=(6, 5)), torch.nn.MaxUnpool2d(2)(z, places, (6, 5))
    assert_close(ours, theirs, "unpool")
    ours, theirs = make_pair("ConvTranspose2d", (3, 4, 3), {"stride": 2, "padding": 1})
    assert_close(ours(md.Tensor(data), output_size=(12, 9)), theirs(torch.tensor(data), output_size=(12, 9)), "conv")


@pytest.mark.parametrize("size", [(7, 9), (2, 4, 8, 10), [7, 10]])
def test_conv_transpose_output_size(size):
    ours, theirs = make_pair("ConvTranspose2d", (3, 4, 3), {"stride": 2, "padding": 1})
    data = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    assert_close(ours(md.Tensor(data), output_size=size), theirs(torch.tensor(data), output_size=size), "forward")


LOSSES = [
    ("CrossEntropyLoss", {}),
    ("CrossEntropyLoss", {"label_smoothing": 0.1, "weight": [0.5, 2.0, 1.0, 3.0]}),
    ("CrossEntropyLoss", {"weight": [0.5, 2.0, 1.0, 3.0], "ignore_index": 1, "reduction": "sum"}),
    ("BCEWithLogitsLoss", {}),
    ("BCEWithLogitsLoss", {"pos_weight": [0.5, 2.0, 1.0, 3.0], "weight": [1.0, 2.0, 3.0, 4.0], "reduction": "none"}),
    ("MSELoss", {}),
    ("L1Loss", {"reduction": "sum"}),
    ("SmoothL1Loss", {"beta": 0.5}),
    ("HuberLoss", {"delta": 0.5}),
    ("NLLLoss", {"weight": [0.5, 2.0, 1.0, 3.0]}),
    ("BCELoss", {"weight": [0.5, 2.0, 1.0, 3.0], "reduction": "sum"}),
    ("KLDivLoss", {"reduction": "batchmean"}),
]


@pytest.mark.parametrize("name, options", LOSSES)
def test_loss_equals_torch(name, options):
    rng = np.random.default_rng(3)
    data, target = rng.standard_normal((6, 4)), rng.random((6, 4))
    if name == "BCELoss":
        data = rng.random((6, 4))
    if name in ("CrossEntropyLoss", "NLLLoss"):
        target = rng.integers(0, 4, 6)
        target[0] = options.get("ignore_index", -100)
    theirs = getattr(torch.nn, name)(
        **{k: torch.tensor(v, dtype=torch.float64) if isinstance(v, list) else v for k, v in options.items()}
    )
    ours = getattr(nn, name)(**options)
    assert repr(ours) == repr(theirs)
    assert_same_state(ours, theirs)
    x, z = md.Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, w = ours(x, target), theirs(z, torch.tensor(target))
    assert_close(y, w, "loss")
    y.sum().backward(), w.sum().backward()
    assert_close(x.grad, z.grad, "gradient")


@pytest.mark.parametrize(
    "name, options, classes",
    [
        ("TripletMarginLoss", {"margin": 0.5, "p": 3.0, "swap": True}, 3),
        ("CosineEmbeddingLoss", {"margin": 0.2, "reduction": "sum"}, 2),
        ("CosineSimilarity", {"dim": 0}, 2),
        ("PairwiseDistance", {"p": 3.0, "keepdim": True}, 2),
    ],
)
def test_comparison_of_vectors_equals_torch(name, options, classes):
    arrays = np.random.default_rng(3).standard_normal((classes, 6, 4))
    ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
    assert repr(ours) == repr(theirs)
    target = [np.array([1, -1, -1, 1, 1, -1])] if name == "CosineEmbeddingLoss" else []
    xs, zs = ([make(a, requires_grad=True) for a in arrays] for make in (md.tensor, torch.tensor))
    y, w = ours(*xs, *target), theirs(*zs, *map(torch.tensor, target))
    assert_close(y, w, "value")
    y.sum().backward(), w.sum().backward()
    for x, z in zip(xs, zs):
        assert_close(x.grad, z.grad, "gradient")


def block(lib, channels):
    """A nested model in either library."""
    return lib.Sequential(
        OrderedDict(
            conv=lib.Conv2d(channels, 4, 3, padding=1, bias=False),
            norm=lib.BatchNorm2d(4),
            inner=lib.Sequential(lib.ReLU(), lib.Dropout(0.0), lib.Conv2d(4, channels, 1)),
        )
    )


def network(lib):
    class Net(lib.Module):
        def __init__(self):
            super().__init__()
            self.stem = lib.Conv2d(2, 3, 3)
            self.blocks = lib.ModuleList([block(lib, 3), block(lib, 3)])
            self.heads = lib.ModuleDict({"a": lib.Linear(3, 2), "b": lib.Linear(3, 5)})
            self.register_buffer("scale", None)
            self.pools = lib.ModuleList([lib.AdaptiveAvgPool2d(1), lib.Flatten(), lib.Flatten()])
            self.tied = self.heads["a"]

        def forward(self, x):
            x = self.stem(x)
            for b in self.blocks:
                x = x + b(x)
            for p in self.pools:
                x = p(x)
            return self.tied(x) + self.heads["b"](x).sum()

    return Net()


def test_nested_model_equals_torch():
    torch.manual_seed(0)
    ours, theirs = network(nn).to("float64"), network(torch.nn).double()
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    data = np.random.default_rng(0).standard_normal((2, 2, 6, 6))
    y, w = ours(md.Tensor(data)), theirs(torch.tensor(data))
    assert_close(y, w, "forward")
    (y * y).sum().backward(), (w * w).sum().backward()
    for (path, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert_close(p.grad, q.grad, path)
    assert_same_state(ours, theirs)


@pytest.mark.parametrize("bottleneck", [None, 2])
def test_dense_block_equals_its_definition_in_torch(bottleneck):
    """The layers under torchvision's names, each fed with everything before it."""

    def layer(channels):
        parts = [("norm1", torch.nn.BatchNorm2d(channels))]
        if bottleneck is None:
            parts += [("conv1", torch.nn.Conv2d(channels, 3, 3, padding=1, bias=False))]
        else:
            parts += [
                ("conv1", torch.nn.Conv2d(channels, 3 * bottleneck, 1, bias=False)),
                ("norm2", torch.nn.BatchNorm2d(3 * bottleneck)),
                ("conv2", torch.nn.Conv2d(3 * bottleneck, 3, 3, padding=1, bias=False)),
            ]
        return torch.nn.ModuleDict(OrderedDict(parts))

    theirs = torch.nn.ModuleDict({f"denselayer{i + 1}": layer(4 + 3 * i) for i in range(3)}).double()
    ours = nn.DenseBlock(4, 3, 3, bottleneck=bottleneck, rng=0).to("float64")
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    data = np.random.default_rng(0).standard_normal((2, 4, 5, 5))
    w = torch.tensor(data)
    for one in theirs.values():
        y = w
        for name, part in one.items():
            y = part(torch.relu(y)) if name.startswith("conv") else part(y)
        w = torch.cat([w, y], 1)
    y = ours(md.Tensor(data))
    assert y.shape[1] == ours.out_channels == 13
    assert_close(y, w, "forward")
    (y * y).sum().backward(), (w * w).sum().backward()
    for (path, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert_close(p.grad, q.grad, path)


def test_slices_and_repeats_print_as_torch():
    for lib in (nn, torch.nn):
        lib.text = repr(lib.Sequential(lib.ReLU(), lib.Tanh(), lib.Sequential(lib.ReLU(), lib.Sequential()))[1:])
        lib.text += repr(lib.ModuleList([lib.Sequential(lib.ReLU()), lib.Sequential(lib.ReLU()), lib.Tanh()])[:3])
        lib.text += repr(lib.ModuleList()) + repr(lib.ModuleDict())
    assert nn.text == torch.nn.text
    del nn.text, torch.nn.text


@pytest.mark.parametrize(
    "name, args",
    [
        ("Linear", (40, 500)),
        ("Conv2d", (30, 60, 3)),
        ("Conv1d", (64, 64, 5, 1, 0, 1, 4)),
        ("ConvTranspose2d", (30, 60, 3)),
    ],
)
def test_default_initialisation_has_the_distribution_of_torch(name, args):
    torch.manual_seed(0)
    md.manual_seed(0)
    ours = getattr(nn, name)(*args).state_dict()
    theirs = {k: v.numpy() for k, v in getattr(torch.nn, name)(*args).state_dict().items()}
    for key in ("weight", "bias"):
        a, b = ours[key].ravel(), theirs[key].ravel()
        n = a.size
        bound = np.abs(b).max()
        assert np.abs(a).max() == pytest.approx(bound, rel=10 / n + 1e-6 if n > 1000 else 0.15)
        grid = np.linspace(-bound, bound, 101)
        gap = np.abs((a[:, None] < grid).mean(0) - (b[:, None] < grid).mean(0)).max()
        assert gap < 1.95 * np.sqrt(2 / n)  # Kolmogorov and Smirnov, 0.1 %


@pytest.mark.parametrize("shape", [(6, 4), (8, 4, 3, 3)])
@pytest.mark.parametrize(
    "name, options",
    [
        ("kaiming_uniform", {"a": 0.3}),
        ("kaiming_uniform", {"mode": "fan_out", "nonlinearity": "relu"}),
        ("kaiming_normal", {"mode": "fan_out", "nonlinearity": "relu"}),
        ("xavier_uniform", {"gain": 2.0}),
        ("xavier_normal", {}),
        ("orthogonal", {"gain": 1.5}),
    ],
)
def test_initialisers_scale_as_torch(shape, name, options):
    """Root mean squares over many draws agree (the orthogonal's is exact)."""
    rng, generator = np.random.default_rng(5), torch.Generator().manual_seed(5)
    draw = getattr(torch.nn.init, f"{name}_")
    theirs = [draw(torch.empty(shape), **options, generator=generator) for _ in range(400)]
    ours = [getattr(nn.init, name)(shape, rng, **options) for _ in range(400)]
    rms = np.sqrt(np.mean(np.square(ours))), np.sqrt(np.mean(np.square(np.stack([t.numpy() for t in theirs]))))
    assert rms[0] == pytest.approx(rms[1], rel=0.05)
    assert ours[0].dtype == np.float32


@pytest.mark.parametrize("nonlinearity", ["linear", "sigmoid", "tanh", "relu", "leaky_relu"])
def test_gain_and_dirac_equal_torch(nonlinearity):
    assert nn.init.gain(nonlinearity, 0.2) == pytest.approx(torch.nn.init.calculate_gain(nonlinearity, 0.2))
    for shape, groups in [((4, 2, 3), 2), ((3, 5, 3, 4), 1)]:
        np.testing.assert_array_equal(nn.init.dirac(shape, groups), torch.nn.init.dirac_(torch.empty(shape), groups))
