"""What a file is, decided by its first bytes alone: one table of marks, and who decodes each kind.

Only what this table allows is ever given to a decoder, so no file can reach one that starts a program
(PostScript) or that guesses.  A new kind is one entry.
"""

import ctypes
import re
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from overfeat_tools.errors import ImageError, reason
from overfeat_tools.pictures.boundaries import jpeg_end, png_end, webp_end
from overfeat_tools.pictures.cursor import Cursor
from overfeat_tools.pictures.decoders import pillow_frames, read_jpeg, read_jpeg_2000, read_with_pillow
from overfeat_tools.pictures.extras import heif_frames, read_heif, read_jxl, read_raw
from overfeat_tools.pictures.faults import as_image_error, of_decoder
from overfeat_tools.pictures.metadata import (
    Parts,
    animated_png_parts,
    gif_parts,
    heif_parts,
    icon_parts,
    png_parts,
    psd_parts,
    sgi_parts,
    webp_parts,
)
from overfeat_tools.pictures.orientation import FIRST_LYING, upright
from overfeat_tools.pictures.picture import Decoded, Encoded, Picture, Wanted
from overfeat_tools.pictures.samples import Colour, rgb
from overfeat_tools.pictures.tiff import read_tiff, tiff_frames

MARK_BYTES = 264
"""So many first bytes are enough for every mark."""

EARLY_MARK_BYTES = 12
"""So many are enough for the kinds that say where they end."""

BLANKS = b" \t\n\v\f\r\0"
"""What a PNM stream may begin with."""

PNM_MARK = re.compile(rb"[\s\0]*P[1-7]")
GZIP_MARK = re.compile(rb"\x1f\x8b\x08")
TAR_MARK = re.compile(rb".{257}ustar", re.DOTALL)


class NoPictureError(ImageError):
    """It is something else than a picture: found in a folder or an archive, it is passed over."""


