"""Matrix products, real and complex: weights in panels times inputs found through tables.

    out[column, k] (+)= sum over s < run_count and t < run_length of
                            x[columns[column] + runs[s] + t] * panel[s * run_length + t, k]

`columns` and `runs` are tables of offsets, so that one kernel serves two purposes.  It multiplies matrices: a column is
a row of the matrix of inputs, a run a piece of it.  And it computes indirect convolutions, where nothing is unfolded: a
column is an output pixel, a run one row of the weights' window (with the channels last, its inputs are contiguous).

A panel holds the weights of two vectors of output channels, one term of the sum after the other.  The microkernel keeps
the sums of up to 12 columns in 24 registers while the panel streams by: for each term it loads two vectors and
broadcasts one input of each column.  This keeps both multipliers of a core busy, needs 10 bytes of the panel a cycle,
and wants nothing of the inputs but contiguous runs.  (24 sums, 2 vectors of the panel and 1 input fit into 32
registers; where there are 16, a block has 6 columns.)

NEON multiplies a vector by one lane of another.  There a vector of inputs holds four terms of a column, which are
multiplied by eight vectors of the panel: one load for eight multiplications, instead of four.  The sums of 10 columns
leave room for that.  `benchmarks/instructions.py` counts what the processors are given to do.

Each block of columns reads the panel again; from the second block on it comes from the second-level cache.  Meanwhile
every block prefetches its share of the next panel, so that reading weights from memory overlaps with all of the
computing; a single block prefetches a few kilobytes ahead in its own panel.  Blocks are of even size: 16 columns are
two blocks of 8.

Complex products have panels of the same size, with one vector of real and one of imaginary parts, and two sums for each
column: four multiplications for two loads, so the weights are read at half the pace.

Every `group` runs are summed in registers and then added to the output: short sums, for accuracy.
"""

from collections.abc import Iterator
from functools import partial

from overfeat_tools.backend import Compiled, Compiler, FunctionBuilder, Value
from overfeat_tools.convolution.kernels.kernel import LINE_FLOATS, compiled

VECTORS = 2
"""Vectors of output channels in a panel; for few channels a panel of one works, at half the speed."""

_UNROLLED = 4
_INPUTS = 4  # vectors of inputs for which registers are set aside, where a vector holds several terms of a column
_PREFETCH_FLOATS = 2048

MATMUL = {
    "out": "pointer",              # (products, columns, output channels)
    "column_stride": "integer",    # floats from one column of `out` to the next,
    "product_stride": "integer",   # and from one product to the next
    "panels": "pointer",           # (products * panel_count, terms, width of a panel)
    "panel_stride": "integer",     # floats from one panel to the next
    "panel_start": "integer",      # the panels to compute with, numbered through all products: start <= panel < stop
    "panel_stop": "integer",
    "panel_count": "integer",      # panels of each product
    "x": "pointer",                # the inputs of the first product
    "x_product_stride": "integer", # floats from the inputs of one product to those of the next
    "columns": "table",            # where each column's inputs begin
    "column_count": "integer",
    "runs": "table",               # where each run begins, from there on
    "run_count": "integer",
    "run_length": "integer",
    "group": "integer",            # runs that are summed in registers
    "accumulate": "integer",       # 1 to add to `out`, 0 to overwrite it
    "x_imaginary": "integer",      # complex products: floats from real to imaginary parts, of `x`,
    "out_imaginary": "integer",    # and of `out`
}  # fmt: skip

_SHARED = ("runs", "run_count", "run_length", "group", "accumulate", "x_imaginary", "out_imaginary")

_MICROKERNEL = {
    "out": "pointer",
    "column_stride": "integer",
    "panel": "pointer",
    "x": "pointer",
    "columns": "table",
    **{name: MATMUL[name] for name in _SHARED},
    "prefetched": "pointer",       # what to prefetch meanwhile,
    "prefetch_step": "integer",    # by how many floats for each term
}  # fmt: skip


def panel_width(compiler: Compiler) -> int:
    """Return the output channels of a panel."""
    return VECTORS * compiler.lanes


def block_columns(compiler: Compiler) -> int:
    """Return the largest number of columns of a block, whose sums stay in registers while a panel streams by."""
    if compiler.lanes == _UNROLLED:
        return (compiler.registers - VECTORS * _UNROLLED - _INPUTS) // VECTORS
    return compiler.registers * 3 // 4 // VECTORS


