"""Array functions once more as CUDA kernels, where CuPy's own are too slow: for each operation, the module
and the function that launch the kernel.

Each `.cu` is a lesson of its own: the formula, the shapes, which thread computes what. Beside it, under the same name,
is the Python that launches it. `source.py` puts a file together with the constants of one geometry and compiles it.
"""

KERNELS = {
    "add": "gpu.entries.add",
    "relu": "gpu.entries.relu",
    "gated": "gpu.entries.gated",
    "sum": "gpu.reduce.summed",
    "put": "indexing.put",
    "take": "resample.take",
    "matmul_along_axis": "resample.matmul_along_axis",
    "unfold": "gpu.columns.im2col",
    "fold": "gpu.columns.col2im",
    "conv": "gpu.convolution.convolve",
    "conv_transpose": "gpu.convolution.transpose",
    "conv_weight": "gpu.convolution.correlate",
    "max_pool": "gpu.pool.max_pool",
    "to_largest": "gpu.pool.to_largest",
    "from_largest": "gpu.pool.from_largest",
    "window_argmax": "gpu.pool.argmax",
    "window_sum": "gpu.pool.window_sum",
    "window_spread": "gpu.pool.window_spread",
    "roi_align": "gpu.roi.align",
    "roi_spread": "gpu.roi.spread",
    "largest_of_bins": "gpu.roi.largest",
    "roi_to_largest": "gpu.roi.to_largest",
    "moments": "gpu.norm.moments",
    "blend": "gpu.norm.blend",
    "batch_norm": "gpu.norm.training",
    "batch_norm.backward": "gpu.norm.training_backward",
    "batch_norm_eval": "gpu.norm.evaluation",
    "batch_norm_eval.backward": "gpu.norm.evaluation_backward",
    "cross_entropy": "gpu.loss.cross_entropy",
    "cross_entropy.backward": "gpu.loss.cross_entropy_backward",
    "unsuppressed": "gpu.nms.unsuppressed",
    "sgd": "gpu.update.sgd",
    "adam": "gpu.update.adam",
    "adamw": "gpu.update.adamw",
}
