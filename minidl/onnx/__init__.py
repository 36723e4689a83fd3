"""ONNX in and out: graphs that other programs wrote as Modules of our primitives, and recorded graphs as files.

`md.load_onnx` is in `module.py`. Nothing here imports the `onnx` package before a file is read or written:
``pip install "minidl[onnx]"``.
"""
