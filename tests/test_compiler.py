"""Machine code made while the programs run: kept for the next run, trusted only if it is ours, never needed.

What is compiled here is one short loop; those that compute are tested in `test_loops.py`.
"""

import contextlib
import hashlib
import importlib.util
import os
import platform
import resource
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from overfeat_tools.backend import Compiler, CpuBackend
from overfeat_tools.backend import compiler as under_test
from overfeat_tools.backend.compiler import open_compiler
from overfeat_tools.convolution.kernels.finish import finisher
from overfeat_tools.convolution.kernels.routine import Routine
from tests.test_convolution import error_of, layer

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
PATIENCE_SECONDS = 120.0  # for what would never come, not a measure of speed
NOBODY = 65534


@pytest.fixture(autouse=True)
def loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder where code is kept, in a cache folder that is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "overfeat" / "loops"


@pytest.fixture
def new() -> Callable[[], Compiler]:
    """Give a function that opens a compiler, each like one of a new process."""

    def opened() -> Compiler:
        return open_compiler() or pytest.skip("no loops are compiled for this processor")

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


def scaled(compiler: Compiler, factor: float = 2.0, name: str = "scale", wording: bytes | None = None) -> float:
    """Compile the multiplication of a float by a factor, and give 3 times it."""

    def build(module: Any) -> None:  # noqa: ANN401 -- llvmlite is untyped
        routine = Routine(compiler, module, name, ("pointer",))
        (place,) = routine.arguments
        product = routine.code.fmul(routine.code.load(place), routine.ir.Constant(routine.float_type, factor))
        routine.code.store(product, place)
        routine.end()

    function = compiler.function(name, ("pointer",), str(factor).encode() if wording is None else wording, build)
    x = np.array([3.0], np.float32)
    function(x.ctypes.data)
    return float(x[0])


