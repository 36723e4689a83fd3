"""Array functions once more as CUDA kernels, where CuPy's own are too slow.

Each `.cu` is a lesson of its own: the formula, the shapes, which thread computes what. Beside it, under the same name,
is the Python that launches it. `source.py` puts a file together with the constants of one geometry and compiles it.
"""
