"""GPU code: on a device where one answers, and everywhere on a stand-in for CuPy."""
