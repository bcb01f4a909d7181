"""A kernel: a function written by a builder, compiled once."""

from collections.abc import Callable
from pathlib import Path

from overfeat_tools.backend import Compiled, Compiler, FunctionBuilder, Parameters, Value

LINE_FLOATS = 16
"""Floats of a line of the cache, of which each is prefetched once."""

_SOURCE = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))


def compiled(
    compiler: Compiler, name: str, parameters: Parameters, write: Callable[[FunctionBuilder], None]
) -> Compiled:
    """Return a kernel, compiled.

    Parameters
    ----------
    compiler : Compiler
    name : str
        A different one for each kernel that `write` can write.
    parameters : Parameters
    write : callable
        Writes the body, given the builder; called if the kernel must be compiled.
    """

    def build(module: Value, symbol: str) -> None:
        builder = FunctionBuilder(compiler, module, symbol, parameters)
        write(builder)
        builder.finish()

    return compiler.function(name, _SOURCE, build)
