"""OverFeat as small Unix filters: pictures in, classes and features out.  `Network` does the same in Python.

The rooms of the package stand along the way of a picture, and imports go downwards only:

    stdin, files -> pictures -> networks -> convolution -> backend
    stdout       <- results  <-----+

Above them are `commands`, the programs, `library`, which does the same for Python, and `download`, which gets the
weights; below them `cli`, the command line, `paths` and `errors`.  CONTRIBUTING.md follows one picture all the way.
"""

from typing import TYPE_CHECKING

__version__ = "5.0.0"

__all__ = ["Network", "__version__"]

if TYPE_CHECKING:
    from overfeat_tools.library import Network


def __getattr__(name: str) -> object:
    """Give `Network`, and import what it needs then: the programs, and `import overfeat_tools`, are to be quick."""
    if name != "Network":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from overfeat_tools import library

    return library.Network
