"""Pixel values centred and scaled: y = (x - mean) / deviation, of bytes or floats.

The values of a pixel's channels stand side by side, so means and deviations come as a pattern: those of `CHANNELS`
vectors, after which both pixels and vectors begin anew.
"""

from functools import partial

from overfeat_tools.backend import Compiled, Compiler, FunctionBuilder, Value
from overfeat_tools.convolution.kernels.kernel import compiled

CHANNELS = 3
"""Channels of a pixel."""

_PARAMETERS = {
    "y": "pointer",
    "x": "bytes",            # or floats
    "mean": "pointer",       # of so many vectors,
    "deviation": "pointer",  # whose values repeat with the channels
    "start": "integer",      # the values to compute, a multiple of the pattern's length,
    "stop": "integer",       # and any number
}  # fmt: skip

BYTES = _PARAMETERS
FLOATS = {**_PARAMETERS, "x": "pointer"}


def normalise_kernel(compiler: Compiler, *, of_bytes: bool) -> Compiled:
    """Return the kernel for bytes or for floats; its parameters are `BYTES` or `FLOATS`."""
    write = partial(_write, of_bytes=of_bytes)
    return compiled(compiler, f"normalise_{of_bytes}", BYTES if of_bytes else FLOATS, write)


def _write(builder: FunctionBuilder, *, of_bytes: bool) -> None:
    a, emit, offset, lanes = builder.arguments, builder.emit, builder.offset, builder.lanes
    period = builder.integer(CHANNELS * lanes)
    whole_stop = emit.sub(a.stop, emit.srem(emit.sub(a.stop, a.start), period))
    means, deviations = (
        [builder.load(offset(values, lanes * i)) for i in range(CHANNELS)] for values in (a.mean, a.deviation)
    )

    def normalised(x: Value, mean: Value, deviation: Value) -> Value:
        if of_bytes:
            x = emit.uitofp(x, mean.type)
        return emit.fdiv(emit.fsub(x, mean), deviation)

    with builder.loop(a.start, whole_stop, period) as first:
        for i, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
            source = offset(a.x, first, lanes * i)
            x = builder.load_bytes(source) if of_bytes else builder.load(source)
            builder.store(normalised(x, mean, deviation), offset(a.y, first, lanes * i))
    with builder.loop(whole_stop, a.stop) as place:
        mean, deviation = (emit.load(offset(values, emit.sub(place, whole_stop))) for values in (a.mean, a.deviation))
        emit.store(normalised(emit.load(offset(a.x, place)), mean, deviation), offset(a.y, place))
