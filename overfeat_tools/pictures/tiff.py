"""TIFF: samples of any width, order and meaning, by tifffile where Pillow falls short.

Both get a file of one page, with only the tags that decoding needs.  What has no stated black and
white is refused.
"""

import ctypes
import importlib.util
import io
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.decoders import check_size, pillow_pixels
from overfeat_tools.pictures.directories import ORIENTATION, Directory, directories, directory
from overfeat_tools.pictures.extras import read_raw
from overfeat_tools.pictures.orientation import known
from overfeat_tools.pictures.picture import Decoded, Wanted
from overfeat_tools.pictures.samples import BYTE, scaled, without_ink

if TYPE_CHECKING:
    from tifffile import TiffPage

# Tags and their values, as TIFF 6.0, its supplements and DNG number them.
_SUBFILE_TYPE, _WIDTH, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 254, 256, 262, 330, 50706
_UNCOMPRESSED, _LZW, _DEFLATE, _PACKBITS, _WEBP = 1, 5, (8, 32946), 32773, 50001
_WHITE_IS_ZERO, _GRAY, _RGB, _PALETTE, _INKS, _YCBCR = 0, 1, 2, 3, 5, 6
_SENSOR = {32803, 34892}  # a colour filter's samples; linear ones
_PREMULTIPLIED, _ALPHA = 1, 2
_CHANNELS = {_WHITE_IS_ZERO: 1, _GRAY: 1, _PALETTE: 1, _RGB: 3, _INKS: 4, _YCBCR: 3}
_MOST_CHANNELS, _MOST_BYTES = 8, 1 << 31
_NOT_UNSIGNED = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}

# What a decoder needs to know: sizes, samples, where the data are; not who made them, nor how to turn them.
_NEEDED = {
    *range(256, 260), 262, 266, 273, *range(277, 280), 284, 292, 293, 317, 320, *range(322, 326),
    332, 338, 339, 347, *range(512, 522), *range(529, 533),
}  # fmt: skip


def read_tiff(data: bytes, wanted: Wanted) -> Decoded:
    """Decode the first page that is no reduced copy of another."""
    pages = _whole_pages(data)
    return _decoded(pages[0], wanted) if pages else read_raw(data, wanted)


def tiff_frames(data: bytes, wanted: Wanted) -> Iterator[Decoded | Exception]:
    """Decode all pages that are no reduced copies of others, each when it is asked for."""
    pages = _whole_pages(data)
    if not pages:
        yield read_raw(data, wanted)
    for page in pages:
        try:
            yield _decoded(page, wanted)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the next page may do
            yield error.with_traceback(None)


def _decoded(chosen: Directory, wanted: Wanted) -> Decoded:
    import tifffile

    needed = chosen.only(_NEEDED)
    with tifffile.TiffFile(io.BytesIO(needed)) as file:
        page, alpha = file.pages.first, wanted.background is not None
        check_size(page.imagelength, page.imagewidth)
        _check_samples(page)
        if _by_tifffile(page):
            pixels = _colours(_samples(page, needed), page, alpha=alpha)
        elif _by_pillow(page):
            pixels = _pillow_colours(needed, page, alpha=alpha)
        else:
            raise _unsupported(page)
    return Decoded(pixels, known(chosen.integers(ORIENTATION)))


def _unsupported(page: "TiffPage") -> ImageError:
    kind = f"{page.bitspersample} bits, {page.samplesperpixel} channels and compression {int(page.compression)}"
    cure = "; convert it first: convert FILE -depth 8 ppm:-"
    if not _has_imagecodecs():
        cure = " without the package imagecodecs: pip install 'overfeat_tools[tiff]'"
    return ImageError(f"a TIFF of {kind} isn't supported{cure}")


def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _whole_pages(data: bytes) -> list[Directory]:
    """Give the pages that are pictures of their own; a camera's raw file has none but a thumbnail."""
    pages = list(directories(data))
    if not any(page.entries for page in pages):
        raise ImageError("damaged: it has no page")
    whole = [page for page in pages if not sum(page.integers(_SUBFILE_TYPE)) & 1]
    parts = [directory(data, place, page) for page in whole[:1] for place in page.integers(_SUB_DIRECTORIES, 16)]
    if (
        not whole
        or any(_DNG_VERSION in page.entries for page in pages)
        or any(_SENSOR & {*part.integers(_PHOTOMETRIC)} for part in [*pages, *parts])
        or any(part.integers(_WIDTH) > whole[0].integers(_WIDTH) for part in parts)
    ):
        return []
    return whole


