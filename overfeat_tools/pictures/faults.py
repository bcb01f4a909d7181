"""What to say of a picture that can't be used.

Errors that wait in a queue must not keep a picture's bytes alive, as a traceback would: each is made
anew here.
"""

from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.pnm_header import MAX_PIXELS

# Words of decoders' messages, and what they mean; the first that is found counts.
_MEANINGS = (
    (("decompressionbomb",), f"more than {MAX_PIXELS} pixels"),
    (("memory",), "not enough memory to decode it"),
    (("cannot identify",), "damaged, or a kind of {kind} that isn't supported"),
    (("unsupported", "not supported", "notimplemented", "not implemented", "unknown", "conversion"),
     "a kind of {kind} that isn't supported"),
    (("truncated", "premature", "eoferror", "unexpected end", "end of file", "incomplete", "not enough", "buffer",
      "more_input"), "the {kind} file is cut off"),
)  # fmt: skip


def as_image_error(error: BaseException) -> ImageError:
    """Give an error of a picture for what went wrong while it was read or fitted."""
    if isinstance(error, ImageError):
        return type(error)(*error.args)
    if isinstance(error, MemoryError):
        return ImageError("not enough memory to read it")
    return ImageError((getattr(error, "strerror", None) or str(error)).lower())


def of_decoder(error: Exception, kind: str) -> ImageError:
    """Give an error of a picture for what a decoder raised at it."""
    if isinstance(error, OSError) and error.errno:  # the system's: the file is not to blame
        return as_image_error(error)
    said = f"{type(error).__name__}: {error}".lower()
    meanings = (meaning for words, meaning in _MEANINGS if any(word in said for word in words))
    return ImageError(next(meanings, "the {kind} file is damaged").format(kind=kind))
