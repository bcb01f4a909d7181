"""Machine code made while the programs run: kept for the next run, told from all other code, never needed.

What is compiled here is one short function; the kernels are tested in `test_kernels.py`, the cache in
`test_code_cache.py`.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from overfeat_tools.backend import Compiler, CpuBackend, FunctionBuilder
from overfeat_tools.backend import compiler as under_test
from overfeat_tools.backend.code_cache import CodeCache
from overfeat_tools.backend.compiler import open_compiler
from overfeat_tools.convolution.kernels.epilogue import epilogue_kernel
from tests import processes

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
PATIENCE_SECONDS = 120.0  # for what would never come, not a measure of speed


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder where code is kept, in a cache folder that is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "overfeat" / "kernels"


@pytest.fixture
def new() -> Callable[[], Compiler]:
    """Give a function that opens a compiler, each like one of a new process."""

    def opened() -> Compiler:
        return open_compiler() or pytest.skip("nothing is compiled for this processor")

    opened()
    return opened


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a list that grows by a word with each function that is compiled."""
    words: list[str] = []
    real = Compiler._compile  # noqa: SLF001 -- what is watched here

    def watched(self: Compiler, *what: Any) -> bytes:  # noqa: ANN401 -- passed on
        words.append("compiled")
        return real(self, *what)

    monkeypatch.setattr(Compiler, "_compile", watched)
    return words


def scaling(
    compiler: Compiler, factor: float = 2.0, name: str = "scale", source: bytes | None = None
) -> Callable[[], float]:
    """Compile the multiplication of a float by a factor, and give what calls it with 3."""
    parameters = {"place": "pointer"}

    def build(module: Any, symbol: str) -> None:  # noqa: ANN401 -- llvmlite is untyped
        builder = FunctionBuilder(compiler, module, symbol, parameters)
        emit, place = builder.emit, builder.arguments.place
        emit.store(emit.fmul(emit.load(place), builder.ir.Constant(builder.float_type, factor)), place)
        builder.finish()

    function = compiler.function(name, str(factor).encode() if source is None else source, build)

    def scale() -> float:
        x = np.array([3.0], np.float32)
        function(x.ctypes.data)
        return float(x[0])

    return scale


def scaled(compiler: Compiler, factor: float = 2.0, name: str = "scale", source: bytes | None = None) -> float:
    """Give 3 times a factor, compiled."""
    return scaling(compiler, factor, name, source)()


def kept(folder: Path) -> list[str]:
    """Give the names of the functions that a folder keeps."""
    return sorted(path.name.partition(".")[0] for path in folder.iterdir())


# What is kept.


def test_the_second_run_compiles_nothing(new: Callable[[], Compiler], folder: Path, compiled: list[str]) -> None:
    """Nor does it write anything."""
    assert scaled(new()) == 6.0
    (path,) = folder.iterdir()
    before = path.stat()
    assert kept(folder) == ["scale"]
    assert scaled(new()) == 6.0
    assert len(compiled) == 1
    after = path.stat()  # (reading may change when the file was read last)
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_is_kept_is_what_runs(new: Callable[[], Compiler], folder: Path, compiled: list[str]) -> None:
    """Unless it is damaged: then it is compiled anew, and is whole in the run after that."""
    assert scaled(new()) == 6.0
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        assert scaled(new()) == 6.0
        assert len(compiled) == 2


def test_a_function_is_made_once(new: Callable[[], Compiler], folder: Path, compiled: list[str]) -> None:
    """Though all threads ask for it at once; after that nobody looks for its file."""
    compiler, results = new(), []
    barrier = threading.Barrier(4)

    def ask() -> None:
        barrier.wait()
        results.append(scaled(compiler))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [6.0] * 4
    shutil.rmtree(folder)
    assert scaled(compiler) == 6.0
    assert len(compiled) == 1


NAMES = [f"scale_{number}" for number in range(20)]

DRIVER = """
import sys
from overfeat_tools.backend.compiler import open_compiler
from tests import test_compiler

compiler = open_compiler()
print("ready", flush=True)
sys.stdin.readline()
print({test_compiler.scaled(compiler, name=name) for name in test_compiler.NAMES})
"""


