#!/usr/bin/env bash
# Two SummaryWriters of tensorboardX that are made in the same second for one folder write into one file: its name is
# the second and the host's name, and it is opened to be replaced. What the first has logged is lost, without a word.
# (The writer that comes with TensorBoard and PyTorch puts the process and a counter into the name.)
# Fails if that changes: then tasks could log with it, in place of minidl/training/tensorboard.py.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet tensorboardX==2.6.5 numpy==2.4.6 protobuf==7.36.2
venv/bin/python - <<'PYTHON'
import struct
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event


def points(path):
    """The tags of a file of records: a length (8 bytes), its checksum (4), an event, its checksum (4)."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        (size,) = struct.unpack("<Q", data[at : at + 8])
        yield from (value.tag for value in Event.FromString(data[at + 12 : at + 12 + size]).summary.value)
        at += 16 + size


time.sleep(1.05 - time.time() % 1)  # the start of a second
train, test = SummaryWriter("logs"), SummaryWriter("logs")
for step in range(10):
    train.add_scalar("train", 1.0, step)
    test.add_scalar("test", 2.0, step)
train.close()
test.close()
files = list(Path("logs").iterdir())
found = Counter(tag for path in files for tag in points(path))
print("tensorboardX", version("tensorboardX"), "files:", len(files), "points, of 10 each:", dict(found))
if len(files) != 1 or found != {"test": 10}:
    raise SystemExit("the behaviour has changed")
PYTHON