def _check_samples(page: "TiffPage") -> None:
    """Refuse what can't be brought to red, green, blue by what the file says."""
    kind = _NOT_UNSIGNED.get(page.sampleformat)
    if kind:
        raise ImageError(
            f"{kind} samples have no stated black and white; convert it first: convert FILE -depth 8 ppm:-"
        )
    if page.nbytes > _MOST_BYTES:
        raise ImageError(f"its samples take {page.nbytes} bytes, more than {_MOST_BYTES}")
    channels = _CHANNELS.get(page.photometric)
    if channels is None or not channels <= page.samplesperpixel <= _MOST_CHANNELS or page.imagedepth != 1:
        raise ImageError(
            f"a TIFF of photometric interpretation {int(page.photometric)} with {page.samplesperpixel} channels "
            "isn't supported; convert it first: convert FILE ppm:-"
        )


def _by_tifffile(page: "TiffPage") -> bool:
    """Tell whether tifffile has the codecs; its own for PackBits is slow."""
    extra = _has_imagecodecs()
    packed = page.compression == _PACKBITS and (extra or page.bitspersample > 8)  # noqa: PLR2004 -- wider than bytes
    unpacks = page.compression in (_UNCOMPRESSED, *_DEFLATE) or packed or (extra and page.compression == _LZW)
    splits = page.bitspersample in (1, 8, 16, 32, 64) or extra
    return unpacks and splits and page.dtype is not None and page.photometric != _YCBCR


def _by_pillow(page: "TiffPage") -> bool:
    """Tell whether Pillow reads the samples for what they are."""
    one_channel = page.samplesperpixel == 1
    if page.compression == _WEBP:  # its libtiff was built without
        return False
    return {
        1: one_channel,
        2: one_channel,
        4: one_channel,
        8: True,
        12: one_channel and page.photometric == _GRAY,
        16: page.compression != _UNCOMPRESSED and page.photometric != _PALETTE,
    }.get(page.bitspersample, False)


def _pillow_colours(data: bytes, page: "TiffPage", *, alpha: bool) -> Array:
    from PIL import UnidentifiedImageError

    _silence_libtiff()
    try:
        pixels, _ = pillow_pixels(data, "TIFF", alpha=alpha)
    except UnidentifiedImageError:  # tifffile has identified it: a kind that Pillow doesn't know
        raise _unsupported(page) from None
    if pixels.dtype == np.uint8:
        return pixels
    maxval = (1 << page.bitspersample) - 1
    return scaled(maxval - pixels if page.photometric == _WHITE_IS_ZERO else pixels, maxval)


@cache
def _silence_libtiff() -> None:
    """Tell the libtiff that Pillow brought along not to write to stderr."""
    from PIL import _imaging

    with suppress(AttributeError, OSError):  # built in another way
        library = ctypes.CDLL(_imaging.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


def _samples(page: "TiffPage", data: bytes) -> Array:
    """Read samples (H, W, C) as they are stored."""
    if page.compression in _DEFLATE:
        _check_unpacked(page, data)
    planes, _, height, width, channels = page.shaped
    samples = page.asarray(squeeze=False, maxworkers=1).reshape(planes, height, width, channels)
    samples = samples[0] if planes == 1 else np.moveaxis(samples[..., 0], 0, -1)
    return samples.astype(np.uint8) if samples.dtype == np.bool_ else samples


def _check_unpacked(page: "TiffPage", data: bytes) -> None:
    """Refuse a strip or tile that unpacks to more than it holds: tifffile would unpack all of it."""
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    most = min(rows, page.imagelength + page.tilelength) * columns * page.samplesperpixel * page.bitspersample // 8
    for place, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        decoder = zlib.decompressobj()
        decoder.decompress(memoryview(data)[place : place + count], most + columns)
        if decoder.unconsumed_tail:
            raise ImageError("damaged: a strip unpacks to more than it holds")


def _colours(samples: Array, page: "TiffPage", *, alpha: bool) -> Array:
    """Bring samples as stored to gray or colours, 0..255, with alpha behind them if it is asked for."""
    maxval = (1 << page.bitspersample) - 1
    if page.photometric == _PALETTE:
        table = np.asarray(page.colormap)
        table = table if table.max() < 256 else table >> 8  # noqa: PLR2004 -- some writers put bytes there
        return table.T.astype(np.uint8)[samples[..., 0]]
    channels = _CHANNELS[page.photometric]
    if page.photometric == _WHITE_IS_ZERO:
        return scaled(maxval - samples[..., :1], maxval)
    if page.photometric == _INKS:
        return without_ink(scaled(maxval - samples[..., :4], maxval))
    colours = scaled(samples[..., :channels], maxval)
    if page.extrasamples[:1] not in ((_PREMULTIPLIED,), (_ALPHA,)):
        return colours
    opacity = scaled(samples[..., channels : channels + 1], maxval)
    if page.extrasamples[0] == _PREMULTIPLIED:
        part = np.maximum(opacity.astype(np.float32) / np.float32(BYTE), np.float32(1e-6))
        colours = np.minimum(colours / part, np.float32(BYTE))
    return np.concatenate([colours, opacity], axis=2) if alpha else colours
