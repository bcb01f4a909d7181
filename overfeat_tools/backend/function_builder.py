"""Writes a function in LLVM IR: arguments, constants, addresses, loops, variables, vectors.

Whatever changes, loop counters included, is a variable on the stack; the compiler turns these into registers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from types import SimpleNamespace
from typing import Any

from overfeat_tools.backend.compiler import Compiler

Value = Any
"""A value of LLVM IR: llvmlite is untyped."""

Parameters = Mapping[str, str]
"""The parameters of a function in their order, each with its kind.

A "pointer" is to floats, "bytes" to bytes, a "table" to 64-bit integers; an "integer" has 64 bits, a "float" 32.
"""

# Vectors may begin at any float.
_ALIGNMENT = 4

class FunctionBuilder:
    """A function that is being written.

    `emit` is llvmlite's `IRBuilder`, for single instructions; `arguments` has the function's arguments as
    attributes, by their names.

    Parameters
    ----------
    compiler : Compiler
    module : ir.Module
        The module to add the function to.
    name : str
    parameters : Parameters
    internal : bool
        Whether the function is called by others of its module only, with its parameters as they are.  Else it takes
        them from a row of words (`calls.py`).
    """

    def __init__(
        self, compiler: Compiler, module: Value, name: str, parameters: Parameters, *, internal: bool = False
    ) -> None:
        ir = self.ir = compiler.ir
        self.compiler, self.module, self.lanes = compiler, module, compiler.lanes
        self.integer_type, self.float_type, self.byte_type = ir.IntType(64), ir.FloatType(), ir.IntType(8)
        self.vector_type = ir.VectorType(self.float_type, self.lanes)
        self._word_type = ir.IntType(32)
        self._bits_type = ir.VectorType(self._word_type, self.lanes)
        kinds = {
            "pointer": self.float_type.as_pointer(), "table": self.integer_type.as_pointer(),
            "bytes": self.byte_type.as_pointer(), "integer": self.integer_type, "float": self.float_type,
        }  # fmt: skip
        types = [kinds[kind] for kind in parameters.values()]
        taken = types if internal else [kinds["table"], kinds["bytes"]]
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), taken), name)
        self.emit = ir.IRBuilder(self.function.append_basic_block())
        if internal:
            self.function.linkage = "internal"
            arguments = self.function.args
        else:
            arguments = [self._argument(number, type_) for number, type_ in enumerate(types)]
        self.arguments = SimpleNamespace(**dict(zip(parameters, arguments, strict=True)))

    def _argument(self, number: int, type_: Value) -> Value:
        """Take an argument from the row."""
        emit, (row, scratch) = self.emit, self.function.args
        word = emit.load(self.offset(row, number))
        if type_ == self.integer_type:
            return word
        if type_ == self.float_type:
            return emit.bitcast(emit.trunc(word, self._word_type), type_)
        in_scratch = emit.add(emit.ptrtoint(scratch, self.integer_type), emit.not_(word))
        is_address = emit.icmp_signed(">=", word, self.integer(0))
        return emit.inttoptr(emit.select(is_address, word, in_scratch), type_)

    def finish(self) -> None:
        """Return from the function."""
        self.emit.ret_void()

    # Integers and addresses.

    def integer(self, value: int) -> Value:
        """Return an integer constant."""
        return self.ir.Constant(self.integer_type, value)

    def _as_value(self, value: Value | int) -> Value:
        return self.integer(value) if isinstance(value, int) else value

    def offset(self, pointer: Value, *offsets: Value | int) -> Value:
        """Advance a pointer by some numbers of floats, or a table by some numbers of its integers."""
        for offset in offsets:
            pointer = self.emit.gep(pointer, [self._as_value(offset)])
        return pointer

    def times(self, value: Value, other: Value | int) -> Value:
        """Multiply two integers."""
        return self.emit.mul(value, self._as_value(other))

    def plus(self, value: Value, *others: Value | int) -> Value:
        """Add integers."""
        for other in others:
            value = self.emit.add(value, self._as_value(other))
        return value

    # Variables and loops.

    def variable(self, start: Value) -> Value:
        """Declare a variable with its first value; it is used by `emit.load` and `emit.store`."""
        with self.emit.goto_entry_block():
            pointer = self.emit.alloca(start.type)
        self.emit.store(start, pointer)
        return pointer

    def vector_variables(self, count: int) -> list[Value]:
        """Declare uninitialised variables for one vector each."""
        with self.emit.goto_entry_block():
            return [self.emit.alloca(self.vector_type) for _ in range(count)]

    def clear(self, variables: Iterable[Value]) -> None:
        """Set vector variables to zero."""
        for variable in variables:
            self.emit.store(self.constant(0.0), variable)

    def array(self, type_: Value, count: int) -> Value:
        """Declare an uninitialised array; return the pointer to its first item."""
        with self.emit.goto_entry_block():
            return self.emit.alloca(type_, self.integer(count))

    @contextmanager
    def loop(self, start: Value, stop: Value, step: Value | int = 1) -> Iterator[Value]:
        """Repeat what is written inside for the counter start, start + step, ... below stop."""
        emit, counter = self.emit, self.variable(start)
        head, body, done = (self.function.append_basic_block() for _ in range(3))
        emit.branch(head)
        emit.position_at_end(head)
        number = emit.load(counter)
        emit.cbranch(emit.icmp_signed("<", number, stop), body, done)
        emit.position_at_end(body)
        yield number
        emit.store(self.plus(number, step), counter)
        emit.branch(head)
        emit.position_at_end(done)

    # Vectors.

    def constant(self, value: float) -> Value:
        """Return a vector whose lanes all hold a constant."""
        return self.ir.Constant(self.vector_type, [self.ir.Constant(self.float_type, value)] * self.lanes)

    def broadcast(self, value: Value) -> Value:
        """Return a vector whose lanes all hold a float or 32-bit integer."""
        undefined = self.ir.Constant(self.ir.VectorType(value.type, self.lanes), self.ir.Undefined)
        first = self.emit.insert_element(undefined, value, self.ir.Constant(self._word_type, 0))
        return self.broadcast_lane(first, 0)

    def broadcast_lane(self, vector: Value, lane: int) -> Value:
        """Return a vector whose lanes all hold one lane of another."""
        undefined = self.ir.Constant(vector.type, self.ir.Undefined)
        return self.emit.shuffle_vector(vector, undefined, self.ir.Constant(self._bits_type, [lane] * self.lanes))

    def load(self, pointer: Value) -> Value:
        """Load a vector."""
        return self.emit.load(self.emit.bitcast(pointer, self.vector_type.as_pointer()), align=_ALIGNMENT)

    def load_bytes(self, pointer: Value) -> Value:
        """Load as many bytes as a vector has lanes, each as a 32-bit integer."""
        vector_type = self.ir.VectorType(self.byte_type, self.lanes)
        loaded = self.emit.load(self.emit.bitcast(pointer, vector_type.as_pointer()), align=1)
        return self.emit.zext(loaded, self._bits_type)

    def store(self, vector: Value, pointer: Value) -> None:
        """Store a vector."""
        self.emit.store(vector, self.emit.bitcast(pointer, self.vector_type.as_pointer()), align=_ALIGNMENT)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """Return a * b + c, rounded once."""
        return self.emit.call(self._intrinsic(f"llvm.fma.v{self.lanes}f32", self.vector_type, a, b, c), [a, b, c])

    def horizontal_sum(self, vector: Value) -> Value:
        """Return the sum of a vector's lanes, halving the vector at each step."""
        emit, width = self.emit, self.lanes
        undefined = self.ir.Constant(self.vector_type, self.ir.Undefined)
        while width > 1:
            width //= 2
            swapped = self.ir.Constant(self._bits_type, [lane ^ width for lane in range(self.lanes)])
            vector = emit.fadd(vector, emit.shuffle_vector(vector, undefined, swapped))
        return emit.extract_element(vector, self.ir.Constant(self._word_type, 0))

    def prefetch(self, pointer: Value) -> None:
        """Start to bring a line into the cache; the address need not be valid."""
        read, keep_in_all_levels, data = (self.ir.Constant(self._word_type, value) for value in (0, 3, 1))
        arguments = [self.emit.bitcast(pointer, self.ir.IntType(8).as_pointer()), read, keep_in_all_levels, data]
        self.emit.call(self._intrinsic("llvm.prefetch.p0", self.ir.VoidType(), *arguments), arguments)

    def _intrinsic(self, name: str, result: Value, *arguments: Value) -> Value:
        """Return one of LLVM's own functions, declared in the module."""
        signature = self.ir.FunctionType(result, [argument.type for argument in arguments])
        return self.module.globals.get(name) or self.ir.Function(self.module, signature, name)

    def maximum(self, vectors: Iterable[Value]) -> Value:
        """Return the maximum of each lane; like `numpy.maximum`, nan where any is nan."""

        def larger(a: Value, b: Value) -> Value:
            first = self.emit.or_(self.emit.fcmp_ordered(">", a, b), self.emit.fcmp_unordered("uno", a, a))
            return self.emit.select(first, a, b)

        return reduce(larger, vectors)

    def epilogue(self, bias: Value, threshold: Value, keep_mask: Value) -> Callable[[Value, Value], Value]:
        """Return a function that writes the end of a convolution: it adds the bias and rectifies.

        Parameters
        ----------
        bias : pointer
        threshold : float
            Values that are not above it are cleared to +0.0.
        keep_mask : integer
            0; or -1 for clearing nothing.

        Returns
        -------
        callable
            Takes a vector of sums and the number of the first one's output channel.
        """
        emit, thresholds = self.emit, self.broadcast(threshold)
        keep_mask = self.broadcast(emit.trunc(keep_mask, self._word_type))

        def apply(sums: Value, channel: Value) -> Value:
            sums = emit.fadd(sums, self.load(self.offset(bias, channel)))
            above = emit.sext(emit.fcmp_ordered(">", sums, thresholds), self._bits_type)
            # On the bits, so that what is cleared is +0.0, nan included.
            bits = emit.bitcast(sums, self._bits_type)
            return emit.bitcast(emit.and_(bits, emit.or_(above, keep_mask)), self.vector_type)

        return apply
