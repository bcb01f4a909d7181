"""A stand-in for cupy, made of numpy, that is stricter than either: it finds what was forgotten.

Its arrays refuse to meet numpy's, so a missing upload or a numpy function on an array of the card
fails.  Its copies between host and card are put off until something waits for their stream, so a
missing wait gives wrong numbers.  Its memory is counted and has an end.
"""

import atexit
import contextlib
import ctypes
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

NOT_YET = 0xA5
"""The bytes of memory that nobody has written."""


class CUDARuntimeError(RuntimeError):
    """As cupy's."""

    __module__ = "cupy_backends.cuda.api.runtime"


class OutOfMemoryError(MemoryError):
    """As `cupy.cuda.memory.OutOfMemoryError`."""


class Memory:
    """The card's: how much there is, and how much is held."""

    def __init__(self) -> None:
        self.total = 8 << 30
        self.held = 0

    def adopt(self, array: np.ndarray) -> "CardArray":  # type: ignore[type-arg]
        """Count the memory of a new array as the card's."""
        owner = array if array.base is None else array.base
        if self.held + array.nbytes > self.total:
            raise OutOfMemoryError
        self.held += array.nbytes
        weakref.finalize(owner, self._let_go, array.nbytes)
        for graph in CAPTURED:
            graph.append(lambda: owner)  # its memory is the graph's
        return array.view(CardArray)

    def _let_go(self, size: int) -> None:
        self.held -= size


MEMORY = Memory()


def check(*values: object) -> None:
    """Refuse arrays of numpy."""
    for value in values:
        if isinstance(value, tuple | list):
            check(*value)
        elif isinstance(value, np.ndarray) and not isinstance(value, CardArray):
            message = f"an array of the host, {value.dtype} {value.shape}, meets the card's"
            raise TypeError(message)


def bare(value: object) -> object:
    """Give numpy's view of an array."""
    return value.view(np.ndarray) if isinstance(value, CardArray) else value


CAPTURED: list[list[Callable[[], object]]] = []
"""What the graph that is being captured does, if there is one."""


def again(work: Callable[[], object]) -> None:
    """Do something that the card does, and will do again where it is captured in a graph."""
    work()
    for graph in CAPTURED:
        graph.append(work)


def made(make: Callable[[], Any]) -> "CardArray":
    """Give a new array of the card; where that is captured, it is made again in the same memory."""
    array = MEMORY.adopt(np.asarray(make()))
    for graph in CAPTURED:
        graph.append(lambda: np.copyto(array.view(np.ndarray), make()))
    return array


class Graph:
    """What was captured; launching it does it again, with whatever is now in the arrays."""

    def __init__(self, work: list[Callable[[], object]]) -> None:
        self._work = work

    def launch(self, stream: "Stream") -> None:
        """Do it."""
        assert stream.computes
        assert not CAPTURED
        for work in self._work:
            work()


