"""The stand-in for CuPy is as strict as CuPy."""

import copy
import inspect
import pickle

import numpy as np
import pytest

from tests.support.cuda import cupy_names as cupy_has
from tests.support.cuda import stand_in as fake

# --- arrays


def test_arrays_of_the_host_and_of_the_device_do_not_mix(stand_in):
    a, host = stand_in.ones(3), np.ones(3)
    refused = [
        lambda: a + host,
        lambda: host + a,
        lambda: a + np.ones(()),
        lambda: np.add(a, host),
        lambda: stand_in.add(host, host),
        lambda: stand_in.add(a, [1, 2, 3]),
        lambda: stand_in.sum(host),
        lambda: stand_in.concatenate([a, host]),
        lambda: np.concatenate([a, host]),
        lambda: stand_in.where(np.ones(3, bool), a, a),
        lambda: a[np.array([0])],
        lambda: a[(np.array([True, False, True]),)],
        lambda: a.__setitem__(0, np.ones(())),
        lambda: a.__setitem__(slice(None), host),
        lambda: a.__setitem__(np.array([0]), 1),
        lambda: a.__iadd__(host),
        lambda: host.__iadd__(a),
        lambda: stand_in.add.at(a, np.array([0]), 1.0),
        lambda: a.fill(np.ones(())),
        lambda: stand_in.exp(a, out=host),
        lambda: np.exp(a, out=host),
        lambda: np.asarray(a),
        lambda: np.array([a, a]),
        lambda: np.fft.fft(a),
        lambda: host @ a,
    ]
    for i, attempt in enumerate(refused):
        with pytest.raises(TypeError):
            attempt()
            pytest.fail(f"number {i} was not refused")
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
        a.__array__()
    with pytest.raises(TypeError):
        range(stand_in.asarray(3))  # CuPy has no __index__


def test_numbers_and_numpys_functions_are_welcome(gpu):
    a = gpu.asarray([1.0, 2.0, 3.0], dtype="float32")
    for b in (a * 2, 2 * a, a * np.float32(2), np.float32(2) * a, np.add(a, a), np.multiply(2, a)):
        assert type(b) is gpu.ndarray
        assert b.dtype == np.float32
        assert b.tolist() == [2, 4, 6]
    assert (a * np.float64(2)).dtype == np.float64  # a NumPy scalar has a dtype of its own
    assert np.isfinite(a).all().item() is True
    assert np.shape(a) == (3,)
    assert np.concatenate([a, a]).tolist() == [1, 2, 3] * 2
    a[1] = 5
    a[a > 4] = np.float32(7)
    a[gpu.asarray([0])] += 1
    assert a.get().tolist() == [2, 7, 3]
    assert gpu.asarray(a) is a


def test_results_are_arrays_in_c_order(gpu):
    a = gpu.asarray(np.arange(24.0).reshape(2, 3, 4)).transpose(1, 0, 2)
    assert not a.flags.c_contiguous
    for y in (a + 1, gpu.exp(a), gpu.maximum(a, 0), a.sum(axis=0), gpu.where(a > 1, a, 0), a[gpu.asarray([0, 1])]):
        assert y.flags.c_contiguous
    assert gpu.empty_like(a).strides == a.copy(order="K").strides == a.astype("float64").strides == a.strides
    for y in (a.sum(), a.max(), a[0, 0, 0], gpu.asarray(3.0)):
        assert type(y) is gpu.ndarray
        assert y.shape == ()
    y = a.swapaxes(0, 1)
    y += 1
    assert a[0, 0, 0].item() == 1
    assert y.data.ptr == a.data.ptr


def test_new_memory_holds_rubbish(stand_in):
    assert np.isnan(stand_in.empty((2, 2)).get()).all()
    assert np.isnan(stand_in.empty_like(stand_in.ones(3, "complex64")).get()).all()
    assert abs(stand_in.empty(3, "int64").get()).min() > 1e9
    assert stand_in.empty((), "float32").shape == ()


def test_only_names_and_keywords_that_cupy_has(stand_in):
    a = stand_in.ones((2, 3))
    with pytest.raises(AttributeError, match="the stand-in for cupy has no 'nanquantile'"):
        stand_in.nanquantile  # noqa: B018
    for attempt in (
        lambda: stand_in.add(a, a, where=a > 0),
        lambda: stand_in.sum(a, initial=1.0),
        lambda: a.sum(where=a > 0),
        lambda: stand_in.max(a, 0, None, False, 1.0),
        lambda: stand_in.zeros(3, like=a),
    ):
        with pytest.raises(TypeError, match="cupy"):
            attempt()
    for name in ("ctypes", "__array_interface__", "__index__", "newbyteorder"):
        assert not hasattr(a, name)
    with pytest.raises(AttributeError):
        a.flags.writeable  # noqa: B018
    with pytest.raises(ValueError, match="Unsupported dtype object"):
        stand_in.asarray([None])


