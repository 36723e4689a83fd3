"""What Keras saves, in each of its forms, computes the same in layers of ours; TFLite's tensors are Keras's."""

import os
from importlib.util import find_spec

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow" if find_spec("tensorflow") else "torch")
pytest.importorskip("h5py", reason='reads HDF5: pip install "minidl[weights]"')
keras = pytest.importorskip("keras", reason="compares with Keras, version 3: pip install keras, and a backend of it")
pytestmark = pytest.mark.reference

import minidl as md  # noqa: E402
from minidl import functional as F  # noqa: E402

L = keras.layers
FORMS = ("keras", "h5", "weights.h5")


@pytest.fixture(autouse=True)
def names_from_the_first():
    """Layers without a name are counted in a process: dense, dense_1, ..."""
    keras.utils.clear_session()


def randomised(model, seed=0):
    """Every variable drawn, variances above 0.5: nothing is told apart by zeros and ones."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        value = rng.normal(size=variable.shape) * (0.3 if "kernel" in variable.path else 1)
        variable.assign(rng.uniform(0.5, 1.5, variable.shape) if "variance" in variable.path else value)
    return model


def load(model, tmp_path, form):
    """The model's arrays by way of a file; of weights alone, the .keras beside says what the layers are."""
    model.save(config := tmp_path / "m.keras")
    if form == "weights.h5":
        model.save_weights(path := tmp_path / "m.weights.h5")
        return md.load_weights(path, config=config)
    model.save(path := tmp_path / f"m.{form}")
    return md.load_weights(path)


class Net:
    """The layers of a model of ours, called by name with the arrays of a file. x is (N, C, *size)."""

    def __init__(self, state):
        self.state, self.used = state, set()

    def get(self, name):
        self.used.add(name)
        return self.state.get(name)

    def conv(self, x, name, **options):
        return F.conv(x, self.get(f"{name}.weight"), self.get(f"{name}.bias"), **options)

    def norm(self, x, name):
        mean, variance = (self.get(f"{name}.running_{part}") for part in ("mean", "var"))
        return F.batch_norm(x, mean, variance, self.get(f"{name}.weight"), self.get(f"{name}.bias"), eps=1e-3)

    def linear(self, x, name):
        return F.linear(x, self.get(f"{name}.weight"), self.get(f"{name}.bias"))


def same(net, model, ours, x):
    """Channels last for Keras, first for ours; the numbers agree and all of the file was used."""
    theirs = keras.ops.convert_to_numpy(model(np.moveaxis(x, 1, -1)))
    np.testing.assert_allclose(ours.data, np.moveaxis(theirs, -1, 1), rtol=2e-4, atol=2e-5)
    assert net.used >= set(net.state)


