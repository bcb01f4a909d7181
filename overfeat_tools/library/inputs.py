"""Pictures as people have them: files and their bytes, Pillow's images, arrays, and any number of these."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, UsageError, reason
from overfeat_tools.pictures import Item, Undecoded, Wanted, read_image, read_undecoded
from overfeat_tools.pictures.sources import STANDARD_INPUT, Source


class HasArray(Protocol):
    """What numpy makes an array of."""

    def __array__(self, *args: Any, **kwargs: Any) -> Array: ...  # noqa: ANN401 -- numpy's protocol


class HasDlpack(Protocol):
    """What can be exchanged between libraries of arrays."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: ANN401 -- the array API's protocol


Picture: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | HasArray | HasDlpack
"""A file's name or its bytes, an image of Pillow's, or an array."""

Scale: TypeAlias = Literal[1, 255] | None
"""What white is in floating point."""

_ARRAY = ("__array__", "__array_interface__", "__dlpack__")
_FILE_BYTES = (bytes, bytearray, memoryview)
_COLOURS = 3
_PICTURE, _BATCH = 3, 4  # axes
_OTHERS = "OTU"  # kinds of dtypes: objects and strings


class Given(NamedTuple):
    """Pictures that were given: whether it is `one`, an iterable of all, and what white is in floating point."""

    one: bool
    pictures: Iterable[object]
    scale: Scale


def given(pictures: Picture | Iterable[Picture], scale: Scale) -> Given:
    """Tell one picture from several.

    Raises
    ------
    UsageError
        These are no pictures: the type, dtype or shape is wrong.
    """
    if not (scale is None or scale in (1, 255)):
        raise UsageError(f"scale={scale!r}: 1 or 255 expected, what white is in floating-point pictures")
    if isinstance(pictures, (str, os.PathLike, *_FILE_BYTES)) or _is_image(pictures):
        return Given(one=True, pictures=[pictures], scale=scale)
    if _is_array(pictures):
        array = _as_numpy(pictures, "pictures")
        if array.ndim == 1 and array.dtype.kind in _OTHERS:  # of names, or of pictures
            return Given(one=False, pictures=array.tolist(), scale=scale)
        return Given(one=array.ndim == _PICTURE, pictures=[array], scale=scale)
    if isinstance(pictures, Iterable) and not hasattr(pictures, "read"):  # an open file would give its lines
        return Given(one=False, pictures=pictures, scale=scale)
    raise UsageError(f"pictures expected, or an iterable of them; {_kind(pictures)} came")


def items(these: Given, side: int | None) -> Iterator[Item | Undecoded]:
    """Give pictures one after the other, or what is wrong with them; an item's place is for messages.

    Files are read, and left to others to decode.

    Parameters
    ----------
    these : Given
    side : int, optional
        What the shorter side will be scaled to: large files may be decoded smaller.

    Raises
    ------
    UsageError
        Something is no picture at all: its type, dtype or shape is wrong.
    """
    number = 0
    for one in these.pictures:
        for item in _items_of(one, number + 1, these.scale, side):
            number += 1
            yield item


def _items_of(one: object, number: int, scale: Scale, side: int | None) -> Iterator[Item | Undecoded]:
    """Give the picture or pictures of what is no further iterable."""
    place = f"picture {number}"
    if isinstance(one, str | os.PathLike):
        yield _read(Source(_file_name(one)), number, os.fsdecode(one), side)
    elif isinstance(one, _FILE_BYTES):
        yield _read(Source(None, data=bytes(one)), number, place, side)
    elif _is_image(one):
        item = Item(number, None, place)
        try:
            yield Item(number, None, place, read_image(one))
        except ImageError as error:
            yield item.failed(error)
    elif _is_array(one):
        for offset, pixels in enumerate(_pixels(one, place, scale)):
            item = Item(number + offset, None, f"picture {number + offset}", pixels)
            is_finite = pixels.dtype == np.uint8 or bool(np.isfinite(pixels).all())
            yield item if is_finite else item.failed(ImageError("it has values that are not finite numbers"))
    else:
        raise UsageError(f"{place}: a file, its bytes, an image or an array expected; {_kind(one)} came")