def mode(path: Path) -> int:
    """Give a file's or folder's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def only_file(folder: Path) -> Path:
    """Give the one file that a folder holds."""
    (path,) = folder.iterdir()
    return path


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody inside, if root: whom no permissions stop.  What is imported inside must have been before."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


# What is kept.


def test_the_first_use_keeps_the_code(new: Callable[[], Compiler], loops: Path, compiled: list[str]) -> None:
    """For the user alone, whatever the umask: another one who could write it could run anything."""
    before = os.umask(0)
    try:
        assert scaled(new()) == 6.0
    finally:
        os.umask(before)
    path = only_file(loops)
    assert path.name.startswith("scale-")
    assert path.suffix == ".o"
    assert (mode(path), mode(loops), len(compiled)) == (0o600, 0o700, 1)


def test_the_second_run_compiles_nothing(
    new: Callable[[], Compiler], loops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scaled(new()) == 6.0
    kept = only_file(loops).read_bytes()
    monkeypatch.setattr(Compiler, "_compile", lambda *_: pytest.fail("compiled"))
    monkeypatch.setattr(under_test, "_keep", lambda *_: pytest.fail("written"))
    assert scaled(new()) == 6.0
    assert only_file(loops).read_bytes() == kept


def test_a_function_is_made_once(
    new: Callable[[], Compiler], compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert len(compiled) == 1
    monkeypatch.setattr(under_test, "_read", lambda _: pytest.fail("read"))
    assert scaled(compiler) == 6.0


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off in the digest": lambda kept: kept[:20],
    "cut off after the digest": lambda kept: kept[:32],
    "cut off": lambda kept: kept[: len(kept) // 2],
    "without its last byte": lambda kept: kept[:-1],
    "longer": lambda kept: kept + b"\0",
    "flipped in the digest": lambda kept: bytes([kept[0] ^ 1]) + kept[1:],
    "flipped in the code": lambda kept: kept[:100] + bytes([kept[100] ^ 0x80]) + kept[101:],
    "flipped at the end": lambda kept: kept[:-1] + bytes([kept[-1] ^ 1]),
    "zeros": lambda kept: bytes(len(kept)),
    "something else": lambda _: b"\x7fELF" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_compiled_anew(
    damage: str, new: Callable[[], Compiler], loops: Path, compiled: list[str]
) -> None:
    """And replaced: the run after that finds it whole."""
    assert scaled(new()) == 6.0
    path = only_file(loops)
    whole = path.read_bytes()
    path.write_bytes(DAMAGE[damage](whole))
    assert scaled(new()) == 6.0
    assert len(compiled) == 2
    assert only_file(loops) == path
    assert path.read_bytes() == whole
    assert scaled(new()) == 6.0
    assert len(compiled) == 2


def planted(loops: Path) -> Path:
    """Put code that gives 15, whole and intact, where that which gives 6 was kept; give its file."""
    files: dict[float, Path] = {}
    for factor in (2.0, 5.0):
        assert scaled(open_compiler(), factor) == 3 * factor  # type: ignore[arg-type]
        files[factor] = next(path for path in loops.iterdir() if path not in files.values())
    code = files[5.0].read_bytes()[32:]
    files[5.0].unlink()
    path = files[2.0]
    path.write_bytes(hashlib.sha256(path.name.encode() + code).digest() + code)
    return path


def test_planted_code_would_run(new: Callable[[], Compiler], loops: Path) -> None:
    """Else the tests below would show nothing."""
    planted(loops)
    assert scaled(new()) == 15.0


@pytest.mark.parametrize("permissions", [0o620, 0o602, 0o666, 0o777], ids=oct)
def test_a_file_that_others_may_write_is_not_trusted(
    permissions: int, new: Callable[[], Compiler], loops: Path
) -> None:
    path = planted(loops)
    path.chmod(permissions)
    assert scaled(new()) == 6.0
    assert mode(only_file(loops)) == 0o600
    assert scaled(new()) == 6.0


@pytest.mark.parametrize("permissions", [0o720, 0o702, 0o777, 0o1777], ids=oct)
def test_a_link_that_another_may_have_put_there_is_not_trusted(
    permissions: int, new: Callable[[], Compiler], loops: Path, tmp_path: Path
) -> None:
    """Whoever may write in the folder may link to a file of the user's that he gave him, as a picture say."""
    path = planted(loops)
    path.rename(tmp_path / "picture.ppm").chmod(0o644)
    path.symlink_to(tmp_path / "picture.ppm")
    loops.chmod(permissions)
    assert scaled(new()) == 6.0


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@needs_root
def test_a_file_of_another_is_not_trusted(new: Callable[[], Compiler], loops: Path) -> None:
    os.chown(planted(loops), NOBODY, NOBODY)
    assert scaled(new()) == 6.0


@needs_root
def test_a_link_in_a_folder_of_another_is_not_trusted(
    new: Callable[[], Compiler], loops: Path, tmp_path: Path
) -> None:  # fmt: skip
    path = planted(loops)
    path.rename(tmp_path / "picture.ppm")
    path.symlink_to(tmp_path / "picture.ppm")
    os.chown(loops, NOBODY, NOBODY)
    assert scaled(new()) == 6.0


def test_a_file_of_another_name_is_not_trusted(new: Callable[[], Compiler], loops: Path) -> None:
    """Though it is whole, and ours: another function's, renamed."""
    assert (scaled(new(), 2.0, "one"), scaled(new(), 5.0, "two")) == (6.0, 15.0)
    one, two = sorted(loops.iterdir())
    two.replace(one)
    assert scaled(new(), 2.0, "one") == 6.0


def test_files_that_others_may_read_are_trusted(new: Callable[[], Compiler], loops: Path) -> None:
    path = planted(loops)
    path.chmod(0o644)
    loops.chmod(0o755)
    assert scaled(new()) == 15.0


# What is another function.


def test_another_wording_is_another_file(new: Callable[[], Compiler], loops: Path, compiled: list[str]) -> None:
    """Which leaves the first one: two versions of the package may take turns."""
    for _ in range(2):
        assert (scaled(new(), 2.0), scaled(new(), 5.0)) == (6.0, 15.0)
    assert len(compiled) == len(list(loops.iterdir())) == 2