@pytest.mark.parametrize("form", FORMS)
def test_convolutions_norms_and_a_flattened_map(tmp_path, form):
    """Names of the user's and of Keras's, in an order that is not the alphabet's; norms without scale, without shift;
    a norm of the flattened map; a model in the model behind the flattening."""
    inputs = keras.Input((8, 6, 3))
    x = L.Conv2D(4, 3, name="zeta")(inputs)
    x = L.BatchNormalization(scale=False, name="alpha")(x)
    x = L.BatchNormalization(center=False)(x)
    x = L.BatchNormalization(scale=False, center=False)(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    x = L.SeparableConv2D(5, 3, padding="same", depth_multiplier=3, use_bias=False)(x)
    x = L.Conv2D(6, 3, groups=1, padding="same", use_bias=False)(x)
    x = L.PReLU(shared_axes=[1, 2])(x)
    x = L.Conv2DTranspose(7, 2, strides=2)(x)
    x = L.AveragePooling2D(2)(x)
    x = L.BatchNormalization()(L.Dropout(0.5)(L.Flatten()(x)))
    x = keras.Sequential([L.Dense(9, name="zz"), L.ReLU(), L.Dense(5, name="aa")], name="head")(x)
    model = randomised(keras.Model(inputs, x))
    net = Net(load(model, tmp_path, form))
    values = np.random.default_rng(1).normal(size=(2, 3, 8, 6)).astype("f4")
    y = net.norm(net.conv(md.tensor(values), "zeta"), "alpha")
    y = net.norm(net.norm(y, "batch_normalization"), "batch_normalization_1")
    y = net.conv(y, "depthwise_conv2d", padding="same", groups=4)
    y = net.conv(y, "separable_conv2d.depthwise", padding="same", groups=8)
    y = net.conv(net.conv(y, "separable_conv2d.pointwise"), "conv2d", padding="same")
    y = F.prelu(y, net.get("p_re_lu.weight"))
    y = F.conv_transpose(y, net.get("conv2d_transpose.weight"), net.get("conv2d_transpose.bias"), stride=2)
    y = net.norm(F.avg_pool(y, 2).reshape(2, -1), "batch_normalization_2")
    same(net, model, net.linear(F.relu(net.linear(y, "head.zz")), "head.aa"), values)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rank", [1, 3])
def test_convolutions_of_other_ranks(tmp_path, form, rank):
    conv, transposed = (getattr(L, f"Conv{rank}D{kind}") for kind in ("", "Transpose"))
    inputs = keras.Input((6, 5, 4)[:rank] + (2,))
    x = transposed(3, 2, strides=2, name="up")(conv(4, 2, padding="same", name="down")(inputs))
    model = randomised(keras.Model(inputs, L.Dense(3, name="out")(L.Flatten()(x))))
    net = Net(load(model, tmp_path, form))
    values = np.random.default_rng(1).normal(size=(2, 2, *(6, 5, 4)[:rank])).astype("f4")
    y = net.conv(md.tensor(values), "down", padding="same")
    y = F.conv_transpose(y, net.get("up.weight"), net.get("up.bias"), stride=2)
    same(net, model, net.linear(y.reshape(2, -1), "out"), values)


@pytest.mark.parametrize("form", FORMS)
def test_twelve_layers_of_a_kind_are_not_mixed_up(tmp_path, form):
    """dense_10 comes before dense_2 in the alphabet; some are frozen, in a model in the model."""
    frozen = keras.Sequential([L.Dense(4), L.Dense(4)], name="frozen")
    frozen.layers[0].trainable = False
    model = keras.Sequential([keras.Input((4,)), *(L.Dense(4, name=f"d{i}") for i in range(12)), frozen])
    randomised(model)
    net = Net(load(model, tmp_path, form))
    values = np.random.default_rng(1).normal(size=(3, 4)).astype("f4")
    y = md.tensor(values)
    for name in [*(f"d{i}" for i in range(12)), *(f"frozen.{layer.name}" for layer in frozen.layers)]:
        y = net.linear(y, name)
    same(net, model, y, values)


@pytest.mark.parametrize("inputs, wanted", [((4, 3, 2), "channel"), ((4, 3), "plain")])
def test_a_flattened_input_is_reordered_if_it_has_channels(tmp_path, inputs, wanted):
    model = randomised(keras.Sequential([keras.Input(inputs), L.Flatten(), L.Dense(3)]))
    values = np.random.default_rng(1).normal(size=(2, *inputs)).astype("f4")
    net = Net(load(model, tmp_path, "keras"))
    ours = md.tensor(np.moveaxis(values, 3, 1) if wanted == "channel" else values).reshape(2, -1)
    theirs = keras.ops.convert_to_numpy(model(values))
    np.testing.assert_allclose(net.linear(ours, "dense").data, theirs, rtol=1e-4, atol=1e-5)


def test_weights_alone_say_what_they_do_not_tell(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 3)), L.Conv2D(2, 3), L.BatchNormalization(scale=False), L.Flatten(),
                              L.Dense(3)])  # fmt: skip
    model.save_weights(path := tmp_path / "m.weights.h5")
    with pytest.raises(md.WeightsError, match=r"'batch_normalization' has 3 variables.*scale.*center.*config="):
        md.load_weights(path)
    with pytest.raises(md.WeightsError, match=r"'dense' may read a flattened map.*config=FILE with model.to_json\(\)"):
        md.load_weights(path, "dense")
    (tmp_path / "m.json").write_text(model.to_json())
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel).transpose(3, 2, 0, 1)
    assert np.array_equal(md.load_weights(path, "conv2d")["weight"], kernel)
    assert set(md.load_weights(path, config=tmp_path / "m.json")) >= {"batch_normalization.bias", "dense.weight"}


class Written(keras.Model):
    """A model that is a class: its file has the names of attributes."""

    def __init__(self):
        super().__init__()
        self.first, self.blocks = L.Dense(3), [L.Dense(3), L.LayerNormalization()]

    def call(self, x):
        return self.blocks[1](self.blocks[0](self.first(x)))


@pytest.mark.parametrize("form", ["keras", "weights.h5"])
def test_a_model_that_is_a_class(tmp_path, form):
    model = Written()
    values = np.random.default_rng(1).normal(size=(2, 4)).astype("f4")
    model(values)
    randomised(model)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    net = Net(md.load_weights(tmp_path / f"m.{form}"))
    y = net.linear(net.linear(md.tensor(values), "first"), "blocks.dense")
    norm = [net.get(f"blocks.layer_normalization.{name}") for name in ("weight", "bias")]
    same(net, model, F.layer_norm(y, (3,), *norm, eps=1e-3), values)


def test_tensors_of_tflite_are_those_of_keras(tmp_path):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the converter needs Keras on TensorFlow")
    model = randomised(keras.Sequential([keras.Input((5, 5, 2)), L.Conv2D(3, 2), L.Flatten(), L.Dense(4)]))
    for optimised in (False, True):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if optimised:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        (tmp_path / "m.tflite").write_bytes(converter.convert())
        loaded = list(md.load_weights(tmp_path / "m.tflite").values())
        kernel, bias, dense, _ = (variable.numpy() for variable in model.variables)
        for wanted in (np.moveaxis(kernel, 3, 0), bias, dense.T):
            wanted = wanted.astype("f2").astype("f4") if optimised else wanted
            assert any(a.shape == wanted.shape and np.array_equal(a, wanted) for a in loaded), wanted.shape