class CardArray(np.ndarray):  # type: ignore[type-arg]
    """An array of the card."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:  # noqa: ANN401
        check(inputs, out or ())
        if out is not None:
            again(lambda: getattr(ufunc, method)(*map(bare, inputs), out=tuple(map(bare, out)), **options))
            return out[0]
        return made(lambda: getattr(ufunc, method)(*map(bare, inputs), **options))

    def __array_function__(self, function: Any, *_: Any) -> Any:  # noqa: ANN401
        message = f"numpy.{function.__name__} of the card's array"
        raise TypeError(message)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401
        check(index)
        found = self.view(np.ndarray)[bare(index)]
        if isinstance(found, np.ndarray) and found.base is None:  # chosen, not a view
            return made(lambda: self.view(np.ndarray)[bare(index)])
        return found.view(CardArray) if isinstance(found, np.ndarray) else found

    def __setitem__(self, index: Any, value: Any) -> None:  # noqa: ANN401
        check(index, value)
        again(lambda: self.view(np.ndarray).__setitem__(bare(index), bare(value)))

    @property
    def data(self) -> SimpleNamespace:  # type: ignore[override]
        """As cupy's: where it begins."""
        return SimpleNamespace(ptr=self.view(np.ndarray).ctypes.data)

    @property
    def real(self) -> "CardArray":
        """As numpy's."""
        return self.view(np.ndarray).real.view(CardArray)

    @real.setter
    def real(self, value: "CardArray") -> None:
        check(value)
        self.view(np.ndarray).real = bare(value)

    @property
    def imag(self) -> "CardArray":
        """As numpy's."""
        return self.view(np.ndarray).imag.view(CardArray)

    @imag.setter
    def imag(self, value: "CardArray") -> None:
        check(value)
        self.view(np.ndarray).imag = bare(value)

    def copy(self, order: str = "C") -> "CardArray":  # type: ignore[override]
        """As numpy's."""
        return made(lambda: self.view(np.ndarray).copy(order))  # type: ignore[arg-type]

    def reshape(self, *shape: Any) -> "CardArray":  # type: ignore[override]  # noqa: ANN401
        """As numpy's."""
        before = self.view(np.ndarray)
        after = before.reshape(*shape)
        return after.view(CardArray) if np.shares_memory(before, after) else made(lambda: before.reshape(*shape))

    def set(self, host: np.ndarray, stream: "Stream") -> None:  # type: ignore[type-arg]
        """Copy from the host, when the stream comes to it."""
        assert type(host) is np.ndarray
        assert (self.shape, self.dtype) == (host.shape, host.dtype)
        assert self.flags.c_contiguous
        assert not CAPTURED
        # What is not pinned is copied away before the call returns.
        source = host if host.base is not None and id(host.base) in PINNED else host.copy()
        stream.queue.append(lambda: self.__setitem__(..., source.view(CardArray)))
        if stream.computes:
            stream.record().synchronize()

    def get(self, stream: "Stream", out: np.ndarray, *, blocking: bool) -> np.ndarray:  # type: ignore[type-arg]
        """Copy to the host, when the stream comes to it."""
        assert (self.shape, self.dtype) == (out.shape, out.dtype)
        assert self.flags.c_contiguous
        assert out.flags.c_contiguous
        assert not blocking
        stream.queue.append(lambda: np.copyto(out, self.view(np.ndarray)))
        return out


class Event:
    """A place in a stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream, self._place = stream, stream.done + len(stream.queue)

    def synchronize(self) -> None:
        """Let the stream come to it."""
        while self._stream.done < self._place:
            self._stream.done += 1
            self._stream.queue.pop(0)()


class Stream:
    """Copies that are still to be made; whatever computes is done at once, after what its stream waits for."""

    def __init__(self, *, non_blocking: bool) -> None:
        assert non_blocking
        self.ptr = id(self)
        self.queue: list[Callable[[], object]] = []
        self.done = 0
        self.computes = False

    def __enter__(self) -> None:
        self.computes = True
        self.record().synchronize()

    def __exit__(self, *_: object) -> None:
        self.computes = False

    def begin_capture(self) -> None:
        """Note what is done from here on."""
        assert self.computes
        CAPTURED.append([])

    def end_capture(self) -> Graph:
        """Give what was noted."""
        return Graph(CAPTURED.pop())

    def record(self) -> Event:
        """Mark the place reached."""
        return Event(self)

    def wait_event(self, event: Event) -> None:
        """Go on only after an event."""
        event.synchronize()


PINNED: set[int] = set()
_KEPT: list[object] = []


def empty_pinned(shape: int, dtype: Any) -> np.ndarray:  # type: ignore[type-arg]  # noqa: ANN401
    """Give pinned memory, kept for good as its pool does."""
    array = np.full(shape, NOT_YET, dtype)
    PINNED.add(id(array))
    _KEPT.append(array)
    return array


def empty(shape: Any, dtype: Any = "float64") -> CardArray:  # noqa: ANN401
    """As numpy's, and never zero by chance."""
    array = np.empty(shape, dtype)
    if array.nbytes + MEMORY.held <= MEMORY.total:
        array.view(np.uint8)[...] = NOT_YET
    return MEMORY.adopt(array)


def zeros(shape: Any, dtype: Any = "float64") -> CardArray:  # noqa: ANN401
    """As numpy's."""
    return MEMORY.adopt(np.zeros(shape, dtype))


def empty_like(x: CardArray, order: str = "K") -> CardArray:
    """As numpy's."""
    return MEMORY.adopt(np.empty_like(bare(x), order=order))  # type: ignore[call-overload, no-any-return]


def ascontiguousarray(x: CardArray, dtype: Any = None) -> CardArray:  # noqa: ANN401
    """As numpy's."""
    assert isinstance(x, CardArray)
    array = np.ascontiguousarray(bare(x), dtype)
    if np.shares_memory(array, bare(x)):  # type: ignore[arg-type]
        return x
    return made(lambda: np.array(bare(x), dtype, order="C"))


