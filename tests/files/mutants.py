"""Damage files of weights in many ways and watch what reading them does: ``python -m tests.files.mutants [COUNT]``.

Every file that is read must hold what another reader finds in it (NumPy, the definition of safetensors, torch where it
is installed); every other must be refused in one line. Nothing may be run or opened, and time and memory are bounded.
"""

import io
import json
import pickle
import pickletools
import struct
import sys
import tempfile
import time
import tracemalloc
import zipfile
from argparse import Namespace
from collections import Counter
from pathlib import Path

import numpy as np

import minidl as md
from minidl.kernels.cpu.workers import share
from tests.support.torch_files import Global, Made, Tensor, torch_file

KINDS = ("npz", "safetensors", "zip", "legacy", "pickle")
HARMLESS = ("compile", "object.__getattr__", "sys._getframe", "mmap.__new__")  # compile: of a literal, not run
EDGES = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)


def good(kind, rng):
    """The bytes of a sound file of a few arrays."""
    arrays = {"weight": rng.normal(size=(3, 2, 3, 3)).astype("f4"), "bias": rng.normal(size=3).astype("f4"),
              "bn.num_batches_tracked": np.array(7), "half": np.arange(5, dtype="f2"), "none": np.ones((0, 4))}
    if kind in ("npz", "safetensors"):
        with tempfile.TemporaryDirectory() as folder:
            md.save_weights(path := Path(folder) / f"w.{kind}", arrays)
            return path.read_bytes()
    if kind == "pickle":
        return pickle.dumps({"state_dict": arrays, "epoch": 4, "name": "net"}, protocol=int(rng.integers(2, 6)))
    model = {name: Tensor(array) for name, array in arrays.items()}
    beside = {"args": Namespace(lr=0.1), "steps": Counter([3, 3]), "epoch": 4, "seen": {1, 2}, "names": {(0, 1): "a"},
              "mean": np.array([0.5]), "model": Made(Global("net", "Net"), 3, state={"a": 1})}
    if rng.integers(2):  # torch reads no such file as weights only
        beside = {}
    protocol, crc = int(rng.integers(2, 5)), bool(rng.integers(4))
    return torch_file({"state_dict": model, **beside}, kind == "legacy", protocol, crc)


# --- damage


def flips(data, rng):
    for position in rng.integers(0, len(data), rng.integers(1, 9)):
        data[position] ^= 1 << rng.integers(8)
    return data


def lengths(data, rng):
    """A number of 1 to 8 bytes becomes one at the edge of what fits."""
    size, edge = int(rng.choice([1, 2, 4, 8])), int(rng.choice(EDGES))
    start = int(rng.integers(0, max(len(data) - size, 1)))
    data[start : start + size] = (edge % 256**size).to_bytes(size, "little")
    return data


def slices(data, rng):
    """A piece is cut out, doubled, zeroed, put behind the end, or the file ends early."""
    start, size = int(rng.integers(0, len(data))), int(rng.integers(1, 60))
    piece = data[start : start + size]
    head, tail = data[:start], data[start + size :]
    ways = head + tail, head + 2 * piece + tail, head + bytes(len(piece)) + tail, data + piece, head
    return ways[rng.integers(5)]


def records(data, rng, kind):
    """The parts that the format is made of, changed, lost, doubled or in another order, in a sound package."""
    if kind == "safetensors":
        length = struct.unpack("<Q", data[:8])[0]
        text = json.dumps(altered(json.loads(data[8 : 8 + length]), rng)).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]
    if kind in ("legacy", "pickle"):
        return instructions(bytes(data), rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            info.CRC = None  # it may be missing
        members = [[name, archive.read(name)] for name in archive.namelist()]
    i, j = rng.integers(len(members), size=2)
    action = rng.integers(5)
    if action == 0:
        del members[i]
    elif action == 1:
        members[i][1], members[j][1] = members[j][1], members[i][1]
    elif action == 2:
        members[i][1] = bytes(flips(bytearray(members[i][1]), rng)) if members[i][1] else b"x"
    else:
        i = max(range(len(members)), key=lambda n: members[n][0].endswith(("data.pkl", "weight.npy")))
        member = members[i]
        member[1] = instructions(member[1], rng) if kind == "zip" else bytes(lengths(bytearray(member[1][:128]), rng))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED][rng.integers(2)]) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def altered(value, rng):
    """One value in a nest of JSON becomes another, or is lost."""
    if isinstance(value, dict | list) and value:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[rng.integers(len(keys))]
        if rng.integers(8) == 0:
            del value[key]
        else:
            value[key] = altered(value[key], rng)
        return value
    return [*EDGES, 1.5, "F64", "F16", None, True, {}, [], [2, 3], "x" * 300][rng.integers(len(EDGES) + 9)]


