"""OverFeat as small Unix filters: pictures in, classes and features out.

The rooms of the package stand along the way of a picture, and imports go downwards only:

    stdin, files -> pictures -> networks -> convolution -> backend
    stdout       <- results  <-----+

Above them are `commands`, the programs, and `download`, which gets the weights; below them `cli`, the command line,
`paths` and `errors`.  CONTRIBUTING.md follows one picture all the way.
"""

__version__ = "5.0.0"