def test_two_processes_at_once(new: Callable[[], Compiler], folder: Path, compiled: list[str]) -> None:
    """Both compile, both keep; what is there in the end is whole, and nothing else is there."""
    command, environment = [sys.executable, "-c", DRIVER], {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    processes: list[Any] = [subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out, err) == (0, "{6.0}\n", "")
    assert kept(folder) == sorted(NAMES)
    compiler = new()
    assert {scaled(compiler, name=name) for name in NAMES} == {6.0}
    assert not compiled


# What is another function.


def test_another_source_is_another_function(new: Callable[[], Compiler], folder: Path, compiled: list[str]) -> None:
    """In one process and in the next; two versions of the package may take turns."""
    for _ in range(2):
        compiler = new()
        two, five = scaling(compiler, 2.0), scaling(compiler, 5.0)
        assert (two(), five(), scaled(compiler, 2.0)) == (6.0, 15.0, 6.0)
    assert len(compiled) == 2
    assert kept(folder) == ["scale", "scale"]


def test_another_name_is_another_function(new: Callable[[], Compiler], folder: Path) -> None:
    for _ in range(2):
        compiler = new()
        one, two = scaling(compiler, 2.0, "one", b"the same"), scaling(compiler, 5.0, "two", b"the same")
        assert (one(), two()) == (6.0, 15.0)
    assert kept(folder) == ["one", "two"]


OTHERS: dict[str, tuple[str, object]] = {
    "processor": ("llvmlite.binding.get_host_cpu_name", lambda: "cortex-a72" if under_test.is_arm() else "x86-64"),
    "version of LLVM": ("llvmlite.binding.llvm_version_info", (1, 2, 3)),
    "version": ("overfeat_tools.backend.compiler.__version__", "0"),
    "way to compile": ("overfeat_tools.backend.compiler._source", lambda: b"another"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_for_another_machine_or_version_is_another_function(
    other: str, new: Callable[[], Compiler], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home folder may be shared by several machines."""
    assert scaled(new()) == 6.0
    monkeypatch.setattr(*OTHERS[other])
    assert scaled(new()) == 6.0
    assert len(kept(folder)) == 2


def test_another_width_of_vectors_is_another_function(folder: Path) -> None:
    """Code for wider vectors writes beyond the end of maps of fewer channels than it takes at a time."""
    for count, (lanes, registers) in enumerate(((4, 16), (4, 32), (8, 16)), 1):
        epilogue_kernel(Compiler(lanes, registers, CodeCache(folder)), 1)
        assert len(kept(folder)) == count


def test_nothing_is_kept_that_cannot_be_told_apart(new: Callable[[], Compiler], folder: Path) -> None:
    """Where the package was installed without its sources, all versions of a kernel would have one file."""
    assert scaled(new(), 2.0, source=b"") == 6.0
    assert scaled(new(), 5.0, source=b"") == 15.0
    assert not folder.exists()


# Where nothing can be kept.


def test_without_a_cache_folder(new: Callable[[], Compiler], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "cache_folder", lambda: None)
    compiler = new()
    assert compiler.cache is None
    assert scaled(compiler) == 6.0
    assert not folder.exists()


def test_a_file_in_place_of_the_folder(new: Callable[[], Compiler], folder: Path, compiled: list[str]) -> None:
    """Each run compiles anew."""
    folder.parent.mkdir(parents=True)
    folder.write_bytes(b"")
    for _ in range(2):
        assert scaled(new()) == 6.0
    assert len(compiled) == 2


# Where there is no compiler.

AVX2 = {"avx2", "fma"}
AVX512 = {"avx512f", "avx512vl", "avx512dq"}


@pytest.fixture
def with_llvmlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be llvmlite and a processor of the right kind, whatever there is."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.mark.usefixtures("with_llvmlite")
@pytest.mark.parametrize(
    ("flags", "lanes"),
    [
        (AVX512 | AVX2, 16), (AVX512, 16), (AVX2 | {"avx512f"}, 8), (AVX2 | AVX512 - {"avx512vl"}, 8), (AVX2, 8),
        ({"avx2"}, None), ({"fma", "avx"}, None), ({"avx512f"}, None), (set(), None),
    ],
)  # fmt: skip
def test_the_widest_vectors_that_there_are(flags: set[str], lanes: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is asked for of a width must be there, fused multiplication too."""
    monkeypatch.setattr(under_test, "_flags", lambda: flags | {"sse2"})
    compiler = open_compiler()
    assert (compiler and compiler.lanes) == lanes


@pytest.mark.usefixtures("with_llvmlite")
@pytest.mark.parametrize(
    ("machine", "lanes"), [("x86_64", 8), ("AMD64", 8), ("aarch64", 4), ("arm64", 4), ("i686", None), ("riscv64", None)]
)
def test_other_machines(machine: str, lanes: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """NEON is a part of every 64-bit ARM processor, so nobody is asked for it."""
    monkeypatch.setattr(under_test, "_flags", lambda: AVX2 if lanes == 8 else pytest.fail("asked"))
    monkeypatch.setattr(platform, "machine", lambda: machine)
    compiler = open_compiler()
    assert (compiler and compiler.lanes) == lanes
    assert under_test.is_arm() == (lanes == 4)
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert open_compiler() is None  # a Python of 32 bits, on a processor that could do more


@pytest.mark.usefixtures("with_llvmlite")
def test_what_is_told_of_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of -v: for what they are compiled, or why they are not."""
    monkeypatch.setattr(under_test, "_flags", lambda: AVX2)
    backend = CpuBackend(3)
    assert str(backend) == "cpu, 3 threads"
    assert backend.compiler
    backend.compiler.loaded = True
    assert str(backend) == "cpu, 3 threads, kernels compiled for vectors of 8"
    backend.compiler = None  # as where it was of no use
    assert str(backend) == "cpu, 3 threads, no kernels compiled: llvmlite or the system refused"
    monkeypatch.setattr(under_test, "_flags", lambda: AVX2 - {"fma"})
    assert str(CpuBackend(3)) == "cpu, 3 threads, no kernels compiled: the processor lacks AVX2 or FMA"
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert str(CpuBackend(3)) == "cpu, 3 threads, no kernels compiled: none are made for riscv64, 64 bits"
    assert str(CpuBackend(3, compiling=False)) == "cpu, 3 threads, no kernels compiled: not wanted"
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert str(CpuBackend(3)) == "cpu, 3 threads, no kernels compiled: llvmlite is not installed"


def test_flags_of_another_processor(new: Callable[[], Compiler], monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulators show programs the flags of the processor that they run on themselves."""
    compiler = new()
    if not compiler._needed:  # noqa: SLF001 -- nothing that could be missing
        pytest.skip("every processor of this kind has all that is needed")
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {"sse2": True, "avx2": False})
    assert not compiler.usable()


def test_a_processor_known_by_its_name_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM does not list the features of some, and versions of llvmlite make an error of that."""

    def fail() -> None:
        raise RuntimeError

    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", fail)
    assert scaled(Compiler(4, 32, CodeCache(folder))) == 6.0


@pytest.mark.usefixtures("with_llvmlite")
def test_without_llvmlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_flags", lambda: AVX2)
    assert CpuBackend(1).compiler is not None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: {"llvmlite": None}[name])
    assert open_compiler() is None
    assert CpuBackend(1).compiler is None


def test_a_backend_told_not_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_flags", lambda: pytest.fail("asked"))
    assert CpuBackend(1, compiling=False).compiler is None


@pytest.fixture
def hidden_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system not tell what the processor can."""

    def closed(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(under_test, "open", closed, raising=False)


def break_llvmlite(monkeypatch: pytest.MonkeyPatch, *, with_spec: bool = True) -> None:
    """Let llvmlite be found, but have nothing of what it should."""
    module = ModuleType("llvmlite")
    if with_spec:
        module.__spec__ = ModuleSpec("llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite", module)
    for part in ("binding", "ir"):
        monkeypatch.delitem(sys.modules, f"llvmlite.{part}", raising=False)


@pytest.mark.usefixtures("hidden_processor")
def test_a_system_that_does_not_tell_what_the_processor_can(new: Callable[[], Compiler]) -> None:
    """LLVM tells it as well, by the same names, though it has to be imported for that."""
    widest = next(sizes for sizes in ((16, 32), (8, 16), (4, 32)) if sizes[0] == new().lanes)
    found = open_compiler()
    assert found is not None
    assert (found.lanes, found.registers) == widest


@pytest.mark.usefixtures("hidden_processor")
def test_an_unknown_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the system nor a broken llvmlite tells what it can."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    break_llvmlite(monkeypatch)
    assert open_compiler() is None


def test_an_llvmlite_that_cannot_be_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    break_llvmlite(monkeypatch, with_spec=False)
    assert open_compiler() is None


def test_a_compiler_is_tried(new: Callable[[], Compiler], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything rests on it; and there is nothing left to try once something runs."""
    compiler = new()
    assert compiler.usable()
    assert not compiler.loaded
    assert scaled(compiler) == 6.0
    assert compiler.loaded
    monkeypatch.setattr(under_test, "_may_make_code", lambda: pytest.fail("tried"))
    assert compiler.usable()


# What versions of llvmlite have lacked, or may lack.
LACKS = (
    "llvmlite.binding", "llvmlite.binding.create_pass_builder", "llvmlite.binding.create_mcjit_compiler",
    "llvmlite.ir.Module",
)  # fmt: skip


@pytest.mark.parametrize("lacking", LACKS)
def test_an_llvmlite_that_lacks_something(
    lacking: str, new: Callable[[], Compiler], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = new()
    assert compiler.usable()
    monkeypatch.delattr(lacking)
    if lacking == "llvmlite.binding":
        monkeypatch.setitem(sys.modules, lacking, None)
    assert not new().usable()


def test_a_system_that_lets_nobody_make_code(new: Callable[[], Compiler], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_may_make_code", lambda: False)
    assert not new().usable()


# The programs.


def run(*arguments: str, options: tuple[str, ...] = (), python_path: Path | None = None) -> str:
    """Run of-classify; give what it printed, and what Python told of imports."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OVERFEAT")}
    path = os.pathsep.join(map(str, filter(None, [python_path, ROOT, os.environ.get("PYTHONPATH")])))
    done = subprocess.run(
        [sys.executable, *options, "-m", "overfeat_tools", "classify", *arguments], text=True, check=False,
        env={**environment, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert bool(done.stderr) == bool(options)
    return done.stdout + done.stderr


def test_help_needs_no_llvmlite() -> None:
    """Importing it takes longer than all else that -h does."""
    told = run("-h", options=("-X", "importtime"))
    assert "overfeat_tools.cli" in told
    assert "llvmlite" not in told


def test_one_picture_needs_neither_llvmlite_nor_pydantic() -> None:
    """Loading kernels takes longer than the picture does without them; so does loading what reads options for typer."""
    told = run("--net", "tiny", str(SAMPLES / "spiral.png"), options=("-X", "importtime"))
    assert "overfeat_tools.convolution" in told
    assert "llvmlite" not in told
    assert "pydantic" not in told


def answers(text: str) -> tuple[list[str], list[float]]:
    """Give the names and the probabilities that were printed."""
    lines = [line.rpartition(" ") for line in text.splitlines()]
    return [name for name, _, _ in lines], [float(number) for _, _, number in lines]


ARGUMENTS = ("--net", "tiny", "-n", "3", *(str(SAMPLES / f"{name}.png") for name in ("maze", "spiral", "star")))


@pytest.fixture(scope="module")
def without_llvmlite(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[float]]:
    """Give the answers of a run that has no llvmlite."""
    path = tmp_path_factory.mktemp("path")
    (path / "sitecustomize.py").write_text(BROKEN["absent"][1])
    return answers(run(*ARGUMENTS, python_path=path))


KERNELS = {
    "gemm": {"matmul", "epilogue"},
    "fft": {"fourier_forward", "fourier_inverse", "matmul"},
    "cook-toom": {"matrix_forward", "matrix_inverse", "matmul"},
}


@pytest.mark.parametrize("method", KERNELS)
def test_answers_are_the_same_without_llvmlite(
    method: str, without_llvmlite: tuple[list[str], list[float]], folder: Path
) -> None:
    """A run that short takes what is compiled only if told to."""
    done = processes.run("classify", "--method", method, *ARGUMENTS, XDG_CACHE_HOME=folder.parents[1])
    (names, numbers), ours = without_llvmlite, answers(done.out.decode())
    assert "spiral" in names[::3]
    assert ours[0] == names
    assert ours[1] == pytest.approx(numbers, rel=1e-4)
    used = kept(folder) if folder.exists() else []
    if open_compiler() is None:
        assert not used
    else:
        assert all(any(name.startswith(word) for name in used) for word in KERNELS[method])


BROKEN = {
    "absent": ("sitecustomize.py", "import sys\nsys.modules['llvmlite'] = None\n"),
    "empty": ("llvmlite.py", ""),
    "without its library": ("llvmlite.py", "raise OSError('libLLVM: cannot open shared object file')\n"),
    "for another Python": ("llvmlite.py", "raise ImportError('undefined symbol')\n"),
    # What some systems are told to do to all programs, and Linux since 6.3 does to one that asks for it.
    "refused": ("sitecustomize.py", "import ctypes\nctypes.CDLL(None).prctl(65, 1, 0, 0, 0)\n"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_one_picture_where_nothing_can_be_compiled(broken: str, tmp_path: Path, folder: Path) -> None:
    """An llvmlite that is absent or broken, or no memory that code may be written to: nobody is told, nothing fails."""
    name, text = BROKEN[broken]
    (tmp_path / name).write_text(text)
    answer = run("--net", "tiny", "-n", "1", "--method", "cook-toom", str(SAMPLES / "spiral.png"), python_path=tmp_path)
    assert answer.startswith("spiral ")
    assert not folder.exists() or (broken == "refused" and not refuses())


def refuses() -> bool:
    """Tell whether this system can refuse a program to make code."""
    script = "import ctypes; raise SystemExit(ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0)"
    return subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
