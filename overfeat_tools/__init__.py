"""OverFeat as small Unix filters: pictures in, classes and features out.

Bytes go one way; imports go one way, downwards; every outside library has one door.

    stdin/files -> pnm -> image -> stream (batches) -> network -> layers -> convolution -> backend
    stdout      <- output <-----------------------------+

    5  commands/       a file a program: options to stages, and a short loop
    4  cli             the options, each defined once; exceptions become one line and a status (typer)
    4  pipeline        the loop of every command that runs a network
    3  network         the networks as tables of layers; the fold that runs them
    3  weights         find, check and map a weight file
    3  classes         the classes that a network tells apart
    3  pnm             incremental parser: fed bytes, gives pictures
    3  image           decode picture files; scale and cut (imageio, Pillow)
    3  stream          the reader's thread; batches of what has arrived
    3  output          text, tsv, json, npy
    3  download        get weights: policy; sources, fetch, archive, store under it
    3  transport       HTTP (httpx);  progress: a bar (rich);  manifest, inspection: what is right
    2  rates           the machine's rates, measured once and kept
    2  layers          normalise, convolve, rectify, pool, pad, softmax: pure operations with shapes
    1  convolution/    plan a convolution, run it: products, Fourier tiles, Cook-Toom tiles; the loops to compile
    0  backend/        devices: arrays, transforms, threads, transfers (pyfftw, threadpoolctl; llvmlite; cupy)
    0  places          the cache folder
    0  errors          the exceptions and their exit statuses
"""

__version__ = "5.0.0"
