"""Machine code for this processor, made while the program runs: the one door to llvmlite.

numpy's BLAS is built for matrices of any kind.  It rearranges its operands at every call, and knows nothing
of what comes before and after a product.  The few loops that nearly all the time of a convolution
goes into are therefore written in LLVM's language (`convolution/kernels/`), with vectors as wide as the
processor's, and compiled when first needed.  Their object code is kept in the user's cache folder, a
file for each processor, version and wording of a loop, so that only the first run ever compiles.

Without llvmlite, or on a processor whose vectors it is not written for, there is no compiler, and numpy
does everything.
"""

import contextlib
import ctypes
import importlib.util
import os
import platform
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from overfeat_tools import __version__
from overfeat_tools.paths import cache_folder, write_whole

# What the processor must have, the floats of a vector, and the vectors that it has names for.
_VECTORS = (({"avx512f", "avx512vl", "avx512dq"}, 16, 32), ({"avx2", "fma"}, 8, 16))

_C_TYPES = {"pointer": ctypes.c_void_p, "table": ctypes.c_void_p, "integer": ctypes.c_int64, "float": ctypes.c_float}

_DIGEST_BYTES = 32

# On two cores of this decade: importing llvmlite and reading the files of a network; compiling them.
_LOADING_SECONDS, _COMPILING_SECONDS = 0.05, 0.8

Compiled = Callable[..., None]
"""A compiled function: takes addresses, integers and floats; other threads go on while it runs."""


def open_compiler() -> "Compiler | None":
    """Give a compiler for this processor, or None where it has no use here."""
    if importlib.util.find_spec("llvmlite") is None or platform.machine() not in {"x86_64", "AMD64"}:
        return None
    flags = _flags()
    fitting = [sizes for needed, *sizes in _VECTORS if needed <= flags]
    return Compiler(*fitting[0]) if fitting else None