def _file_name(path: str | os.PathLike[str]) -> str:
    name = os.fsdecode(path)
    if not name:
        raise UsageError("the name of a picture's file is empty")
    return f"./{name}" if name == STANDARD_INPUT else name


def _read(source: Source, number: int, place: str, side: int | None) -> Item | Undecoded:
    """Read a file that is one picture."""
    found = list(islice(read_undecoded([source], {}, Wanted(side), lambda _: None), 2))
    item = Item(number, None if source.file is None else place, place)
    if not found:
        return item.failed(ImageError("it has no picture"))
    if len(found) > 1:
        return item.failed(ImageError("it has several pictures, one is expected"))
    one = found[0]
    if isinstance(one, Undecoded):
        return replace(one, item=item)
    error = one.error
    if error and source.file and Path(source.file).is_dir():
        error = ImageError("is a directory; the files in it are expected")
    return replace(item, pixels=one.pixels, error=error, warning=one.warning)


def _pixels(array: object, place: str, scale: Scale) -> Iterator[Array]:
    """Give the pictures of an array, (H, W, 3) each, uint8 or float32 from 0 to 255."""
    x = _as_numpy(array, place)
    check_shape(x.shape, place)
    if x.dtype != np.uint8:
        if x.dtype.kind != "f":
            raise UsageError(f"{place}: an array of uint8 or floating point expected, {x.dtype} came")
        if scale is None:
            raise UsageError(f"{place}: what is white in {x.dtype}? say scale=255 or scale=1")
    for picture in x if x.ndim == _BATCH else [x]:
        if x.dtype == np.uint8:
            yield picture
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told of the picture
                values = picture.astype(np.float32)
                yield values * np.float32(255) if scale == 1 else values


def check_shape(shape: tuple[int, ...], place: str) -> None:
    """Refuse shapes that are no pictures with the channels last, and those that could be read two ways."""
    text = f"{place}: (H, W, 3) or (N, H, W, 3) expected, {shape} came"
    if len(shape) not in (_PICTURE, _BATCH):
        raise UsageError(text)
    first = shape[-_PICTURE]
    if shape[-1] != _COLOURS:
        cure = "; put the channels last, as in x.transpose(0, 2, 3, 1)" if len(shape) == _BATCH else ""
        cure = cure or "; put the channels last, as in x.transpose(1, 2, 0)"
        raise UsageError(text + (cure if first == _COLOURS else ""))
    if first == _COLOURS:
        raise UsageError(f"{text}: it could have its channels first or last")


def _as_numpy(array: Any, place: str) -> Array:  # noqa: ANN401 -- one of many libraries'
    ways: list[Callable[[Any], Array]] = []
    if any(hasattr(type(array), name) for name in _ARRAY[:2]):
        ways.append(np.asarray)
    if hasattr(type(array), _ARRAY[2]):
        ways += [np.from_dlpack, partial(np.from_dlpack, device="cpu")]
    reasons = []
    for way in ways:
        try:
            return way(array)
        except Exception as error:  # noqa: BLE001 -- libraries raise whatever they like
            reasons.append(reason(error))
    raise UsageError(f"{place}: {_kind(array)} gives no array of numpy's: {reasons[0]}")


def _is_image(one: object) -> bool:
    """Tell whether this is an image of Pillow's, without importing that."""
    image = getattr(sys.modules.get("PIL.Image"), "Image", None)  # None while another thread is importing it
    return image is not None and isinstance(one, image)


def _is_array(one: object) -> bool:
    return any(hasattr(type(one), name) for name in _ARRAY)


def _kind(one: object) -> str:
    return f"{type(one).__module__}.{type(one).__qualname__}".removeprefix("builtins.")
