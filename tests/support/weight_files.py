"""Files of weights in other tools' forms, made by hand: of MATLAB, Keras, Darknet, TFLite."""

import io
import json
import struct
import zipfile

import numpy as np


def cell(*values):
    """A MATLAB cell."""
    made = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        made[0, i] = value
    return made


def matlab(tree, compressed=False):
    """The bytes of a .mat of version 5, or 7."""
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, tree, do_compression=compressed)
    return file.getvalue()


def hdf5(path, groups, userblock=0):
    """Write an HDF5 file: {path of a group or dataset: attributes or an array}."""
    import h5py

    with h5py.File(path, "w", userblock_size=userblock) as file:
        for name, value in groups.items():
            if isinstance(value, dict):
                file.require_group(name).attrs.update(value)
            else:
                file[name] = value
    return path.read_bytes()


def keras_zip(path, config, weights):
    """The bytes of a .keras file with this config and the variables of layers, {"layer/vars/0": array}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", hdf5(path, weights))
    return file.getvalue()


def darknet(numbers, version=(0, 2, 5), seen=7):
    """The bytes of a .weights file."""
    wide = version[0] * 10 + version[1] >= 2
    return struct.pack("<3iQ" if wide else "<3iI", *version, seen) + np.asarray(numbers, "<f4").tobytes()


def tflite(tensors):
    """The bytes of a TFLite model: {name: (array, its type's number, whether it has scales)}."""
    buffers = [b"", *(array.tobytes() for array, _, _ in tensors.values())]
    parts = [
        _table([None, None, None, _string(name), _table([None, None, _vector([1.0], "f")]) if scaled else None],
               shape=_vector(array.shape, "i"), kind=kind, buffer=i + 1)
        for i, (name, (array, kind, scaled)) in enumerate(tensors.items())
    ]  # fmt: skip
    graph = _table([_tables(parts)])
    model = _table([None, None, _tables([graph]), None, _tables([_table([_bytes(b) if b else None]) for b in buffers])])
    return struct.pack("<I4s", 8, b"TFL3") + model


def _table(fields, shape=None, kind=None, buffer=None):
    """A table of a flatbuffer with its offsets before it and what its fields refer to behind: it starts at 0, which
    holds the way back to the offsets."""
    inline = {1: struct.pack("<b", kind), 2: struct.pack("<I", buffer)} if kind is not None else {}
    fields = [shape, *fields[1:]] if shape is not None else list(fields)
    present = [i for i in range(len(fields)) if fields[i] is not None or i in inline]
    places = {number: 4 + 4 * i for i, number in enumerate(present)}
    size = 4 + 4 * len(present)
    body, behind = b"", b""
    for number in present:
        if number in inline:
            body += inline[number].ljust(4, b"\0")
        else:
            body += struct.pack("<I", size + len(behind) - places[number])
            behind += fields[number]
    found = [places.get(number, 0) for number in range(len(fields))]
    offsets = struct.pack(f"<{2 + len(found)}H", 4 + 2 * len(found), size, *found)
    return struct.pack("<i", -(size + len(behind))) + body + behind + offsets


def _vector(values, code):
    return struct.pack(f"<I{len(values)}{code}", len(values), *values)


def _bytes(data):
    return struct.pack("<I", len(data)) + data


def _string(text):
    return _bytes(text.encode()) + b"\0"


def _tables(tables):
    places = np.cumsum([4 + 4 * len(tables), *map(len, tables)])[:-1]
    relative = [int(place) - 4 - 4 * i for i, place in enumerate(places)]
    return struct.pack(f"<I{len(tables)}I", len(tables), *relative) + b"".join(tables)