class UnknownKindError(NoPictureError):
    """Nobody knows what it is."""


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name, the regular expression of its first bytes, and what decodes it.

    `read` takes the file's bytes and what is wanted of them; a kind without one isn't supported, and
    `advice` may say what to do about it.  `frames` gives all frames of a file that may have several,
    each when it is asked for, or what is wrong with it.  `end` finds the end of a picture in a stream.
    """

    name: str
    mark: bytes
    read: Callable[[bytes, Wanted], Decoded] | None = None
    frames: Callable[[bytes, Wanted], Iterator[Decoded | Exception]] | None = None
    end: Callable[[Cursor], Generator[None, None, int]] | None = None
    advice: str = ""
    is_picture: bool = True


def _pillow(name: str, mark: bytes, form: str = "", parts_of: Callable[[bytes], Parts] | None = None) -> Kind:
    return Kind(name, mark, partial(read_with_pillow, form=form or name, parts_of=parts_of))


def _animation(
    name: str,
    mark: bytes,
    parts_of: Callable[[bytes], Parts],
    all_parts_of: Callable[[bytes], Parts] | None = None,
    form: str = "",
    end: Callable[[Cursor], Generator[None, None, int]] | None = None,
) -> Kind:
    read = partial(read_with_pillow, form=form or name, parts_of=parts_of)
    return Kind(name, mark, read, partial(pillow_frames, form=form or name, parts_of=all_parts_of or parts_of), end)


def _other(name: str, mark: bytes, advice: str = "") -> Kind:
    return Kind(name, mark, advice=advice, is_picture=False)


_CONVERT = "convert it first: convert FILE -depth 8 ppm:-"
_BOX = rb".{4}ftyp"  # ISO base media: a size, then the brand, a version, and more brands
_BRANDS = rb".{4}(?:.{4}){,15}?"

_KINDS = (
    Kind("JPEG", rb"\xff\xd8\xff", read_jpeg, end=jpeg_end),
    _animation("PNG", rb"\x89PNG\r\n\x1a\n", png_parts, animated_png_parts, end=png_end),
    _animation("WebP", rb"RIFF.{4}WEBP", webp_parts, form="WEBP", end=webp_end),
    _other("archive", TAR_MARK.pattern),
    _animation("GIF", rb"GIF8[79]a", gif_parts),
    _pillow("BMP", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    Kind(
        "camera raw",
        rb"II\*\0.{4}CR|II(?:R[OS]|U\0)|MMO[RS]|FUJIFILMCCD-RAW|\0MRM|FOVb|.{4}ftypcrx ",
        read_raw,
    ),
    Kind("TIFF", rb"II[*+]\0|MM\0[*+]", read_tiff, tiff_frames),
    _animation("AVIF", _BOX + rb"(?:avi[fs]|(?:mif1|msf1|miaf)" + _BRANDS + rb"avi[fs])", heif_parts),
    Kind("HEIF", _BOX + rb"(?:hei[cxms]|hev[cxms]|mif1|msf1|miaf)", read_heif, heif_frames),
    Kind("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", read_jxl),
    Kind("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", read_jpeg_2000),
    _pillow("PSD", rb"8BPS\0\x01", parts_of=psd_parts),
    _pillow("ICO", rb"\0\0\x01\0[^\0]\0", parts_of=icon_parts),
    _pillow("ICNS", rb"icns", parts_of=icon_parts),
    _pillow("PCX", rb"\x0a[\0\x02\x03\x05]\x01[\x01\x02\x04\x08]"),
    _pillow("DDS", rb"DDS \x7c\0\0\0"),
    _pillow("SGI", rb"\x01\xda[\0\x01][\x01\x02]", parts_of=sgi_parts),
    _pillow("QOI", rb"qoif"),
    # Pillow reads some of these wrongly: black for white, blue for red.
    Kind("Sun raster", rb"\x59\xa6\x6a\x95", advice=_CONVERT),
    Kind("XBM", rb"\s*#define [^\n]{1,99}_width", advice=_CONVERT),
    Kind("XPM", rb"/\* XPM \*/", advice=_CONVERT),
    _other("PostScript", rb"%!|\xc5\xd0\xd3\xc6"),
    _other("PDF", rb"%PDF"),
    _other("SVG or another XML", rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg|!DOCTYPE svg)"),
    Kind("floating-point PFM", rb"P[Ff]4?\s", advice=_CONVERT),
    Kind("OpenEXR", rb"\x76\x2f\x31\x01", advice=_CONVERT),
    Kind("Radiance HDR", rb"#\?(?:RADIANCE|RGBE)", advice=_CONVERT),
    Kind("FITS", rb"SIMPLE  =", advice=_CONVERT),
    Kind("DICOM", rb".{128}DICM"),
    _other("video", rb".{4}(?:ftyp|moov|mdat|wide)|\x1aE\xdf\xa3|RIFF.{4}AVI |\0\0\x01[\xb3\xba]", "take frames"),
    Kind("MNG", rb"[\x8a\x8b][MJ]NG"),
    Kind("large PSD (PSB)", rb"8BPS"),
    Kind("XCF", rb"gimp xcf"),
    _other("DjVu", rb"AT&TFORM"),
    _other("WMF or EMF", rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF"),
    _other("archive", rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf"),
    # The one kind without a mark: last, and only with a header whose every field makes sense.
    _pillow(
        "TGA",
        rb".(?:\0[\x02\x03\x0a\x0b]\0{5}|\x01[\x01\x09]..(?!\0\0)..[\x0f\x10\x18\x20])"
        rb".{4}(?!\0\0)..(?!\0\0)..[\x08\x0f\x10\x18\x20][\0-\x3f]",
    ),
)


def kind_of(first: bytes) -> Kind:
    """Tell what a file is that may be decoded, by its first bytes.

    Raises
    ------
    ImageError
        It is no picture, or a kind of picture that isn't supported.
    """
    kind = next((kind for kind in _KINDS if re.match(kind.mark, first, re.DOTALL)), None)
    if kind is None:
        raise UnknownKindError("not a picture in a known format" if first else "the file is empty")
    if kind.read is None:
        fault = ImageError if kind.is_picture else NoPictureError
        raise fault(f"{kind.name} files aren't supported{'; ' if kind.advice else ''}{kind.advice}")
    return kind


def kind_with_end(first: bytes) -> Kind | None:
    """Tell what begins here, if it is of a kind that says where it ends: a few bytes are enough for that."""
    return next((kind for kind in _KINDS if kind.end and re.match(kind.mark, first, re.DOTALL)), None)


def decode(encoded: Encoded, wanted: Wanted) -> Iterator[tuple[int | None, Picture | ImageError]]:
    """Decode a file; give the frames that are wanted, upright, each as it is asked for, or what is wrong with it.

    Frames are numbered from 1 where a file may have several and more than the first is wanted.
    """
    kind = encoded.kind
    if kind.frames is None or encoded.is_one_picture(wanted):
        picture = _picture(lambda: kind.read and kind.read(encoded.data, wanted), kind, wanted.background)
        if picture is not None:
            yield None, picture
        return
    frames = kind.frames(encoded.data, wanted)
    for number in range(1, (wanted.frames or sys.maxsize) + 1):
        picture = _picture(lambda: next(frames, None), kind, wanted.background)
        if picture is None:
            return
        yield number, picture


def _picture(
    work: Callable[[], Decoded | Exception | None], kind: Kind, background: Colour | None
) -> Picture | ImageError | None:
    """Have a picture decoded; give it, or what is wrong with it, or None where there is none."""
    try:
        decoded = work()
        if isinstance(decoded, Exception):
            raise decoded  # noqa: TRY301 -- one way for all
        if decoded is None:
            return None
        pixels = upright(rgb(decoded.pixels, background), decoded.orientation)
        full = decoded.full_size
        return Picture(pixels, decoded.warning, full[::-1] if full and decoded.orientation >= FIRST_LYING else full)
    except ImageError as error:
        return as_image_error(error)
    except MemoryError as error:
        fault = as_image_error(error)
    except ImportError as error:
        return ImageError(f"a library that decodes {kind.name} can't be loaded: {reason(error)}")
    except Exception as error:  # noqa: BLE001 -- decoders raise whatever they like at a broken file
        return of_decoder(error, kind.name)
    # Out of the handler, whose traceback held what had been taken: glibc would keep it for more of the same kind.
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    return fault
