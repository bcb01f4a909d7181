"""Decoders of libraries that are not always installed: HEIF, JPEG XL and cameras' raw files.

Where one is missing, the message says how to get it.
"""

import io
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import numpy as np

from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.decoders import check_size, pillow_frames, read_with_pillow, reduction_to
from overfeat_tools.pictures.jxl_header import jxl_header
from overfeat_tools.pictures.metadata import heif_parts
from overfeat_tools.pictures.picture import Decoded, Wanted
from overfeat_tools.pictures.samples import scaled


def _library(name: str, extra: str, files: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        message = f"{files} need a package that is not installed: pip install 'overfeat_tools[{extra}]'"
        raise ImageError(message) from error


def read_heif(data: bytes, wanted: Wanted) -> Decoded:
    """Decode HEIF (HEIC), which Pillow learns from pillow-heif."""
    _library("pillow_heif", "heif", "HEIF files").register_heif_opener()
    return read_with_pillow(data, wanted, form="HEIF", parts_of=heif_parts)


def heif_frames(data: bytes, wanted: Wanted) -> Iterator[Decoded | Exception]:
    """Decode all pictures of a HEIF file."""
    _library("pillow_heif", "heif", "HEIF files").register_heif_opener()
    yield from pillow_frames(data, wanted, form="HEIF", parts_of=heif_parts)


def read_jxl(data: bytes, _wanted: Wanted) -> Decoded:
    """Decode a JPEG XL, or its first frame; the decoder turns it upright, and can't count frames."""
    imagecodecs = _library("imagecodecs", "jxl", "JPEG XL files")
    height, width, bits = jxl_header(data)
    check_size(height, width)
    pixels = imagecodecs.jpegxl_decode(data, index=0, numthreads=1)
    return Decoded(scaled(np.atleast_3d(pixels), (1 << bits) - 1))


def read_raw(data: bytes, wanted: Wanted) -> Decoded:
    """Develop a camera's raw file as the camera would: its white balance, turned upright."""
    rawpy = _library("rawpy", "raw", "camera raw files")
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            height, width = raw.sizes.height, raw.sizes.width
            check_size(height, width)
            half = reduction_to(height, width, wanted.side) > 1
            return Decoded(raw.postprocess(use_camera_wb=True, output_bps=8, half_size=half))
    except rawpy.LibRawError as error:
        raise ImageError("a camera raw file that is damaged, or of a kind that isn't supported") from error
