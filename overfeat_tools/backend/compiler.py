"""Machine code for this processor, made while the program runs: the only module that imports llvmlite.

numpy's BLAS is made for matrices of any kind: it rearranges its operands at every call, and knows nothing of what comes
before and after a product.  The few kernels that take nearly all the time of a convolution are therefore
written in LLVM IR (`convolution/kernels/`), for vectors as wide as the processor's, and compiled when first needed.
Their object code is kept in the user's cache folder, a file for each kernel, processor and version, so that only the
first run compiles.

Without llvmlite, or on a processor with other vectors, there is no compiler, and numpy does everything.

On macOS nothing of this was ever tried.  According to Apple's documentation, and to LLVM's source, it should work:
LLVM writes code to private memory and then makes it executable, which Apple's processors allow, and which needs neither
MAP_JIT nor an entitlement unless the Python that runs was signed with the hardened runtime.  Such a one needs the
entitlement allow-unsigned-executable-memory.  Without it mprotect fails, which is tried first, so that numpy does
everything; or the system ends the process at the first kernel, which nothing but removing llvmlite prevents.
Source: developer.apple.com, "Porting just-in-time compilers to Apple silicon" and the pages of the entitlements.
"""

import contextlib
import ctypes
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Lock
from typing import Any

from overfeat_tools import __version__
from overfeat_tools.backend.calls import Compiled
from overfeat_tools.backend.code_cache import CodeCache
from overfeat_tools.paths import cache_folder

# What the processor must have, the floats of a vector, and the number of vector registers.
_X86_VECTORS = (({"avx512f", "avx512vl", "avx512dq"}, 16, 32), ({"avx2", "fma"}, 8, 16))
_X86 = {"x86_64", "AMD64"}

# Every 64-bit ARM processor has NEON.
_ARM_VECTORS = (set[str](), 4, 32)
_ARM = {"aarch64", "arm64"}

Build = Callable[[Any, str], str | None]
"""Adds a function to a module of LLVM IR, given the module and the function's symbol, or gives the module's text."""


def open_compiler() -> "Compiler | None":
    """Return a compiler for this processor, or None where there is none."""
    vectors = None if missing() else _vectors()
    if vectors is None:
        return None
    (needed, lanes, registers), folder = vectors, cache_folder()
    return Compiler(lanes, registers, CodeCache(folder / "kernels") if folder else None, needed)


def missing() -> str:
    """Tell what is missing for kernels to be compiled; nothing where all is there."""
    machine = platform.machine()
    if machine not in _X86 | _ARM or sys.maxsize < 1 << 32:
        return f"none are made for {machine}, {sys.maxsize.bit_length() + 1} bits"
    if not _has_llvmlite():
        return "llvmlite is not installed"
    return "" if _vectors() else "the processor lacks AVX2 or FMA"


def is_arm() -> bool:
    """Tell whether this is a 64-bit ARM processor."""
    return platform.machine() in _ARM


def _vectors() -> tuple[set[str], int, int] | None:
    """Return the widest vectors that this processor has."""
    if is_arm():
        return _ARM_VECTORS
    flags = _flags()
    return next((vectors for vectors in _X86_VECTORS if vectors[0] <= flags), None)


def _has_llvmlite() -> bool:
    """Tell whether llvmlite is installed, without importing it."""
    with contextlib.suppress(ImportError, ValueError):
        return importlib.util.find_spec("llvmlite") is not None
    return False


