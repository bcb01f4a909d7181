"""Kept machine code is trusted only if nobody else can have written it, and never needed."""

import contextlib
import hashlib
import os
import resource
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from overfeat_tools.backend import code_cache
from overfeat_tools.backend.code_cache import CodeCache

CODE = b"\x7fELF" + bytes(range(256))
NAME = "scale.0123456789abcdef.o"
PATIENCE_SECONDS = 60.0  # for what would never come, not a measure of speed
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a cache folder that is not there yet, in others that are not there."""
    return tmp_path / "cache" / "overfeat" / "kernels"


@pytest.fixture
def cache(folder: Path) -> CodeCache:
    """Give a cache that keeps one piece of code."""
    cache = CodeCache(folder)
    cache.write(NAME, CODE)
    assert cache.read(NAME) == CODE
    return cache


def mode(path: Path) -> int:
    """Give a file's or folder's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody inside, if root: whom no permissions stop."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_code_is_kept(folder: Path) -> None:
    """For the next process; what another version of the package wrote stays beside it."""
    first = CodeCache(folder)
    assert not first.exists
    assert first.read(NAME) is None
    first.write(NAME, CODE)
    first.write("other.o", b"")
    assert first.exists
    assert [CodeCache(folder).read(name) for name in (NAME, "other.o", "third.o")] == [CODE, b"", None]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_only_this_user_may_write_it(umask: int, folder: Path) -> None:
    """Whatever the umask, down to the folders that had to be created."""
    before = os.umask(umask)
    try:
        CodeCache(folder).write(NAME, CODE)
    finally:
        os.umask(before)
    assert {mode(path) for path in (folder, *folder.parents[:2])} == {0o700}
    assert mode(folder / NAME) == 0o600
    assert CodeCache(folder).read(NAME) == CODE