def instructions(data, rng):
    """Some instructions of the pickles are lost, doubled or moved, or have a number at an edge."""
    file, starts = io.BytesIO(data), []
    try:
        while True:
            base = file.tell()
            starts += [base + position for _, _, position in pickletools.genops(io.BytesIO(data[base:]))]
            file.seek(starts[-1] + 1)
    except (ValueError, IndexError):
        pass  # the storages of a legacy file
    i, j = sorted(rng.integers(0, len(starts) - 1, 2))
    a, b, c, d = starts[i], starts[i + 1], starts[j], starts[j + 1]
    number = int(rng.choice(EDGES)).to_bytes(9, "little", signed=True)
    edge = b"\x8a\x09" + number
    return [data[:a] + data[b:], data[:b] + data[a:], data[:a] + data[c:d] + data[a:], data[:a] + edge + data[b:],
            data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]][rng.integers(5)]  # fmt: skip


def mutant(kind, rng):
    """A damaged file of this kind."""
    data, how = bytearray(good(kind, rng)), [flips, lengths, slices, records][rng.integers(4)]
    return bytes(records(data, rng, kind) if how is records else how(data, rng))


# --- what another reader finds


def other_reader(kind, path):
    """{name: array} as the format's other reader has it; None if it refuses."""
    try:
        if kind == "npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if kind == "safetensors":
            return by_definition(path.read_bytes())
        if kind == "pickle":
            tree = ArraysOnly(io.BytesIO(path.read_bytes())).load()["state_dict"]
            return {str(name): array for name, array in tree.items()}
        import torch

        tree = torch.load(path, weights_only=True)
        tree = tree.get("state_dict", tree)
        return {str(name): value.numpy() for name, value in tree.items() if isinstance(value, torch.Tensor)}
    except Exception:
        return None


class ArraysOnly(pickle.Unpickler):
    """Python's own reader, where a file asks for nothing but what arrays are made of."""

    def find_class(self, module, name):
        made_of = ("_reconstruct", "ndarray", "dtype", "_frombuffer", "scalar")
        if module.partition(".")[0] != "numpy" or name not in made_of:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return super().find_class(module, name)


def by_definition(data):
    """What a safetensors file holds, in the dtypes that the sound files have."""
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    dtypes = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8"}
    return {name: np.frombuffer(body[slice(*entry["data_offsets"])], dtypes[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}  # fmt: skip


# --- the judgement

events: list[str] = []  # what Python's audit hooks report while a file is read
watching = False


def hook(event, arguments):
    if watching:
        events.append(f"{event} {arguments[0]}" if event in ("open", "import") else event)


def judged(kind, data, path):
    """"read", "refused" or a fault, with the seconds and the peak of memory that reading took."""
    global watching
    path.write_bytes(data)
    events.clear()
    tracemalloc.start()
    start, loaded, verdict = time.perf_counter(), None, "read"
    watching = True
    try:
        loaded = md.load_weights(path)
    except md.WeightsError as error:
        verdict = "refused" if "\n" not in str(error) and str(error).startswith(f"{path}: ") else "FAULT: not one line"
    except BaseException as error:
        verdict = f"FAULT: {type(error).__name__} {error}"
    finally:
        watching = False
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    odd = [event for event in events if event not in (f"open {path}", *HARMLESS)]
    if odd:
        verdict = f"FAULT: {odd[0]}"
    if loaded is not None and (other := other_reader(kind, path)) is not None:
        same = all(name in loaded and equal(loaded[name], array) for name, array in other.items())
        verdict = verdict if same else "FAULT: other numbers"
    return verdict, seconds, peak


def equal(ours, theirs):
    dtype = np.float32 if theirs.dtype.name == "bfloat16" else theirs.dtype.newbyteorder("=")
    return ours.dtype == dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.astype(dtype).tobytes()


def survey(kind, count, path, seed=0):
    """What became of `count` mutants: verdicts, the longest time, the largest memory."""
    verdicts, slowest, largest = Counter(), 0.0, 0
    for i in range(count):
        data = mutant(kind, np.random.default_rng([seed, KINDS.index(kind), i]))
        verdict, seconds, peak = judged(kind, data, path)
        verdicts[verdict] += 1
        slowest, largest = max(slowest, seconds), max(largest, peak)
        if verdict.startswith("FAULT"):
            print(f"{kind} {i}: {verdict}")
    return verdicts, slowest, largest


if __name__ == "__main__":
    share(print, [], 0)  # starts threads of ours, for which packages are imported
    b"\\N{DIGIT ONE}".decode("unicode_escape").encode("raw_unicode_escape")  # what Python imports to read texts
    sys.addaudithook(hook)  # for good, and it slows everything down: not in the tests
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            verdicts, slowest, largest = survey(kind, number, Path(folder) / "w")
            most = f"at most {1000 * slowest:.0f} ms and {largest / 2**10:.0f} KiB"
            print(f"{kind:<12} {dict(sorted(verdicts.items()))}, {most}")