def as_strided(x: CardArray, shape: Any, strides: Any) -> CardArray:  # noqa: ANN401
    """As numpy's."""
    assert isinstance(x, CardArray)
    return np.lib.stride_tricks.as_strided(bare(x), shape, strides).view(CardArray)  # type: ignore[call-overload, no-any-return]


def on_the_card(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of numpy that takes the card's arrays only."""

    def call(*values: Any, out: Any = None) -> Any:  # noqa: ANN401
        check(values, out)
        assert not (CAPTURED and function is np.matmul), "cupy refuses cuBLAS in a capture"
        assert any(isinstance(value, CardArray) for value in values)
        if out is None:
            return function(*values)
        function(*values, out=out)
        return out

    return call


class PlanNd:
    """As cupy's, for the layout that is used: whole maps, one after the other."""

    made = 0

    def __init__(self, shape: tuple[int, int], *layout: Any) -> None:  # noqa: ANN401
        embedded, step, distance = layout[:3]
        assert layout[:3] == layout[3:6]
        assert (embedded, step, distance) == (shape, 1, shape[0] * shape[1])
        kind, self._batch, order, *_ = layout[6:]
        assert (kind, order) == ("C2C", "C")
        self._shape = shape
        PlanNd.made += 1

    def fft(self, a: CardArray, out: CardArray, direction: int) -> None:
        """Transform a batch."""
        assert a.shape == out.shape == (self._batch, *self._shape)
        assert a.dtype == out.dtype == np.complex64
        assert a.flags.c_contiguous
        assert out.flags.c_contiguous

        def transform() -> None:
            x = np.asarray(bare(a))
            with np.errstate(invalid="ignore", over="ignore"):  # what fills up the last chunk is never zero
                y = np.fft.fft2(x) if direction < 0 else np.fft.ifft2(x) * np.prod(self._shape)
                bare(out)[...] = y  # type: ignore[index]

        again(transform)


def tf32(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Round float32 to the 10 bits of TF32, to the nearest, as the card does."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x0FFF + (bits >> 13 & 1)) & 0xFFFFE000).astype(np.uint32).view(np.float32)


def half(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Round float32 to half precision."""
    return x.astype(np.float16).astype(np.float32)


class Cublas:
    """As the library: matrices by address, columns first; a call that reads beyond an array would crash."""

    calls: list[int] = []  # noqa: RUF012 -- what was computed in

    def __getattr__(self, name: str) -> Callable[..., int]:
        assert name in {"cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2"}
        return lambda *_: 0

    def cublasGemmStridedBatchedEx(self, _: object, *call: Any) -> int:  # noqa: ANN401, N802
        """Multiply stacks of matrices."""
        transposes, (m, n, k) = call[:2], call[2:5]
        (a, kind, *a_steps), (b, b_kind, *b_steps) = call[6:10], call[10:14]
        c, c_kind, *c_steps = call[15:19]
        count, compute, algorithm = call[19:]
        assert kind == b_kind == c_kind
        assert algorithm == -1
        dtype = {0: np.float32, 4: np.complex64}[kind]
        round_ = {68: lambda x: x, 77: tf32, 74: half}[compute]
        Cublas.calls.append(compute)

        def operand(place: Any, steps: list[Any], rows: int, columns: int, *, transpose: int) -> Any:  # noqa: ANN401
            lead, step = steps[0], steps[1].value
            rows, columns = (columns, rows) if transpose else (rows, columns)
            assert lead >= max(1, rows)
            length = step * (count - 1) + lead * (columns - 1) + rows
            size = np.dtype(dtype).itemsize
            raw = (ctypes.c_char * (length * size)).from_address(place.value)
            flat = np.frombuffer(raw, dtype)
            strides = tuple(size * one for one in (step, 1, lead))
            found = np.lib.stride_tricks.as_strided(flat, (count, rows, columns), strides)
            return found.transpose(0, 2, 1) if transpose else found

        def multiply() -> None:
            left = operand(a, a_steps, m, k, transpose=transposes[0])
            right = operand(b, b_steps, k, n, transpose=transposes[1])
            if compute != 68 and kind == 4:
                left, right = (round_(x.real) + 1j * round_(x.imag) for x in (left, right))
            elif compute != 68:
                left, right = round_(left), round_(right)
            operand(c, c_steps, m, n, transpose=0)[...] = np.matmul(left, right)

        again(multiply)
        return 0


SHIM = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
struct Index { unsigned x; };
struct float4 { float x, y, z, w; };
static thread_local Index threadIdx, blockIdx;
static Index blockDim;
static std::barrier<>* gate;
static void __syncthreads() { gate->arrive_and_wait(); }
#define __global__
#define __shared__ static
"""
"""What CUDA's C++ has and C++ has not.  Blocks follow each other, so what they share may be static."""

_KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')


class RawModule:
    """As cupy's, compiled for the processor: threads are a loop, or real ones where they wait for each other."""

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        assert options == ("--std=c++17",)
        self._library = ctypes.CDLL(str(_compiled(code)))

    def get_function(self, name: str) -> Callable[..., None]:
        """Give a kernel."""
        function = getattr(self._library, f"run_{name}")

        def launch(grid: tuple[int], block: tuple[int], arguments: tuple[object, ...]) -> None:
            check(arguments)
            kinds = {np.int32: ctypes.c_int, np.float32: ctypes.c_float}
            given = [
                ctypes.c_void_p(one.data.ptr) if isinstance(one, CardArray) else kinds[type(one)](one.item())  # type: ignore[index, attr-defined]
                for one in arguments
            ]
            assert all(one.flags.c_contiguous for one in arguments if isinstance(one, CardArray))
            again(lambda: function(grid[0], block[0], *given))

        return launch


@cache
def _compiled(code: str) -> Path:
    called = ""
    for found in _KERNEL.finditer(code):
        name, parameters = found.groups()
        condition = code.rindex("#ifdef", 0, found.start())
        names = ", ".join(re.findall(r"(\w+)(?=,|$)", parameters))
        blocks = f"for (unsigned b = 0; b < grid; b++) {{ blockIdx.x = b; threadIdx.x = t; {name}({names});"
        loop = (f"for (unsigned t = 0; t < block; t++) {blocks} }}"
                if "few" not in name else
                "std::barrier<> here(block); gate = &here; std::vector<std::thread> threads;"
                f"for (unsigned t = 0; t < block; t++) threads.emplace_back([=] {{ {blocks} __syncthreads(); }} }});"
                "for (auto& one : threads) one.join();")  # fmt: skip
        called += code[condition : code.index("\n", condition) + 1]
        called += (f'extern "C" void run_{name}(unsigned grid, unsigned block, {parameters}) {{ blockDim.x = block;'
                   f"{loop} }}\n#endif\n")  # fmt: skip
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "kernels.cpp").write_text(SHIM + code + called)
    command = ["g++", "-std=c++20", "-O0", "-Wno-unknown-pragmas", "-shared", "-fPIC", "-pthread"]
    subprocess.run([*command, "-o", folder / "kernels.so", folder / "kernels.cpp"], check=True)
    return folder / "kernels.so"


def modules() -> dict[str, ModuleType]:
    """Give `cupy` and `cupyx` for `sys.modules`."""
    cupy: Any = ModuleType("cupy")
    cupyx: Any = ModuleType("cupyx")
    for module in (cupy, cupyx):
        module.__spec__ = ModuleSpec(module.__name__, None)
    cupyx.empty_pinned = empty_pinned
    for function in (np.matmul, np.maximum, np.exp, np.conjugate):
        setattr(cupy, function.__name__, on_the_card(function))
    cupy.dot = on_the_card(np.matmul)  # the same for matrices, and a function that looks at its arguments
    for make in (empty, zeros, empty_like, ascontiguousarray):
        setattr(cupy, make.__name__, make)
    cupy.float32 = np.float32
    cupy.RawModule = RawModule
    cupy.lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=as_strided))
    cupy.get_default_memory_pool = lambda: SimpleNamespace(free_bytes=lambda: 0)
    runtime = SimpleNamespace(
        memGetInfo=lambda: (MEMORY.total - MEMORY.held, MEMORY.total),
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        getDeviceProperties=lambda _: {"name": b"Stand-in"},
    )
    cufft = SimpleNamespace(PlanNd=PlanNd, CUFFT_C2C="C2C", CUFFT_FORWARD=-1, CUFFT_INVERSE=1)
    device = SimpleNamespace(compute_capability="90")
    cupy.cuda = SimpleNamespace(
        runtime=runtime, Stream=Stream, cufft=cufft, Device=lambda: device,
        MemoryPool=lambda: SimpleNamespace(malloc=None), using_allocator=lambda _: contextlib.nullcontext(),
    )  # fmt: skip
    return {"cupy": cupy, "cupyx": cupyx}
