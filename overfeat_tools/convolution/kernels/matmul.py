"""The product that convolutions are made of, of kernels in panels and runs of inputs.

    out[column, k] (+)= sum over runs s and t < length of x[columns[column] + runs[s] + t] * panel[s * length + t, k]

`columns` and `runs` are tables of offsets, so one function multiplies matrices (a column is a row of a matrix, a run
a piece of it), and convolves without unfolding anything (a column is an output's place, a run one
row of the kernel: with the channels last these inputs follow each other in memory).

A panel holds 2 vectors of kernels, their weights one behind the other in the order of the sum.  Of up to 12
columns the sums stay in registers, 24 of them, while the panel passes: for each step two vectors are
loaded, and each column's input is spread over a vector.  That keeps both multipliers of a core busy
(12 columns because 24 + 2 + 1 vectors fit in 32 registers; 6 where there are 16), asks for 10 bytes a cycle of
the panel, and wants nothing of the inputs but that neighbours follow each other.

The panel is used once for each block of columns, and after the first comes from the second-level cache.  Meanwhile
each block asks for its part of the next panel, so that reading the kernels from memory goes on beside all of the
computing; a single block asks a few kilobytes ahead.  Columns are shared out evenly: 16 are two blocks of 8.

Complex products have panels of the same size, of one vector of real parts and one of imaginary ones, and the sums'
two parts for each column: four multiplications for two loads, so the kernels are read at half the pace.

Each sum of `group` runs is rounded by itself and then added to the output, for accuracy.
"""

from functools import partial

from overfeat_tools.backend import Compiled, Compiler
from overfeat_tools.convolution.kernels.routine import Routine, Value, compiled

VECTORS = 2
"""Vectors of kernels in a panel; where there are few, one will do, at half the speed."""

_UNROLLED = 4
_AHEAD_FLOATS = 2048

_BLOCK = ("pointer", "integer", "pointer", "pointer", "table", "table", *["integer"] * 6, "pointer", "integer")
_WHOLE = (
    "pointer", "integer", "integer", "pointer", *["integer"] * 4, "pointer", "integer", "table", "integer", "table",
    *["integer"] * 6,
)  # fmt: skip


def panel_width(compiler: Compiler) -> int:
    """Give the kernels of a panel."""
    return VECTORS * compiler.lanes


def block_columns(compiler: Compiler) -> int:
    """Give the most columns of a block, which use a panel at once."""
    return compiler.registers * 3 // 4 // VECTORS


def matmul_kernel(compiler: Compiler, width: int) -> Compiled:
    """Give the product, compiled, for panels of one vector or two.

    It makes many products of one shape, numbered by their panels: panel number i is of product i // `panel_count`.  It
    takes `out`, and the floats from one column of it to the next and from one product's to the next; `panels`, the
    floats from one to the next, the numbers of those to do (first, last), and `panel_count`; `x`, and the floats from
    one product's to the next; `columns`, and how many; `runs`, how many, their length, and how many to a `group`;
    whether to add to `out` (1) or write it (0); and two numbers that are nothing here.  Tables are of 64-bit integers.
    """
    vectors = width // compiler.lanes
    return compiled(compiler, f"multiply_{width}", _WHOLE, partial(_write, vectors=vectors))


def complex_matmul_kernel(compiler: Compiler) -> Compiled:
    """Give the complex product, compiled, for panels of a vector of real parts and one of imaginary ones.

    It takes what `multiplier`'s takes, and at the end the floats from real to imaginary parts, of `x` and of `out`.
    """
    return compiled(compiler, "multiply_complex", _WHOLE, partial(_write, vectors=VECTORS, complex_=True))


def _write(compiler: Compiler, module: Value, name: str, vectors: int, *, complex_: bool = False) -> None:
    most = block_columns(compiler)
    kind = _ComplexBlock if complex_ else _Block
    blocks = {columns: kind(compiler, module, columns, vectors).write() for columns in range(1, most + 1)}
    routine = Routine(compiler, module, name, _WHOLE)
    code, integer, at = routine.code, routine.integer, routine.at
    out, stride, out_stride, panels, panel_stride, first, last, panel_count, x, x_stride, *rest = routine.arguments
    columns, column_count, runs, *how = rest
    width = vectors * compiler.lanes
    kernels = compiler.lanes if complex_ else width
    panel_floats = routine.times(code.mul(how[0], how[1]), width)
    count = code.sdiv(routine.plus(column_count, most - 1), integer(most))
    least, wider = code.sdiv(column_count, count), code.srem(column_count, count)
    with routine.loop(first, last) as number:
        product, position = code.sdiv(number, panel_count), code.srem(number, panel_count)
        panel = at(panels, code.mul(number, panel_stride))
        inputs = at(x, code.mul(product, x_stride))
        target = at(out, code.mul(product, out_stride), routine.times(position, kernels))
        place = routine.variable(integer(0))
        with routine.loop(integer(0), count) as block:
            column = code.load(place)
            this = code.add(least, code.zext(code.icmp_signed("<", block, wider), routine.integer_type))
            # What to ask for meanwhile: each block its part of the next panel, or a single one what it needs soon.
            part = at(panel, panel_stride, code.mul(block, code.sdiv(panel_floats, count)))
            alone = code.icmp_signed("==", count, integer(1))
            wanted = code.select(alone, at(panel, _AHEAD_FLOATS), part), code.sdiv(integer(width), count)
            outputs = at(target, code.mul(column, stride))
            arguments = [outputs, stride, panel, inputs, at(columns, column), runs, *how, *wanted]
            done = routine.function.append_basic_block()
            cases = code.switch(this, done)
            for columns_of_block, function in blocks.items():
                case = routine.function.append_basic_block()
                cases.add_case(integer(columns_of_block), case)
                code.position_at_end(case)
                code.call(function, arguments)
                code.branch(done)
            code.position_at_end(done)
            code.store(code.add(column, this), place)
    routine.end()


