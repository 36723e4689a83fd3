"""CUDA without a device: a stand-in for CuPy that runs kernels on the CPU, and what NVRTC makes of them."""