def _flags() -> set[str]:
    """Return the processor's features by Linux's names, which llvmlite is imported for only if Linux doesn't tell."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:  # noqa: PTH123 -- read to the first match only
        return set(next((line.split() for line in lines if line.startswith("flags")), []))
    with contextlib.suppress(Exception):  # a broken llvmlite fails in any way
        from llvmlite import binding

        return {name for name, present in binding.get_host_cpu_features().items() if present}
    return set()


class Compiler:
    """Compiles functions for this processor, or loads them from the cache.

    Attributes
    ----------
    lanes : int
        Floats of a vector.
    registers : int
        Vector registers.
    cache : CodeCache or None
        Where object code is kept between runs, if anywhere.
    loaded : bool
        Whether any function was compiled or loaded yet.
    """

    def __init__(
        self, lanes: int, registers: int, cache: CodeCache | None = None, needed: Collection[str] = ()
    ) -> None:
        self.lanes, self.registers, self.cache, self._needed = lanes, registers, cache, needed
        self.loaded = False
        self._functions: dict[tuple[str, bytes], Compiled] = {}
        self._engine: Any = None
        self._machine: Any = None
        self._key = b""
        self._lock = Lock()

    @property
    def ir(self) -> Any:  # noqa: ANN401 -- llvmlite is untyped
        """The module of llvmlite that writes LLVM IR."""
        from llvmlite import ir

        return ir

    def usable(self) -> bool:
        """Tell whether functions can be compiled and run here; the first time, try it."""
        if self.loaded:
            return True
        with contextlib.suppress(Exception):  # an llvmlite that is broken, or of another version, fails in any way
            if _may_make_code():
                with self._lock:
                    self._prepare()
                    self.ir.Module()
                    self._passes()
                return True
        return False

    def function(self, name: str, source: bytes, build: Build) -> Compiled:
        """Return a compiled function.

        Parameters
        ----------
        name : str
            Together with `source`, tells the function from all others.
        source : bytes
            Whatever the function depends on besides its name; if empty, because the package was installed without its
            sources, nothing is kept between runs.
        build : callable
            Writes the function, if it must be compiled.
        """
        with self._lock:
            if (name, source) not in self._functions:
                import hashlib

                from llvmlite import binding

                self._prepare()
                symbol = f"{name}.{hashlib.sha256(self._key + source).hexdigest()[:24]}"
                code = self._object_code(symbol, build, self.cache if source else None)
                self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
                self._engine.finalize_object()
                address = self._engine.get_function_address(symbol)
                assert address, symbol  # noqa: S101 -- the cache's checksum covers the name
                self._functions[name, source] = Compiled(address)
                self.loaded = True
            return self._functions[name, source]

    def _prepare(self) -> None:
        if self._engine is not None:
            return
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        processor, target = binding.get_host_cpu_name(), binding.Target.from_default_triple()
        features = self._features()
        self._machine = target.create_target_machine(processor, features, opt=2)
        machine = __version__, binding.llvm_version_info, target.triple, processor, features, self.lanes, self.registers
        self._key = repr(machine).encode() + _source()
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), self._machine)

    def _features(self) -> str:
        """Return the processor's features in LLVM's form; empty where LLVM knows them by the processor's name alone."""
        from llvmlite import binding

        features: Any = {}
        with contextlib.suppress(RuntimeError):  # some versions, for Apple's processors
            features = binding.get_host_cpu_features()
        # An emulator may show a program the flags of the processor that it runs on itself.
        assert all(features.get(name) for name in self._needed)  # noqa: S101 -- `usable` tells
        # For some processors LLVM prefers vectors of half their width, which is right for short loops only.
        narrow = [] if is_arm() else ["-prefer-256-bit"]
        return ",".join([*filter(None, [features and features.flatten()]), *narrow])

    def _object_code(self, symbol: str, build: Build, cache: CodeCache | None) -> bytes:
        """Return a function's object code: from the cache, or compiled and put there."""
        code = cache.read(f"{symbol}.o") if cache else None
        if code is None:
            code = self._compile(build, symbol)
            if cache:
                cache.write(f"{symbol}.o", code)
        return code

    def _compile(self, build: Build, symbol: str) -> bytes:
        from llvmlite import binding

        written = self.ir.Module()
        module = binding.parse_assembly(build(written, symbol) or str(written))
        module.verify()
        passes, builder = self._passes()
        passes.run(module, builder)
        code: bytes = self._machine.emit_object(module)
        return code

    def _passes(self) -> tuple[Any, Any]:
        """Return what optimises a module, and the builder that it needs."""
        from llvmlite import binding

        builder = binding.create_pass_builder(self._machine, binding.create_pipeline_tuning_options(speed_level=1))
        passes = binding.create_new_module_pass_manager()
        # The kernels are written nearly as they should be run: only variables must become registers.
        passes.add_sroa_pass()
        passes.add_instruction_combine_pass()
        passes.add_loop_simplify_pass()
        return passes, builder


def _may_make_code() -> bool:
    """Try whether memory that was written may be made executable, which some systems forbid; as LLVM does it."""
    if os.name != "posix":
        return True
    import mmap

    with mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANON) as page:
        first = ctypes.c_char.from_buffer(page)
        protect = ctypes.CDLL(None).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        refused = protect(ctypes.addressof(first), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
        del first
    return not refused


def _source() -> bytes:
    """Return the source of the modules that determine how functions are compiled."""
    with contextlib.suppress(OSError):
        return b"".join(Path(__file__).with_name(name).read_bytes() for name in ("compiler.py", "function_builder.py"))
    return b""
