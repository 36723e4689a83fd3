"""Packaging: `pip install -e .` for the engine, `.[tasks]` for what runs on images, `.[gpu]` for CUDA, `.[test]`."""

import os
import re
import runpy
from pathlib import Path
from shutil import copyfile

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
ABOUT = runpy.run_path(str(HERE / "minidl/version.py"))
ADDRESS = f"https://github.com/{ABOUT['REPOSITORY']}" if ABOUT["REPOSITORY"] else ""

TASKS = [
    "constriction>=0.4",  # range coder of compressed pictures
    "matplotlib>=3.8",
    "pillow>=10.3",
    "safetensors>=0.4",
    "scikit-image>=0.22",
    "scikit-learn>=1.4",
    "threadpoolctl>=3.2",
    "tqdm>=4.66",
]
ONNX = ["onnx>=1.19"]  # reads and writes the files; nothing of it runs a network
MPI = ["mpi4py>=4.0", "mpich>=4.2; platform_system != 'Windows'"]  # mpich brings mpiexec; a cluster has its own
TEST = [
    *TASKS,
    *MPI,
    *ONNX,
    "h5py>=3.10",  # Keras's and MATLAB's files
    "hypothesis>=6.100",
    "mpmath>=1.3",  # as many digits as one asks for: the oracle of chapter 17
    "nibabel>=5.2",  # an oracle for our reader of NIfTI
    "playwright>=1.40",  # drives a browser that is installed; it brings none
    "pycocotools>=2.0.8",
    "pytest>=8.0",
    "pytest-xdist>=3.5",
    "ruff>=0.6",
]


def description():
    """README for readers who have no clone: what it links to in the repository is there, or is no link."""

    def leading(link):
        image, text, target = link.groups()
        if re.match("https?:", target):
            return link[0]
        return f"{image}[{text}]({ADDRESS}/{'raw' if image else 'blob'}/HEAD/{target})" if ADDRESS else text

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", leading, (HERE / "README.md").read_text(encoding="utf-8"))


class Build(build_py):
    """A wheel, which students install, has the chapters of the course for `minidl notebook`, and no solutions of the
    assignment, unless MINIDL_SOLUTIONS=1 asks for them."""

    def run(self):
        """Build, and copy the chapters."""
        super().run()
        if not self.editable_mode:
            to = Path(self.build_lib, "minidl/study/chapters")
            to.mkdir(parents=True, exist_ok=True)
            for page in HERE.glob("docs/chapters/*.md"):
                copyfile(page, to / page.name)

    def build_module(self, module, module_file, package):
        """Copy a module to where the wheel is made of it."""
        path, copied = super().build_module(module, module_file, package)
        name = package if isinstance(package, str) else ".".join(package)
        if name == "minidl.study.assignment.questions" and os.environ.get("MINIDL_SOLUTIONS") != "1":
            runpy.run_path(str(HERE / "minidl/study/assignment/withhold.py"))["withhold"](Path(path))
        return path, copied


setup(
    name="minidl",
    version=ABOUT["__version__"],
    cmdclass={"build_py": Build},
    description="Deep learning from scratch on NumPy and CuPy, every derivative proved",
    long_description=description(),
    long_description_content_type="text/markdown",
    project_urls={"Source": ADDRESS, "Changelog": f"{ADDRESS}/blob/HEAD/CHANGELOG.md"} if ADDRESS else {},
    author="The minidl authors",
    license="MIT",
    keywords=["automatic differentiation", "backpropagation", "deep learning", "convolutional networks", "education"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: MIT License",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Education",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["minidl", "minidl.*", "tasks", "tasks.*"]),
    package_dir={"": "."},  # makes an editable install a path, which type checkers can follow, not a finder
    python_requires=">=3.11",
    install_requires=["numpy>=2.0", "scipy>=1.13"],
    package_data={"minidl": ["py.typed"], "minidl.kernels.gpu": ["*.cu", "*.cuh"], "": ["*.css", "*.js", "*.pyi"]},
    entry_points={"console_scripts": ["minidl=minidl.__main__:main"]},
    extras_require={
        "tasks": TASKS,
        "gpu": ["cupy-cuda13x[ctk]>=14", "cuda-toolkit[crt]==13.*"],  # crt: mma.h, for tensor cores
        "mpi": MPI,
        "onnx": ONNX,
        "weights": ["h5py>=3.10"],  # files of weights of Keras, and of MATLAB 7.3
        "test": TEST,
        "types": ["mypy==2.4.1", "pyright[nodejs]==1.1.414"],
        "site": [
            "sphinx>=8.1", "pydata-sphinx-theme>=0.16", "myst-parser>=4.0", "sphinx-mathjax-offline==0.0.2",
            "nbclient>=0.10", "ipykernel>=6.29",
        ],
        "notebooks": ["jupyterlab>=4.4", "nbconvert>=7.16"],  # which show what the tools show
        "reference": [
            "torch==2.13.0", "torchvision==0.28.0", "onnxruntime==1.32.0", "keras==3.15.1", "trackeval==1.3.0",
            "captum==0.9.0",
        ],
        "benchmarks": ["torch==2.13.0", "onnx>=1.19", "onnxruntime>=1.23", "onnxscript>=0.5"],
    },
)