def test_a_folder_without_code(folder: Path) -> None:
    CodeCache(folder).create()
    cache = CodeCache(folder)
    assert cache.exists
    assert cache.read(NAME) is None
    assert mode(folder) == 0o700
    cache.create()
    cache.write(NAME, CODE)
    assert cache.read(NAME) == CODE


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off in the checksum": lambda kept: kept[:20],
    "cut off after the checksum": lambda kept: kept[:32],
    "cut off": lambda kept: kept[: len(kept) // 2],
    "without its last byte": lambda kept: kept[:-1],
    "longer": lambda kept: kept + b"\0",
    "flipped in the checksum": lambda kept: bytes([kept[0] ^ 1]) + kept[1:],
    "flipped in the code": lambda kept: kept[:100] + bytes([kept[100] ^ 0x80]) + kept[101:],
    "flipped at the end": lambda kept: kept[:-1] + bytes([kept[-1] ^ 1]),
    "zeros": lambda kept: bytes(len(kept)),
    "something else": lambda _: b"\x7fELF" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_code_is_not_used(damage: str, cache: CodeCache) -> None:
    """And replaced: the run after that finds it whole."""
    path = cache.folder / NAME
    whole = path.read_bytes()
    path.write_bytes(DAMAGE[damage](whole))
    assert cache.read(NAME) is None
    cache.write(NAME, CODE)
    assert cache.read(NAME) == CODE
    assert path.read_bytes() == whole


def test_a_file_of_another_name_is_not_used(cache: CodeCache) -> None:
    """Though it is whole, and ours."""
    (cache.folder / NAME).rename(cache.folder / "other.o")
    assert cache.read("other.o") is None


def test_an_enormous_file_is_not_read(cache: CodeCache) -> None:
    """It takes no place on the disk, but would in memory."""
    os.truncate(cache.folder / NAME, 1 << 40)
    assert cache.read(NAME) is None


# What others may have put there.  The checksum protects from accidents alone: anyone can compute it.


def planted(path: Path) -> Path:
    """Put code that is whole and intact at a path."""
    path.write_bytes(hashlib.sha256(NAME.encode() + CODE).digest() + CODE)
    path.chmod(0o600)
    return path


def test_planted_code_would_be_used(folder: Path) -> None:
    """Else the tests below would show nothing."""
    folder.mkdir(parents=True, mode=0o755)
    planted(folder / NAME).chmod(0o644)
    assert CodeCache(folder).read(NAME) == CODE


@pytest.mark.parametrize("permissions", [0o620, 0o602, 0o666, 0o777], ids=oct)
def test_a_file_that_others_may_write_is_not_used(permissions: int, cache: CodeCache) -> None:
    path = cache.folder / NAME
    path.chmod(permissions)
    assert cache.read(NAME) is None
    cache.write(NAME, CODE)
    assert mode(path) == 0o600
    assert cache.read(NAME) == CODE


@pytest.mark.parametrize("permissions", [0o720, 0o702, 0o777, 0o1777], ids=oct)
def test_a_folder_that_others_may_write_to_is_not_used(permissions: int, cache: CodeCache) -> None:
    """Neither read nor written to, nor is it mended: who knows what is in there."""
    cache.folder.chmod(permissions)
    cache.create()
    cache.write("other.o", CODE)
    assert not cache.exists
    assert cache.read(NAME) is None
    assert [path.name for path in cache.folder.iterdir()] == [NAME]
    assert mode(cache.folder) == permissions


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@needs_root
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_belongs_to_somebody_else_is_not_used(what: str, cache: CodeCache) -> None:
    os.chown(cache.folder / NAME if what == "file" else cache.folder, NOBODY, NOBODY)
    assert cache.exists == (what == "file")
    assert cache.read(NAME) is None
    cache.write("other.o", CODE)
    assert (cache.folder / "other.o").exists() == (what == "file")


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_links_are_not_followed(link: Callable[[Path, Path], None], cache: CodeCache, tmp_path: Path) -> None:
    """Somebody may have given this user a picture, and may link to it: a file of the user's with other content."""
    path, picture = cache.folder / NAME, planted(tmp_path / "picture.ppm")
    path.unlink()
    link(path, picture)
    before = picture.read_bytes()
    assert cache.read(NAME) is None
    cache.write(NAME, CODE + b"new")
    assert cache.read(NAME) == CODE + b"new"
    assert picture.read_bytes() == before


def test_a_link_in_place_of_the_folder_is_not_followed(cache: CodeCache, tmp_path: Path) -> None:
    target = cache.folder.rename(tmp_path / "downloads")
    cache.folder.symlink_to(target)
    assert not cache.exists
    assert cache.read(NAME) is None
    cache.write("other.o", CODE)
    assert [path.name for path in target.iterdir()] == [NAME]


def make_socket(path: Path) -> None:
    """Put a socket at a path, which may not be long."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


def make_open_pipe(path: Path) -> None:
    """Put a pipe at a path that somebody may yet write to."""
    os.mkfifo(path, 0o600)
    os.open(path, os.O_RDWR)


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": lambda path: os.mkfifo(path, 0o600),
    "open pipe": make_open_pipe,
    "socket": make_socket,
    "folder": lambda path: path.mkdir(mode=0o700),
    "broken link": lambda path: path.symlink_to("nowhere"),
    "endless link": lambda path: path.symlink_to(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_something_else_in_place_of_a_file(kind: str, cache: CodeCache) -> None:
    """Nobody waits for a writer, nor reads without end; it is replaced if possible."""
    path = cache.folder / NAME
    path.unlink()
    KINDS[kind](path)
    answers: list[bytes | None] = []
    reader = threading.Thread(target=lambda: answers.append(cache.read(NAME)), daemon=True)
    reader.start()
    reader.join(PATIENCE_SECONDS)
    assert answers == [None]
    cache.write(NAME, CODE)
    assert cache.read(NAME) == (None if kind == "folder" else CODE)


# Where nothing can be kept.


def put_file(path: Path) -> Path:
    """Put a file at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def put_loop(path: Path) -> Path:
    """Put a link to itself at a path."""
    path.symlink_to(path)
    return path


NOWHERE: dict[str, Callable[[Path], Path]] = {
    "a file": lambda tmp_path: put_file(tmp_path / "kernels"),
    "below a file": lambda tmp_path: put_file(tmp_path / "cache") / "overfeat" / "kernels",
    "no place for files": lambda _: Path("/proc/overfeat/kernels"),
    "below a loop": lambda tmp_path: put_loop(tmp_path / "cache") / "overfeat" / "kernels",
    "a loop": lambda tmp_path: put_loop(tmp_path / "kernels"),
    "too long a name": lambda tmp_path: tmp_path / ("long" * 100) / "kernels",
}


@pytest.mark.parametrize("where", NOWHERE)
def test_where_nothing_can_be_kept(where: str, tmp_path: Path) -> None:
    cache = CodeCache(NOWHERE[where](tmp_path))
    cache.create()
    cache.write(NAME, CODE)
    assert not cache.exists
    assert cache.read(NAME) is None


@pytest.mark.parametrize("permissions", [0o000, 0o500], ids=oct)
@pytest.mark.parametrize("level", [0, 1])
def test_a_folder_that_may_not_be_used(level: int, permissions: int, cache: CodeCache) -> None:
    """As that of root is, to a program that root's environment was left to."""
    closed = (cache.folder, *cache.folder.parents)[level]
    closed.chmod(permissions)
    try:
        with unprivileged():
            cache.create()
            cache.write("other.o", CODE)
            cache.read(NAME)
    finally:
        closed.chmod(0o700)
    assert [path.name for path in cache.folder.iterdir()] == [NAME]


def test_a_full_disk(cache: CodeCache) -> None:
    """No file may grow beyond some bytes here; what was begun goes away."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        cache.write("other.o", CODE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert cache.read("other.o") is None
    assert [path.name for path in cache.folder.iterdir()] == [NAME]


# What is removed.


def test_the_oldest_files_are_removed(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of earlier versions, and of writers that were killed; what is no file stays."""
    monkeypatch.setattr(code_cache, "_MAX_FILES", 8)
    (cache.folder / "folder").mkdir()
    os.mkfifo(cache.folder / "pipe.o")
    (cache.folder / "link.o").symlink_to("nowhere")
    for number in range(8):
        (cache.folder / f"{NAME}{number}tmp").write_bytes(CODE)
    for age, path in enumerate(sorted(cache.folder.iterdir())):
        os.utime(path, (10**9 - age,) * 2, follow_symlinks=False)
    os.utime(cache.folder / NAME, (10**9 + 1,) * 2)
    cache.write("new.o", CODE)
    kept = {path.name for path in cache.folder.iterdir()}
    assert len(kept) == 9
    assert {"folder", "new.o", NAME} < kept
    assert cache.read(NAME) == cache.read("new.o") == CODE


def test_writers_at_once(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """They remove each other's files while they write; whatever is left is whole."""
    monkeypatch.setattr(code_cache, "_MAX_FILES", 8)
    failures: list[BaseException] = []

    def write(start: int) -> None:
        try:
            for number in range(start, 60, 2):
                CodeCache(cache.folder).write(f"{number}.o", CODE)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, shown below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 0, 1, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    cache.write(NAME, CODE)
    left = [path.name for path in cache.folder.iterdir()]
    assert len(left) == 8
    assert {cache.read(name) for name in left} == {CODE}