def _flags() -> set[str]:
    """Give what this processor can do, by Linux's names; without importing llvmlite, where that is told."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:  # noqa: PTH123 -- read to the first match only
        return set(next((line.split() for line in lines if line.startswith("flags")), []))
    with contextlib.suppress(Exception):  # an llvmlite that is broken fails in any way
        from llvmlite import binding

        return {name for name, present in binding.get_host_cpu_features().items() if present}
    return set()


class Compiler:
    """Compiles loops for this processor, or finds them compiled.

    `lanes` is how many floats a vector holds, `registers` how many vectors the processor has names
    for, `loaded` whether anything was compiled or loaded yet.
    """

    def __init__(self, lanes: int, registers: int) -> None:
        self.lanes, self.registers = lanes, registers
        self.loaded = False
        self.cache: Any = None
        self._functions: dict[str, Compiled] = {}
        self._engine: Any = None
        self._machine: Any = None
        self._key = b""
        self._missed_seconds = 0.0
        self._lock = Lock()

    def miss(self, seconds: float) -> float:
        """Note what was lost by going without compiled loops; give what must yet be lost before they pay.

        That is about how long the first loops take that are asked for: to load, or where none are kept to compile.
        """
        self._missed_seconds += max(seconds, 0.0)
        return max(0.0, self._price_seconds - self._missed_seconds)

    @cached_property
    def _price_seconds(self) -> float:
        return _LOADING_SECONDS if _is_folder(_folder()) else _COMPILING_SECONDS

    def end(self) -> None:
        """Note at the end of a run whether it has lost much.

        Then the next one pays for compiling sooner: else many short runs would never do it.
        """
        folder = _folder()
        if folder and not self.loaded and self._missed_seconds > _COMPILING_SECONDS / 4:
            with contextlib.suppress(OSError):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def usable(self) -> bool:
        """Tell whether loops can be compiled and run here; the first time that is tried."""
        if self.loaded:
            return True
        try:
            if not _may_make_code():
                return False
            self._prepare()
        except Exception:  # noqa: BLE001 -- an llvmlite that is broken, or not the one expected, fails in any way
            return False
        return True

    @property
    def ir(self) -> Any:  # noqa: ANN401 -- llvmlite is untyped
        """The module that builds LLVM's language."""
        from llvmlite import ir

        return ir

    def function(
        self, name: str, parameters: Sequence[str], wording: bytes, build: Callable[[Any], None]
    ) -> Compiled:
        """Give a compiled function.

        Parameters
        ----------
        name : str
            Its name, which is its file's name in the cache, too.
        parameters : sequence of {"pointer", "table", "integer", "float"}
            What it takes.
        wording : bytes
            Whatever the function depends on beside its name; another wording is compiled anew.
        build : callable
            Writes the function into an empty module of LLVM's language, if it must be compiled.
        """
        with self._lock:
            if name not in self._functions:
                self._prepare()
                self._load(self._object_code(name, wording, build))
                address = self._engine.get_function_address(name)
                assert address, name  # noqa: S101 -- what is kept is signed with its name
                signature = ctypes.CFUNCTYPE(None, *[_C_TYPES[parameter] for parameter in parameters])
                self._functions[name] = signature(address)
                self.loaded = True
            return self._functions[name]

    def _prepare(self) -> None:
        if self._engine is not None:
            return
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        # Some processors ask for vectors of half their width, which is right for short loops only.
        features = binding.get_host_cpu_features().flatten() + ",-prefer-256-bit"
        processor, target = binding.get_host_cpu_name(), binding.Target.from_default_triple()
        self._machine = target.create_target_machine(processor, features, opt=2)
        machine = __version__, binding.llvm_version_info, processor, features, self.lanes, self.registers
        self._key = repr(machine).encode() + _source()
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), self._machine)

    def _load(self, code: bytes) -> None:
        from llvmlite import binding

        self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def _object_code(self, name: str, wording: bytes, build: Callable[[Any], None]) -> bytes:
        """Give a function's object code: kept, or compiled and kept."""
        import hashlib

        folder = _folder()
        # Installed without their sources, loops can't be told from those of another version.
        if folder is None or not wording:
            return self._compile(build)
        key = hashlib.sha256(self._key + wording).hexdigest()[:24]
        path = folder / f"{name}-{key}.o"
        code = _read(path)
        if code is None:
            code = self._compile(build)
            _keep(path, code)
        return code

    def _compile(self, build: Callable[[Any], None]) -> bytes:
        from llvmlite import binding

        written = self.ir.Module()
        build(written)
        module = binding.parse_assembly(str(written))
        module.verify()
        # What is written is nearly what is wanted: variables become registers, the rest is the code generator's.
        builder = binding.create_pass_builder(self._machine, binding.create_pipeline_tuning_options(speed_level=1))
        passes = binding.create_new_module_pass_manager()
        passes.add_sroa_pass()
        passes.add_instruction_combine_pass()
        passes.add_loop_simplify_pass()
        passes.run(module, builder)
        code: bytes = self._machine.emit_object(module)
        return code


def _may_make_code() -> bool:
    """Try whether memory that was written may be made executable: some systems are told to refuse that."""
    if os.name != "posix":
        return True
    import mmap

    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        there = ctypes.c_char.from_buffer(page)
        protect = ctypes.CDLL(None).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        refused = protect(ctypes.addressof(there), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
        del there
    return not refused


def _source() -> bytes:
    """Give this file, which tells how to compile."""
    with contextlib.suppress(OSError):
        return Path(__file__).read_bytes()
    return b""


def _folder() -> Path | None:
    folder = cache_folder()
    return folder / "loops" if folder else None


def _is_folder(path: Path | None) -> bool:
    with contextlib.suppress(OSError):
        return path is not None and path.is_dir()
    return False


def _read(path: Path) -> bytes | None:
    """Read kept object code; none that another user may have written, and none that was cut off.

    It is the open file that is looked at: whoever may write in the folder can exchange it, but not own it as this user.
    He could link to another file of the user's, so links are not followed.
    """
    with contextlib.suppress(OSError), open(path, "rb", opener=_without_following) as file:
        status = os.fstat(file.fileno())
        if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
            return None
        kept = file.read()
        digest, code = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
        return code if _signed(path, code) == digest else None
    return None


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _signed(path: Path, code: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(path.name.encode() + code).digest()


def _keep(path: Path, code: bytes) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, _signed(path, code) + code)