def matmul_kernel(compiler: Compiler, width: int) -> Compiled:
    """Return the kernel for panels of `width`, one vector or two; its parameters are `MATMUL`'s.

    It computes many products of one shape: panel number i belongs to product i // panel_count.
    """
    write = partial(_write, vectors=width // compiler.lanes)
    return compiled(compiler, f"matmul_{width}", MATMUL, write)


def complex_matmul_kernel(compiler: Compiler) -> Compiled:
    """Return the kernel for complex products, with panels of a vector of real and one of imaginary parts."""
    return compiled(compiler, "complex_matmul", MATMUL, partial(_write, vectors=VECTORS, complex_=True))


def _write(builder: FunctionBuilder, vectors: int, *, complex_: bool = False) -> None:
    compiler, module = builder.compiler, builder.module
    most = block_columns(compiler)
    kind = _ComplexMicrokernel if complex_ else _Microkernel
    microkernels = {columns: kind(compiler, module, columns, vectors).write() for columns in range(1, most + 1)}
    a, emit, offset, times = builder.arguments, builder.emit, builder.offset, builder.times
    width = vectors * compiler.lanes
    channels = compiler.lanes if complex_ else width
    panel_floats = times(emit.mul(a.run_count, a.run_length), width)
    block_count = emit.sdiv(builder.plus(a.column_count, most - 1), builder.integer(most))
    # The first blocks have one column more than the others.
    least, longer_blocks = emit.sdiv(a.column_count, block_count), emit.srem(a.column_count, block_count)
    with builder.loop(a.panel_start, a.panel_stop) as number:
        product, position = emit.sdiv(number, a.panel_count), emit.srem(number, a.panel_count)
        panel = offset(a.panels, emit.mul(number, a.panel_stride))
        x = offset(a.x, emit.mul(product, a.x_product_stride))
        out = offset(a.out, emit.mul(product, a.product_stride), times(position, channels))
        next_column = builder.variable(builder.integer(0))
        with builder.loop(builder.integer(0), block_count) as block:
            column = emit.load(next_column)
            longer = emit.zext(emit.icmp_signed("<", block, longer_blocks), builder.integer_type)
            columns = emit.add(least, longer)
            share = offset(panel, a.panel_stride, emit.mul(block, emit.sdiv(panel_floats, block_count)))
            is_single = emit.icmp_signed("==", block_count, builder.integer(1))
            prefetched = emit.select(is_single, offset(panel, _PREFETCH_FLOATS), share)
            prefetch = prefetched, emit.sdiv(builder.integer(width), block_count)
            block_out = offset(out, times(column, a.column_stride))
            arguments = [block_out, a.column_stride, panel, x, offset(a.columns, column)]
            shared = [getattr(a, name) for name in _SHARED]
            _call_one(builder, microkernels, columns, [*arguments, *shared, *prefetch])
            emit.store(emit.add(column, columns), next_column)


def _call_one(builder: FunctionBuilder, microkernels: dict[int, Value], number: Value, arguments: list[Value]) -> None:
    """Write the call of the microkernel for a number of columns."""
    emit, done = builder.emit, builder.function.append_basic_block()
    cases = emit.switch(number, done)
    for columns, microkernel in microkernels.items():
        case = builder.function.append_basic_block()
        cases.add_case(builder.integer(columns), case)
        emit.position_at_end(case)
        emit.call(microkernel, arguments)
        emit.branch(done)
    emit.position_at_end(done)


class _Microkernel:
    """The function, to be written, that multiplies one panel and a fixed number of columns."""

    def __init__(self, compiler: Compiler, module: Value, columns: int, vectors: int) -> None:
        builder = FunctionBuilder(compiler, module, f"microkernel_{columns}", _MICROKERNEL, internal=True)
        self._builder, self._arguments = builder, builder.arguments
        self._vectors, self._width = vectors, vectors * compiler.lanes
        self._sums = [builder.vector_variables(vectors) for _ in range(columns)]

    def write(self) -> Value:
        """Write the function and return it."""
        builder, a = self._builder, self._arguments
        emit, integer, offset = builder.emit, builder.integer, builder.offset
        inputs = [offset(a.x, emit.load(offset(a.columns, column))) for column in range(len(self._sums))]
        weights, prefetched = builder.variable(a.panel), builder.variable(a.prefetched)
        # The outputs have left the cache by now; they are asked for before the sums are ready.
        for column in range(len(self._sums)):
            for vector in range(self._vectors):
                builder.prefetch(self._output(column, vector))
        with builder.loop(integer(0), a.run_count, a.group) as first:
            builder.clear(total for sums in self._sums for total in sums)
            end = emit.add(first, a.group)
            last = emit.select(emit.icmp_signed("<", end, a.run_count), end, a.run_count)
            with builder.loop(first, last) as run:
                run_offset = emit.load(offset(a.runs, run))
                pointers = [self._parts(offset(pointer, run_offset)) for pointer in inputs]
                unrolled_stop = emit.and_(a.run_length, integer(-_UNROLLED))
                for start, stop, terms in (
                    (integer(0), unrolled_stop, _UNROLLED), (unrolled_stop, a.run_length, 1)
                ):  # fmt: skip
                    with builder.loop(start, stop, terms) as term:
                        self._add_terms(weights, [[offset(part, term) for part in parts] for parts in pointers], terms)
                        self._prefetch(prefetched, terms)
            self._add_to_output(emit.icmp_signed("==", emit.or_(first, a.accumulate), integer(0)))
        builder.finish()
        return builder.function

    def _add_terms(self, weights: Value, inputs: list[list[Value]], count: int) -> None:
        """Write the addition of some terms to all sums, and advance in the panel."""
        builder, emit, offset = self._builder, self._builder.emit, self._builder.offset
        panel = emit.load(weights)

        def vectors(term: int) -> list[Value]:
            return [builder.load(offset(panel, term * self._width + i * builder.lanes)) for i in range(self._vectors)]

        def add(parts: list[Value], vectors: list[Value], sums: list[Value]) -> None:
            for x, vector, total in self._products(parts, vectors, sums):
                emit.store(builder.multiply_add(x, vector, emit.load(total)), total)

        if count == builder.lanes:
            terms = [vectors(term) for term in range(count)]
            for pointers, sums in zip(inputs, self._sums, strict=True):
                parts = [builder.load(pointer) for pointer in pointers]
                for lane, weights_of_term in enumerate(terms):
                    add([builder.broadcast_lane(part, lane) for part in parts], weights_of_term, sums)
        else:
            for term in range(count):
                weights_of_term = vectors(term)
                for pointers, sums in zip(inputs, self._sums, strict=True):
                    parts = [builder.broadcast(emit.load(offset(pointer, term))) for pointer in pointers]
                    add(parts, weights_of_term, sums)
        emit.store(offset(panel, count * self._width), weights)

    def _prefetch(self, prefetched: Value, terms: int) -> None:
        """Write the prefetch of as many lines as some terms fill, and advance in what is prefetched."""
        builder, emit, offset = self._builder, self._builder.emit, self._builder.offset
        pointer = emit.load(prefetched)
        for term in range(terms):
            if term * self._width % LINE_FLOATS == 0:
                for start in range(0, self._width, LINE_FLOATS):
                    builder.prefetch(offset(pointer, start))
            pointer = offset(pointer, self._arguments.prefetch_step)
        emit.store(pointer, prefetched)

    def _add_to_output(self, overwrite: Value) -> None:
        """Write the addition of the sums to the output, or their storing if it is to be overwritten."""
        builder, emit = self._builder, self._builder.emit
        for column, sums in enumerate(self._sums):
            for vector, total in enumerate(sums):
                pointer = self._output(column, vector)
                before = emit.select(overwrite, builder.constant(0.0), builder.load(pointer))
                builder.store(emit.fadd(emit.load(total), before), pointer)

    def _output(self, column: int, vector: int) -> Value:
        """Return the pointer to a vector of a column's outputs."""
        builder, a = self._builder, self._arguments
        return self._output_vector(builder.offset(a.out, builder.times(a.column_stride, column)), vector)

    # Where complex numbers differ.

    def _parts(self, pointer: Value) -> list[Value]:
        """Return the pointers to the parts of an input."""
        return [pointer]

    def _output_vector(self, out: Value, vector: int) -> Value:
        """Return the pointer to a vector of the outputs that begin at `out`."""
        return self._builder.offset(out, vector * self._builder.lanes)

    def _products(self, x: list[Value], weights: list[Value], sums: list[Value]) -> Iterator[tuple[Value, ...]]:
        """Give what to multiply, of the parts of an input and the vectors of a panel, and the sums to add that to."""
        yield from zip(x * len(weights), weights, sums, strict=True)


class _ComplexMicrokernel(_Microkernel):
    """The same for complex numbers: the two vectors of a panel, and of the sums, are real and imaginary parts."""

    def _parts(self, pointer: Value) -> list[Value]:
        return [pointer, self._builder.offset(pointer, self._arguments.x_imaginary)]

    def _output_vector(self, out: Value, vector: int) -> Value:
        return self._builder.offset(out, self._builder.times(self._arguments.out_imaginary, vector))

    def _products(self, x: list[Value], weights: list[Value], sums: list[Value]) -> Iterator[tuple[Value, ...]]:
        real, imaginary = x
        yield from zip((real, real), weights, sums, strict=True)
        yield self._builder.emit.fneg(imaginary), weights[1], sums[0]
        yield imaginary, weights[0], sums[1]
