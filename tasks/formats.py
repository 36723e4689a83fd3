"""What a file is that no reader here takes: its format by its first bytes or its ending, and what to do with it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from minidl.files.pictures import visible

HEAD = 512  # bytes that tell a format
MAGIC = (  # where, what stands there, the format, what to do
    (0, b"\x89HDF\r\n\x1a\n", "HDF5", "read it with h5py and save arrays as .npz"),
    (0, b"MATLAB 5.0", "MATLAB's .mat", "read it with scipy.io.loadmat and save arrays as .npz"),
    (128, b"DICM", "DICOM", "convert the series with dcm2niix to .nii.gz"),
    (0, b"NRRD", "NRRD", "convert it with SimpleITK to .nii.gz"),
    (344, b"n+1\0", "NIfTI", "tasks volume and segment read it"),
    (344, b"ni1\0", "NIfTI", "tasks volume and segment read it as .nii, not as .hdr with .img"),
    (0, b"\x93NUMPY", "NumPy's .npy", "tasks volume and segment read it"),
    (0, b"PAR1", "Parquet", "read it with pandas and save a .csv"),
    (0, b"ARROW1", "Arrow", "read it with pandas and save a .csv"),
    (0, b"SQLite format 3", "SQLite", "save the table as .csv"),
    (0, b"\xde\xc0\x17\x0b", "LLVM bitcode", "it holds no data"),
    (0, b"%PDF", "PDF", "save its pictures as .png"),
    (0, b"\x1f\x8b", "gzip", "unpack it"),
    (0, b"PK\3\4", "a zip archive", "unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (0, b"Rar!", "a rar archive", "unpack it"),
    (257, b"ustar", "a tar archive", "unpack it"),
    (0, b"DCMF", "CZI of Zeiss", "save it as TIFF, in Fiji say"),
    (0, b"ZISRAWFILE", "CZI of Zeiss", "save it as TIFF, in Fiji say"),
    (0, b"\xda\xce\xbe\x0a", "ND2 of Nikon", "save it as TIFF, in Fiji say"),
    (0, b"\x80\x03", "a pickle", "save arrays as .npz, annotations as COCO json"),
    (0, b"\x80\x04", "a pickle", "save arrays as .npz, annotations as COCO json"),
    (0, b"\x80\x05", "a pickle", "save arrays as .npz, annotations as COCO json"),
)
ENDINGS = {
    ".lif": ("LIF of Leica", "save it as TIFF, in Fiji say"),
    ".mha": ("MetaImage", "convert it with SimpleITK to .nii.gz"),
    ".mhd": ("MetaImage", "convert it with SimpleITK to .nii.gz"),
    ".hdr": ("Analyze or NIfTI in two files", "convert it with nibabel to .nii.gz"),
    ".mgz": ("MGH of FreeSurfer", "convert it with mri_convert to .nii.gz"),
    ".svs": ("a whole slide of Aperio", "cut tiles with OpenSlide and save them as .png"),
    ".ndpi": ("a whole slide of Hamamatsu", "cut tiles with OpenSlide and save them as .png"),
    ".zarr": ("Zarr", "read it with zarr and save arrays as .npz"),
    ".tfrecord": ("TFRecord of TensorFlow", "export it as COCO json or PASCAL VOC"),
    ".record": ("TFRecord of TensorFlow", "export it as COCO json or PASCAL VOC"),
    ".mdb": ("LMDB", "export its pictures as files"),
    ".xlsx": ("Excel", "save the table as .csv"),
    ".heic": ("HEIC", "save the pictures as .jpg"),
    ".dng": ("camera raw", "save the pictures as .tif"),
}


def named(path: Path) -> str | None:
    """The format of a file or a folder and the advice, in a line; None if it is not known."""
    if path.is_file():
        with open(path, "rb") as file:
            head = file.read(HEAD)
        for place, magic, name, advice in MAGIC:
            if head[place:].startswith(magic):
                return f"{name}: {advice}"
    return ": ".join(ENDINGS[path.suffix.lower()]) if path.suffix.lower() in ENDINGS else None


def unknown(path: Path, known: str) -> str:
    """A line that says what a file is, or what a folder holds, that is none of the formats `known`."""
    if path.is_dir() and path.suffix.lower() not in ENDINGS:
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and visible(file, path)]
        counts = Counter(file.suffix.lower() or file.name for file in files)
        held = ", ".join(f"{count} {ending}" for ending, count in counts.most_common(4)) or "no files"
        first = next((found for file in files if (found := named(file))), None)
        what = f"it holds {held}" + (f"; {first}" if first else "")
    else:
        what = named(path) or f"a file {path.suffix or path.name} of an unknown format"
    return f"{path}: {what}; what can be read is {known}"
