"""Where the tensors lie in a safetensors file: eight bytes with the length of a header, the header, the numbers.

The header is a JSON object that gives each tensor's dtype, its shape, and where its bytes begin and end.  A file may
come from anywhere, so nothing in it is believed: the tensors must fill the file without overlapping, and one that is
asked for must be float32 of the shape expected.  (The library of that name would copy them; here they are mapped.)

Source: the format's description, https://huggingface.co/docs/safetensors
"""

import math
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

LONGEST_HEADER_BYTES = 1 << 20
"""Far more than the names and shapes of some dozens of tensors take."""

_LENGTH_BYTES, _FLOAT_BYTES = 8, 4
_MOST_AXES = 8
_MOST = 1 << 60  # of any number in the header: no file is so large


class HeaderError(ValueError):
    """A file is not in the format, or does not have what was asked for."""


class Tensor(NamedTuple):
    """What a tensor is, and where in the file its bytes are."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(file: IO[bytes], size: int) -> dict[str, Tensor]:
    """Read which tensors a file of `size` bytes has.

    Raises
    ------
    HeaderError
        The file is not in the format.
    """
    import json

    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    first = _LENGTH_BYTES + length
    if length > LONGEST_HEADER_BYTES or first > size:
        raise HeaderError("not a safetensors file")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_object)
        header.pop("__metadata__", None)
        tensors = {name: _tensor(entry, first) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise HeaderError("not a safetensors file: its header is broken") from error
    places = sorted((tensor.start, tensor.stop) for tensor in tensors.values())
    if [first, *(stop for _, stop in places)] != [*(start for start, _ in places), size]:
        raise HeaderError("not a whole safetensors file: its tensors overlap, or don't fill it")
    return tensors


def place_of(tensors: dict[str, Tensor], name: str, shape: Sequence[int]) -> int:
    """Give the byte at which a tensor begins: float32 and of this shape, of which ones at its end may be left out.

    Raises
    ------
    HeaderError
        There is no such tensor.
    """
    if name not in tensors:
        raise HeaderError(f"there is no {name} in it")
    dtype, found, start, stop = tensors[name]
    whole = (*found, *[1] * (len(shape) - len(found)))
    if dtype != "F32" or whole != tuple(shape) or stop - start != _FLOAT_BYTES * math.prod(shape):
        raise HeaderError(f"{name} in it is not float32 of {'x'.join(map(str, shape))}")
    if start % _FLOAT_BYTES:
        raise HeaderError(f"{name} in it does not begin at a multiple of {_FLOAT_BYTES} bytes")
    return start


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def _tensor(entry: dict[str, Any], first: int) -> Tensor:
    """Read an entry of the header, whose places are counted from `first`."""
    shape, (start, stop) = entry["shape"], entry["data_offsets"]
    numbers_are_good = all(type(number) is int and 0 <= number < _MOST for number in (*shape, start, stop))
    if not numbers_are_good or start > stop or len(shape) > _MOST_AXES or not isinstance(entry["dtype"], str):
        raise ValueError("its numbers make no sense")
    return Tensor(entry["dtype"], tuple(shape), first + start, first + stop)
