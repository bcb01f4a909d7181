"""A function under construction in LLVM's language: loops, variables, vectors.

Loops count in variables on the stack, as does whatever changes; the compiler turns them into registers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from overfeat_tools.backend import Compiled, Compiler

Value = Any
"""A value of LLVM's: llvmlite is untyped."""

# Vectors are loaded from wherever they lie.
_ALIGNMENT = 4


class Routine:
    """A function that is being written.

    Parameters
    ----------
    compiler : Compiler
    module : ir.Module
        What the function is added to.
    name : str
    parameters : sequence of {"pointer", "table", "integer", "float"}
        Pointers are to floats, tables are of 64-bit integers.
    public : bool
        Whether it will be called from outside the module.
    """

    def __init__(
        self, compiler: Compiler, module: Value, name: str, parameters: Sequence[str], *, public: bool = True
    ) -> None:
        ir = self.ir = compiler.ir
        self.module, self.lanes = module, compiler.lanes
        self.integer_type, self.float_type = ir.IntType(64), ir.FloatType()
        self.vector_type = ir.VectorType(self.float_type, self.lanes)
        self._bits_type = ir.VectorType(ir.IntType(32), self.lanes)
        kinds = {
            "pointer": self.float_type.as_pointer(), "table": self.integer_type.as_pointer(),
            "integer": self.integer_type, "float": self.float_type,
        }  # fmt: skip
        signature = ir.FunctionType(ir.VoidType(), [kinds[parameter] for parameter in parameters])
        self.function = ir.Function(module, signature, name)
        self.arguments: Sequence[Value] = self.function.args
        if not public:
            self.function.linkage = "internal"
        self.code = ir.IRBuilder(self.function.append_basic_block())

    # Numbers and places.

    def integer(self, value: int) -> Value:
        """Give a constant."""
        return self.ir.Constant(self.integer_type, value)

    def at(self, pointer: Value, *offsets: Value | int) -> Value:
        """Give the place so many floats (or integers, of a table of those) further."""
        for offset in offsets:
            step = self.integer(offset) if isinstance(offset, int) else offset
            pointer = self.code.gep(pointer, [step])
        return pointer

    def times(self, value: Value, other: Value | int) -> Value:
        """Multiply two integers."""
        return self.code.mul(value, self.integer(other) if isinstance(other, int) else other)

    def plus(self, value: Value, *others: Value | int) -> Value:
        """Add integers."""
        for other in others:
            value = self.code.add(value, self.integer(other) if isinstance(other, int) else other)
        return value

    def inside(self, value: Value, length: Value) -> Value:
        """Tell whether 0 <= value < length."""
        return self.code.icmp_unsigned("<", value, length)

    # Variables and loops.

    def variable(self, start: Value) -> Value:
        """Make a variable; `code.load` and `code.store` are its use."""
        with self.code.goto_entry_block():
            place = self.code.alloca(start.type)
        self.code.store(start, place)
        return place

    def vector_variables(self, count: int) -> list[Value]:
        """Make variables that hold a vector each, of no value yet."""
        with self.code.goto_entry_block():
            return [self.code.alloca(self.vector_type) for _ in range(count)]

    def clear(self, variables: Iterable[Value]) -> None:
        """Make vectors zero."""
        for variable in variables:
            self.code.store(self.zero, variable)

    def array(self, kind: Value, count: int) -> Value:
        """Make an array of values of a type, of no value yet; gives the place of the first."""
        with self.code.goto_entry_block():
            return self.code.alloca(kind, self.integer(count))

    @contextmanager
    def loop(self, start: Value, stop: Value, step: Value | int = 1) -> Iterator[Value]:
        """Repeat what is written inside for start, start + step, ... below stop; gives the number."""
        code, counter = self.code, self.variable(start)
        head, body, done = (self.function.append_basic_block() for _ in range(3))
        code.branch(head)
        code.position_at_end(head)
        number = code.load(counter)
        code.cbranch(code.icmp_signed("<", number, stop), body, done)
        code.position_at_end(body)
        yield number
        code.store(self.plus(number, step), counter)
        code.branch(head)
        code.position_at_end(done)

    # Vectors.

    @property
    def zero(self) -> Value:
        """A vector of zeros."""
        return self.ir.Constant(self.vector_type, [self.ir.Constant(self.float_type, 0.0)] * self.lanes)

    def same(self, value: float) -> Value:
        """Give a vector of one constant."""
        return self.ir.Constant(self.vector_type, [self.ir.Constant(self.float_type, value)] * self.lanes)

    def spread(self, value: Value) -> Value:
        """Give a vector of one float or 32-bit integer."""
        kind = self.ir.VectorType(value.type, self.lanes)
        nothing = self.ir.Constant(kind, self.ir.Undefined)
        first = self.code.insert_element(nothing, value, self.ir.Constant(self.ir.IntType(32), 0))
        return self.code.shuffle_vector(first, nothing, self.ir.Constant(self._bits_type, [0] * self.lanes))

    def load(self, pointer: Value) -> Value:
        """Load a vector."""
        return self.code.load(self.code.bitcast(pointer, self.vector_type.as_pointer()), align=_ALIGNMENT)

    def store(self, vector: Value, pointer: Value) -> None:
        """Store a vector."""
        self.code.store(vector, self.code.bitcast(pointer, self.vector_type.as_pointer()), align=_ALIGNMENT)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """Give a * b + c, rounded once."""
        name = f"llvm.fma.v{self.lanes}f32"
        fma = self.module.globals.get(name) or self.ir.Function(
            self.module, self.ir.FunctionType(self.vector_type, [self.vector_type] * 3), name
        )
        return self.code.call(fma, [a, b, c])

    def total(self, vector: Value) -> Value:
        """Give the sum of a vector's floats, added up in halves."""
        code, width = self.code, self.lanes
        while width > 1:
            width //= 2
            other = [lane ^ width for lane in range(self.lanes)]
            nothing = self.ir.Constant(self.vector_type, self.ir.Undefined)
            vector = code.fadd(
                vector, code.shuffle_vector(vector, nothing, self.ir.Constant(self._bits_type, other))
            )
        return code.extract_element(vector, self.ir.Constant(self.ir.IntType(32), 0))

    def prefetch(self, pointer: Value) -> None:
        """Bring what lies there into the cache, without waiting for it; there may be nothing."""
        ir, word = self.ir, self.ir.IntType(32)
        anything = ir.IntType(8).as_pointer()
        name = "llvm.prefetch.p0"
        ask = self.module.globals.get(name) or ir.Function(
            self.module, ir.FunctionType(ir.VoidType(), [anything, word, word, word]), name
        )
        to_read, keep, data = (ir.Constant(word, value) for value in (0, 3, 1))
        self.code.call(ask, [self.code.bitcast(pointer, anything), to_read, keep, data])

    def maximum(self, vectors: Iterable[Value]) -> Value:
        """Give the largest of each lane, as `numpy.maximum` does: nan where one is."""

        def larger(a: Value, b: Value) -> Value:
            first = self.code.or_(self.code.fcmp_ordered(">", a, b), self.code.fcmp_unordered("uno", a, a))
            return self.code.select(first, a, b)

        return reduce(larger, vectors)

    def above(self, vector: Value, threshold: Value, otherwise: Value) -> Value:
        """Keep what is above the threshold; of the rest the bits that `otherwise` has: none, or all."""
        code = self.code
        keep = code.sext(code.fcmp_ordered(">", vector, threshold), self._bits_type)
        bits = code.and_(code.bitcast(vector, self._bits_type), code.or_(keep, otherwise))
        return code.bitcast(bits, self.vector_type)

    def ending(self, biases: Value, threshold: Value, otherwise: Value) -> Callable[[Value, Value], Value]:
        """Give what follows a sum: a function of the sum and of the first kernel's number.

        It adds the biases, and clears what is not above the threshold, if `otherwise` is 0; if it is -1, nothing.
        """
        threshold = self.spread(threshold)
        otherwise = self.spread(self.code.trunc(otherwise, self.ir.IntType(32)))

        def end(total: Value, kernel: Value) -> Value:
            return self.above(self.code.fadd(total, self.load(self.at(biases, kernel))), threshold, otherwise)

        return end

    def end(self) -> None:
        """Finish the function."""
        self.code.ret_void()


_WORDING = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))


def compiled(
    compiler: Compiler,
    name: str,
    parameters: Sequence[str],
    write: Callable[[Compiler, Value, str], None],
    depends_on: bytes = b"",
) -> Compiled:
    """Give a function, compiled.

    Parameters
    ----------
    compiler : Compiler
    name : str
        Must tell apart what `write` writes.
    parameters : sequence of {"pointer", "table", "integer", "float"}
    write : callable
        Called as `write(compiler, module, name)` if the function must be compiled.
    depends_on : bytes
        What the function depends on that is not written in this folder.
    """
    return compiler.function(name, parameters, _WORDING + depends_on, lambda module: write(compiler, module, name))