def test_a_strided_view_stays_in_its_memory(stand_in):
    a, as_strided = stand_in.arange(10.0), stand_in.lib.stride_tricks.as_strided
    assert as_strided(a[2:], (3, 2), (16, 8)).tolist() == [[2, 3], [4, 5], [6, 7]]
    assert as_strided(a[2:8], (8,), (8,)).tolist() == list(range(2, 10))  # beyond the view, within the memory
    for part, shape in ((a, (11,)), (a[2:], (9,)), (a[::-1], (2,))):
        with pytest.raises(ValueError, match="leave the memory"):
            as_strided(part, shape, (8,))


def test_scattering(gpu):
    a, i = gpu.zeros(4, "float32"), gpu.asarray([1, 1, 3])
    gpu.add.at(a, i, gpu.asarray([1.0, 2.0, 4.0], dtype="float32"))
    gpu.maximum.at(a, i, gpu.asarray([5.0, 2.0, 1.0], dtype="float32"))
    assert a.tolist() == [0, 5, 0, 4]
    for refused, dtype in ((gpu.add, "int8"), (gpu.maximum, "float16"), (gpu.add, "complex128")):
        with pytest.raises(TypeError, match="only supports"):
            refused.at(gpu.zeros(4, dtype), i, 1)


def test_copies_and_pickles(gpu):
    a = gpu.arange(3.0)
    for b in (copy.copy(a), copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert type(b) is gpu.ndarray
        a[0] = 9
        assert b.tolist() == [0, 1, 2]
        a[0] = 0


# --- the lists of names, against CuPy itself


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy", reason="CuPy is not installed: nothing to compare the names with")


def test_every_name_is_one_of_cupys(cupy):
    names = [*cupy_has.UFUNCS, *cupy_has.FUNCTIONS, *cupy_has.CREATORS, *cupy_has.QUESTIONS, *cupy_has.CONSTANTS]
    own = [n for n in vars(fake.make()) if not n.startswith("__")]
    assert [n for n in {*names, *own} if not hasattr(cupy, n)] == []
    assert all(isinstance(getattr(cupy, n), cupy.ufunc) for n in cupy_has.UFUNCS)
    assert all(getattr(cupy, n) == getattr(np, n) for n in cupy_has.CONSTANTS - {"nan"})
    assert all(hasattr(cupy.linalg, n) for n in cupy_has.LINALG)
    for n in ("Device", "Stream", "Event", "is_available", "get_elapsed_time", "get_current_stream", "runtime"):
        assert hasattr(cupy.cuda, n)


def test_every_attribute_of_an_array_is_one_of_cupys(cupy):
    inherited = set(dir(object)) | {"__module__", "__weakref__", "_array"}
    assert set(dir(fake.ndarray)) - inherited - set(dir(cupy.ndarray)) == set()
    flags = {n for n in dir(fake.make().ones(1).flags) if not n.startswith("_")}
    assert flags == {n for n in dir(cupy._core.flags.Flags) if not n.startswith("_")}
    assert fake.ndarray.__module__ == cupy.ndarray.__module__


def test_every_parameter_is_one_of_cupys(cupy):
    for name, parameters in {**cupy_has.FUNCTIONS, **cupy_has.CREATORS, **cupy_has.QUESTIONS}.items():
        theirs = _parameters(getattr(cupy, name))
        ours = [p.strip("*") for p in parameters.split() if name not in ("einsum", "matmul")]
        assert ours == theirs[: len(ours)], name
    for name, parameters in cupy_has.METHODS.items():
        ours = [p.strip("*") for p in parameters.split()]
        assert ours == _parameters(getattr(cupy.ndarray, name), "self")[: len(ours)], name


def test_the_types_that_scatter_are_cupys(cupy):
    memory = cupy.cuda.UnownedMemory(1 << 12, 1 << 10, None, device_id=0)  # never touched: the type is refused before
    a = cupy.ndarray(4, "complex64", cupy.cuda.MemoryPointer(memory, 0))
    for name, types in cupy_has.SCATTERED.items():
        with pytest.raises(TypeError, match="only supports") as error:
            getattr(cupy, name).at(a, a.view("int64"), a)
        assert set(str(error.value).split(" supports ")[1].removesuffix(" as data type").split(", ")) == types


def _parameters(function, first=None):
    """The names of the parameters, from the signature or, of a compiled function, from its documentation."""
    try:
        names = list(inspect.signature(function).parameters)
    except ValueError:
        line = function.__doc__.strip().splitlines()[0]
        parts = line[line.index("(") + 1 : line.rindex(")")].split(",")
        names = [part.split("=")[0].split()[-1].strip("*") for part in parts]
    return names[1:] if first else names