class _Block:
    """The product of one panel and a block of columns, to be written."""

    def __init__(self, compiler: Compiler, module: Value, columns: int, vectors: int) -> None:
        routine = self._routine = Routine(compiler, module, f"block_{columns}", _BLOCK, public=False)
        self._vectors, self._width = vectors, vectors * compiler.lanes
        self._sums = [routine.vector_variables(vectors) for _ in range(columns)]
        self._x_part, self._out_part = routine.arguments[-4:-2]

    def write(self) -> Value:
        """Write the function and give it."""
        routine = self._routine
        code, integer, at = routine.code, routine.integer, routine.at
        out, stride, panel, x, columns, runs, run_count, length, group, add, *_ = routine.arguments
        wanted, wanted_step = routine.arguments[-2:]
        inputs = [at(x, code.load(at(columns, column))) for column in range(len(self._sums))]
        weights, wanted = routine.variable(panel), routine.variable(wanted)
        # Where the sums will go is no longer in the cache; it is asked for before they are made.
        for column in range(len(self._sums)):
            for vector in range(self._vectors):
                routine.prefetch(self._place(at(out, routine.times(stride, column)), vector))
        with routine.loop(integer(0), run_count, group) as first:
            routine.clear(total for column_sums in self._sums for total in column_sums)
            end = code.add(first, group)
            last = code.select(code.icmp_signed("<", end, run_count), end, run_count)
            with routine.loop(first, last) as run:
                offset = code.load(at(runs, run))
                places = [self._parts(at(place, offset)) for place in inputs]
                whole = code.and_(length, integer(-_UNROLLED))
                for start, stop, unrolled in ((integer(0), whole, _UNROLLED), (whole, length, 1)):
                    with routine.loop(start, stop, unrolled) as term:
                        self._steps(weights, [[at(part, term) for part in parts] for parts in places], unrolled)
                        self._ask(wanted, wanted_step, unrolled)
            self._add_up(out, stride, code.icmp_signed("==", code.or_(first, add), integer(0)))
        routine.end()
        return routine.function

    def _ask(self, wanted: Value, step: Value, count: int) -> None:
        """Write the asking for what is wanted, as many lines as some terms can fill, and move on in it."""
        routine, code = self._routine, self._routine.code
        place = code.load(wanted)
        for _ in range(count):
            for vector in range(self._vectors):
                routine.prefetch(routine.at(place, vector * routine.lanes))
            place = routine.at(place, step)
        code.store(place, wanted)

    def _steps(self, weights: Value, places: list[list[Value]], count: int) -> None:
        """Write some terms of all sums, and move on in the panel."""
        routine, code, at = self._routine, self._routine.code, self._routine.at
        here = code.load(weights)
        for number in range(count):
            pieces = [at(here, number * self._width + vector * routine.lanes) for vector in range(self._vectors)]
            kernels = [routine.load(piece) for piece in pieces]
            for parts, column_sums in zip(places, self._sums, strict=True):
                values = [routine.spread(code.load(at(part, number))) for part in parts]
                self._add_products(values, kernels, column_sums)
        code.store(at(here, count * self._width), weights)

    def _add_up(self, out: Value, stride: Value, fresh: Value) -> None:
        """Write the addition of the sums to the output, whose own values count unless it is `fresh`."""
        routine, code = self._routine, self._routine.code
        for column, column_sums in enumerate(self._sums):
            for vector, total in enumerate(column_sums):
                place = self._place(routine.at(out, routine.times(stride, column)), vector)
                before = code.select(fresh, routine.zero, routine.load(place))
                routine.store(code.fadd(code.load(total), before), place)

    # What is otherwise where numbers are complex.

    def _parts(self, place: Value) -> list[Value]:
        """Give the places of a number's parts."""
        return [place]

    def _place(self, out: Value, vector: int) -> Value:
        """Give the place of a vector of a column's sums."""
        return self._routine.at(out, vector * self._routine.lanes)

    def _add_products(self, values: list[Value], kernels: list[Value], sums: list[Value]) -> None:
        """Write the products of a number, given by its parts, and all kernels."""
        for kernel, total in zip(kernels, sums, strict=True):
            self._add_product(values[0], kernel, total)

    def _add_product(self, value: Value, kernel: Value, total: Value) -> None:
        code = self._routine.code
        code.store(self._routine.multiply_add(value, kernel, code.load(total)), total)


class _ComplexBlock(_Block):
    """The same of complex numbers: the vectors of a panel, and of the sums, are real and imaginary parts."""

    def _parts(self, place: Value) -> list[Value]:
        return [place, self._routine.at(place, self._x_part)]

    def _place(self, out: Value, vector: int) -> Value:
        return self._routine.at(out, self._routine.times(self._out_part, vector))

    def _add_products(self, values: list[Value], kernels: list[Value], sums: list[Value]) -> None:
        real, imaginary = values
        self._add_product(real, kernels[0], sums[0])
        self._add_product(real, kernels[1], sums[1])
        self._add_product(self._routine.code.fneg(imaginary), kernels[1], sums[0])
        self._add_product(imaginary, kernels[0], sums[1])