def test_another_name_is_another_file(new: Callable[[], Compiler], loops: Path) -> None:
    compiler = new()
    assert scaled(compiler, 2.0, "one", b"the same") == 6.0
    assert scaled(compiler, 5.0, "two", b"the same") == 15.0
    assert {path.name.partition("-")[0] for path in loops.iterdir()} == {"one", "two"}


OTHERS: dict[str, tuple[str, object]] = {
    "processor": ("llvmlite.binding.get_host_cpu_name", lambda: "x86-64"),
    "version of LLVM": ("llvmlite.binding.llvm_version_info", (1, 2, 3)),
    "version": ("overfeat_tools.backend.compiler.__version__", "0"),
    "way to compile": ("overfeat_tools.backend.compiler._source", lambda: b"another"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_for_another_machine_or_version_is_another_file(
    other: str, new: Callable[[], Compiler], loops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home folder may be shared by several machines."""
    assert scaled(new()) == 6.0
    monkeypatch.setattr(*OTHERS[other])
    assert scaled(new()) == 6.0
    assert len(list(loops.iterdir())) == 2


def test_nothing_is_kept_that_cannot_be_told_apart(new: Callable[[], Compiler], loops: Path) -> None:
    """Where the package was installed without its sources, all versions of a loop would have one file."""
    assert scaled(new(), 2.0, wording=b"") == 6.0
    assert scaled(new(), 5.0, wording=b"") == 15.0
    assert not loops.exists()


def test_another_width_of_vectors_is_another_file(
    new: Callable[[], Compiler], loops: Path, compiled: list[str]
) -> None:
    """Code for wider vectors writes beyond the end of maps of fewer channels than it takes at a time."""
    if new().lanes == 8:
        pytest.skip("this processor has one width only")
    for lanes, registers in ((8, 16), (16, 32)):
        finisher(Compiler(lanes, registers), 1)
    assert len(compiled) == len(list(loops.iterdir())) == 2


# Where nothing can be kept.


def no_home(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    """Take the home folder away."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: (_ for _ in ()).throw(RuntimeError))


def elsewhere(place: Callable[[Path], Path]) -> Callable[[pytest.MonkeyPatch, Path], None]:
    """Give what puts a cache folder elsewhere."""
    return lambda monkeypatch, tmp_path: monkeypatch.setenv("XDG_CACHE_HOME", str(place(tmp_path)))


def in_the_way(*parts: str) -> Callable[[Path], Path]:
    """Give what puts a file where a folder should be."""

    def put(tmp_path: Path) -> Path:
        path = tmp_path.joinpath("cache", *parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        return tmp_path / "cache"

    return put


def loop_of_links(tmp_path: Path) -> Path:
    """Make a link to itself."""
    (tmp_path / "cache").symlink_to(tmp_path / "cache")
    return tmp_path / "cache"


NOWHERE = {
    "no home": no_home,
    "a file": elsewhere(in_the_way()),
    "a file within": elsewhere(in_the_way("overfeat")),
    "a file for the folder": elsewhere(in_the_way("overfeat", "loops")),
    "no place for files": elsewhere(lambda _: Path("/proc")),
    "a loop": elsewhere(loop_of_links),
    "too long a name": elsewhere(lambda tmp_path: tmp_path / ("long" * 100)),
}


@pytest.mark.parametrize("where", NOWHERE)
def test_where_nothing_can_be_kept(
    where: str, new: Callable[[], Compiler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run compiles anew."""
    NOWHERE[where](monkeypatch, tmp_path)
    for _ in range(2):
        compiler = new()
        compiler.miss(99.0)
        compiler.end()
        assert scaled(compiler) == 6.0


@pytest.mark.parametrize("where", NOWHERE)
def test_what_loading_takes_where_nothing_can_be_kept(
    where: str, new: Callable[[], Compiler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planner asks that before anything is compiled; what compiling takes is the answer."""
    compiling = new().miss(0.0)
    NOWHERE[where](monkeypatch, tmp_path)
    assert new().miss(0.0) == compiling > 0


@pytest.mark.parametrize("permissions", [0o000, 0o500], ids=oct)
def test_a_cache_folder_that_may_not_be_used(permissions: int, new: Callable[[], Compiler], loops: Path) -> None:
    """As that of root is, to a program that root's environment was left to."""
    assert scaled(new()) == 6.0
    path = only_file(loops)
    path.unlink()
    loops.rmdir()
    loops.parent.chmod(permissions)
    try:
        with unprivileged():
            compiler = new()
            assert scaled(compiler) == 6.0
    finally:
        loops.parent.chmod(0o700)
    assert not loops.exists()


def test_what_loading_takes_where_the_cache_folder_may_not_be_used(new: Callable[[], Compiler], loops: Path) -> None:
    compiler, compiling = new(), new().miss(0.0)
    loops.mkdir(parents=True)
    loops.parent.chmod(0o000)
    try:
        with unprivileged():
            assert compiler.miss(0.0) == compiling
            compiler.miss(99.0)
            compiler.end()
    finally:
        loops.parent.chmod(0o700)


def test_a_folder_in_the_way_of_a_file(new: Callable[[], Compiler], loops: Path) -> None:
    assert scaled(new()) == 6.0
    path = only_file(loops)
    path.unlink()
    path.mkdir()
    assert scaled(new()) == 6.0
    assert only_file(loops) == path


def test_a_relative_cache_folder_is_none(
    new: Callable[[], Compiler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be another one in each folder; the one of the home folder is taken, as the standard asks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert scaled(new()) == 6.0
    assert only_file(tmp_path / "home" / ".cache" / "overfeat" / "loops").suffix == ".o"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_no_file_is_left_behind(
    error: type[BaseException], new: Callable[[], Compiler], loops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only whole files appear, and what was begun goes away, also when the user interrupts."""

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Path, "replace", fail)
        assert scaled(new()) == 6.0
    assert list(loops.iterdir()) == []
    assert scaled(new()) == 6.0
    assert only_file(loops).suffix == ".o"


def test_a_full_disk(new: Callable[[], Compiler], loops: Path) -> None:
    """No file may grow beyond some bytes here."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    compiler = new()
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        result = scaled(compiler)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result == 6.0
    assert list(loops.iterdir()) == []


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


def test_two_processes_at_once(new: Callable[[], Compiler], loops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert sorted(path.name.partition("-")[0] for path in loops.iterdir()) == sorted(NAMES)
    assert {path.suffix for path in loops.iterdir()} == {".o"}
    monkeypatch.setattr(Compiler, "_compile", lambda *_: pytest.fail("compiled"))
    compiler = new()
    assert {scaled(compiler, name=name) for name in NAMES} == {6.0}


# What loading takes.


def test_what_loading_takes(new: Callable[[], Compiler], loops: Path) -> None:
    """Most in the first run ever, less in the next ones."""
    first = new()
    compiling = first.miss(0.0)
    assert not first.loaded
    assert not loops.exists()
    scaled(first)
    assert first.loaded
    assert compiling > new().miss(0.0) > 0.0


def test_what_was_lost_counts(new: Callable[[], Compiler]) -> None:
    """All layers add to it; what another way would have gained is never subtracted."""
    compiler = new()
    price = compiler.miss(0.0)
    assert compiler.miss(price / 4) == pytest.approx(price * 3 / 4)
    assert compiler.miss(-price) == pytest.approx(price * 3 / 4)
    assert compiler.miss(price / 2) == pytest.approx(price / 4)
    assert compiler.miss(price) == compiler.miss(0.0) == 0.0


@pytest.mark.parametrize(("lost", "noted"), [(0.0, False), (0.1, False), (0.5, True)])
def test_a_run_that_has_lost_much_says_so_to_the_next(
    lost: float, *, noted: bool, new: Callable[[], Compiler], loops: Path
) -> None:
    """Many short runs, none of which is worth compiling, are so together; `lost` is a part of the price."""
    compiler = new()
    price = compiler.miss(0.0)
    for _ in range(10):
        compiler.miss(lost * price / 10)
    assert not loops.exists()
    compiler.end()
    assert loops.exists() == noted
    assert (new().miss(0.0) < price) == noted
    if noted:
        assert mode(loops) == 0o700
    assert scaled(new()) == 6.0
    assert only_file(loops).suffix == ".o"


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
    ("machine", "found"), [("x86_64", True), ("AMD64", True), ("aarch64", False), ("arm64", False), ("i686", False)]
)
def test_other_machines(machine: str, *, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_flags", lambda: AVX2)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert (open_compiler() is not None) is found


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
def break_llvmlite(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give a function after which llvmlite is found, but has nothing of what it should."""

    def broken() -> None:
        module = ModuleType("llvmlite")
        module.__spec__ = ModuleSpec("llvmlite", None)
        monkeypatch.setitem(sys.modules, "llvmlite", module)
        for part in ("binding", "ir"):
            monkeypatch.delitem(sys.modules, f"llvmlite.{part}", raising=False)

    return broken


def test_an_unknown_processor(break_llvmlite: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the system nor a broken llvmlite tells what it can."""

    def closed(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(under_test, "open", closed, raising=False)
    break_llvmlite()
    assert open_compiler() is None


def test_a_compiler_is_tried(new: Callable[[], Compiler], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything rests on it; and there is nothing left to try once something runs."""
    compiler = new()
    assert compiler.usable()
    assert not compiler.loaded
    assert scaled(compiler) == 6.0
    monkeypatch.setattr(under_test, "_may_make_code", lambda: pytest.fail("tried"))
    assert compiler.usable()


@pytest.mark.parametrize("method", ["auto", "gemm", "cook-toom"])
@pytest.mark.parametrize("broken", ["llvmlite", "system"])
def test_a_compiler_that_does_not_work_is_done_without(
    broken: str, method: str, new: Callable[[], Compiler], break_llvmlite: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if broken == "llvmlite":
        break_llvmlite()
    else:
        monkeypatch.setattr(under_test, "_may_make_code", lambda: False)
    assert not new().usable()
    backend = CpuBackend(2)
    assert backend.compiler is not None
    convolution = layer(backend, channels=16, kernels=16, method=method)
    if method == "auto":
        backend.compiler.miss(1e9)
    for size in (9, 30):
        x = np.random.default_rng(0).standard_normal((4, 16, size, size), np.float32)
        assert error_of(convolution, x) < 8e-6
    assert backend.compiler is None
    assert all(way.startswith(("gemm", "fft", "cook-toom")) for way in convolution.used)
    assert "gemm-direct" not in convolution.used


def test_a_system_that_does_not_tell_what_the_processor_can(
    new: Callable[[], Compiler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LLVM tells it as well, by the same names, though it has to be imported for that."""
    told = new()

    def closed(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(under_test, "open", closed, raising=False)
    found = open_compiler()
    assert found is not None
    assert (found.lanes, found.registers) == (told.lanes, told.registers)


# The programs.


def run(*arguments: str, options: tuple[str, ...] = (), python_path: Path | None = None) -> str:
    """Run of-classify; give what it printed, and what Python told of imports."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OVERFEAT")}
    path = os.pathsep.join(map(str, filter(None, [python_path, ROOT, os.environ.get("PYTHONPATH")])))
    done = subprocess.run(
        [sys.executable, *options, "-m", "overfeat_tools.commands.classify", *arguments], text=True, check=False,
        env={**kept, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert bool(done.stderr) == bool(options)
    return done.stdout + done.stderr


@pytest.fixture
def unimportable(tmp_path: Path) -> Path:
    """Give a folder for `$PYTHONPATH` with which llvmlite can't be imported, and isn't there to be found."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text("import sys\nsys.modules['llvmlite'] = None\n")
    return tmp_path / "path"


def test_help_needs_no_llvmlite() -> None:
    """Importing it takes longer than all else that -h does."""
    told = run("-h", options=("-X", "importtime"))
    assert "overfeat_tools.cli" in told
    assert "llvmlite" not in told


def test_one_picture_needs_no_llvmlite() -> None:
    """Loading the loops takes longer than the picture does without them."""
    told = run("--net", "tiny", str(SAMPLES / "spiral.png"), options=("-X", "importtime"))
    assert "overfeat_tools.convolution.kernels.product" in told
    assert "llvmlite" not in told


MISSING = """
import sys
from overfeat_tools.backend.compiler import Compiler
from overfeat_tools.commands import classify

missed_seconds = float(sys.argv.pop(1))

def miss(self, seconds):
    self._missed_seconds = missed_seconds
    return 1e9

Compiler.miss = miss
sys.argv[1:1] = ["--net", "tiny"]
classify.main()
"""


@pytest.mark.skipif(open_compiler() is None, reason="no loops are compiled for this processor")
@pytest.mark.parametrize("missed_seconds", [0.0, 100.0])
def test_a_run_that_missed_much_lets_the_next_compile(missed_seconds: float, loops: Path) -> None:
    command = [sys.executable, "-c", MISSING, str(missed_seconds), str(SAMPLES / "spiral.png")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert loops.exists() == (missed_seconds > 0)


def answers(text: str) -> tuple[list[str], list[float]]:
    """Give the names and the probabilities that were printed."""
    lines = [line.rpartition(" ") for line in text.splitlines()]
    return [name for name, _, _ in lines], [float(number) for _, _, number in lines]


@pytest.mark.parametrize("method", ["auto", "gemm", "fft", "cook-toom"])
def test_answers_are_the_same_without_llvmlite(method: str, unimportable: Path, loops: Path) -> None:
    """Also in ways that are compiled, which a run that short takes only if told to."""
    files = [str(path) for path in sorted(SAMPLES.glob("*.png"))]
    assert "spiral.png" in {Path(file).name for file in files}
    arguments = ("--net", "tiny", "--method", method, "-n", "3", *files)
    names, numbers = answers(run(*arguments, python_path=unimportable))
    assert not loops.exists()
    assert len(names) == 3 * len(files)
    assert names[::3] == [Path(file).stem.replace("_", " ") for file in files]
    ours = answers(run(*arguments))
    assert ours[0] == names
    assert ours[1] == pytest.approx(numbers, rel=1e-4)
    used = {path.name.partition("-")[0].partition("_")[0] for path in loops.iterdir()} if loops.exists() else set()
    if open_compiler() is None:
        assert not used
    elif method != "auto":
        wanted = {"gemm": {"finish"}, "fft": {"fourier"}, "cook-toom": {"evaluate", "interpolate"}}[method]
        assert used >= {"multiply"} | wanted


BROKEN = {
    "absent": ("sitecustomize.py", "import sys\nsys.modules['llvmlite'] = None\n"),
    "empty": ("llvmlite.py", ""),
    "without its library": ("llvmlite.py", "raise OSError('libLLVM: cannot open shared object file')\n"),
    # What some systems are told to do to all programs, and Linux since 6.3 does to one that asks for it.
    "refused": ("sitecustomize.py", "import ctypes\nctypes.CDLL(None).prctl(65, 1, 0, 0, 0)\n"),
}


@pytest.mark.parametrize("method", ["auto", "cook-toom"])
@pytest.mark.parametrize("broken", BROKEN)
def test_one_picture_where_nothing_can_be_compiled(broken: str, method: str, tmp_path: Path, loops: Path) -> None:
    """An llvmlite that is absent or broken, or no memory that code may be written to: nobody is told, nothing fails."""
    name, text = BROKEN[broken]
    (tmp_path / name).write_text(text)
    answer = run("--net", "tiny", "-n", "1", "--method", method, str(SAMPLES / "spiral.png"), python_path=tmp_path)
    assert answer.startswith("spiral ")
    assert not loops.exists() or (broken == "refused" and not refuses())


def refuses() -> bool:
    """Tell whether this system can refuse a program to make code."""
    script = "import ctypes; raise SystemExit(ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0)"
    return subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_what_is_compiled_is_installed() -> None:
    """A folder of the package that is not listed would be missing wherever it is installed from a wheel."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    folders = [path.parent.relative_to(ROOT) for path in (ROOT / "overfeat_tools").rglob("__init__.py")]
    assert sorted(listed) == sorted(".".join(folder.parts) for folder in folders)
