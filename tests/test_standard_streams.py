"""All of the output is written or the failure is told, whatever standard output is; stderr has our lines only."""

import errno
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import PATIENCE_SECONDS, STAR, Live, argv, environment, ppm, run, sample_ppm, shell

FEATURES = ("layer", "--net", "tiny", "-L", "3", "--format", "npy", STAR)  # 100 KB


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def unbuffered(request: pytest.FixtureRequest) -> str:
    """Give both values of `$PYTHONUNBUFFERED`: it decides how much Python's own stdout writes at a time."""
    return str(request.param)


@pytest.fixture(scope="module")
def expected() -> bytes:
    """Give what should be written."""
    return run(*FEATURES).out


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        *((command, "") for command in ("layer -h", "layer --version", "layer --list", f"classify {STAR}")),
        *((f"features {STAR}", unbuffered) for unbuffered in ("", "1")),
    ],
)
def test_full_disk(command: str, unbuffered: str) -> None:
    result = shell(f"of-{command} --net tiny > /dev/full", PYTHONUNBUFFERED=unbuffered)
    result.one_line(1, "standard output: no space left on device")


def test_disk_that_fills_up(unbuffered: str, tmp_path: Path, expected: bytes) -> None:
    """The first write succeeds in part, as on a disk with a little room."""
    line = f"ulimit -f 40; of-{shlex.join(FEATURES)} > {tmp_path}/out"
    result = shell(line, PYTHONUNBUFFERED=unbuffered, PYTHONDONTWRITEBYTECODE="1")
    result.one_line(1, "standard output: file too large")
    assert (tmp_path / "out").read_bytes() == expected[: 40 << 10]


@pytest.fixture
def slow_pipe() -> Iterator[tuple[int, int]]:
    """Give a pipe with room for a page."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    yield read, write
    os.close(read)


def drained(pipe: int) -> bytes:
    """Read a pipe to its end, now and then slower than it is filled."""
    whole = bytearray()
    while piece := os.read(pipe, 5000):
        whole += piece
        if len(whole) % 7 == 0:
            time.sleep(0.001)
    return bytes(whole)


def test_pipe_that_does_not_wait(unbuffered: str, slow_pipe: tuple[int, int], expected: bytes) -> None:
    """Its writer gets an error where it would have had to wait, and may get rid of a part."""
    read, write = slow_pipe
    os.set_blocking(write, False)
    with subprocess.Popen(
        argv(*FEATURES), stdout=write, stderr=subprocess.PIPE, env=environment(PYTHONUNBUFFERED=unbuffered)
    ) as process:
        os.close(write)
        assert drained(read) == expected
        assert process.communicate(timeout=PATIENCE_SECONDS) == (None, b"")
    assert process.returncode == 0


def test_writer_that_is_stopped(unbuffered: str, slow_pipe: tuple[int, int], expected: bytes) -> None:
    """A signal that stops a process cuts short what it is writing."""
    read, write = slow_pipe
    with subprocess.Popen(
        argv(*FEATURES), stdout=write, stderr=subprocess.PIPE, env=environment(PYTHONUNBUFFERED=unbuffered)
    ) as process:
        os.close(write)
        begin = os.read(read, 1)  # now it waits for the pipe to be emptied
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        process.send_signal(signal.SIGCONT)
        assert begin + drained(read) == expected
        assert process.communicate(timeout=PATIENCE_SECONDS) == (None, b"")
    assert process.returncode == 0


def test_closed_output() -> None:
    """What can't be printed is a failure, as for any other program."""
    for arguments in ("-h", "--version", "--list", f"--net tiny -L 3 {STAR}"):
        shell(f"of-layer {arguments} >&-").one_line(1, "standard output is closed")


def test_closed_input() -> None:
    """It is missed only where it would be read; a file may get its descriptor, and must not be taken for it."""
    shell("of-classify --net tiny <&-").one_line(1, "standard input")
    shell(f"of-classify --net tiny {STAR} - <&-").one_line(1, "standard input")
    result = shell(f"of-classify --net tiny -n 1 {STAR} <&-")
    assert (result.status, result.names, result.err) == (0, ["star"], "")


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_nowhere_for_messages(where: str) -> None:
    result = shell(f"of-classify --net tiny -n 1 -v {STAR} /nonexistent {STAR} {where}")
    assert (result.status, result.names) == (3, ["star", "star"])
    assert shell(f"of-classify --nonsense {where}").status == 2


def test_live_stream() -> None:
    """Each picture is answered before the next is sent: nothing is held back for a batch."""
    star, disc = sample_ppm("star"), sample_ppm("red_disc")
    with Live("classify", "--net", "tiny", "-n", "1") as live:
        for picture, name in ((star, b"star "), (disc, b"red disc "), (star, b"star ")):
            live.send(picture)
            assert live.lines(1)[0].startswith(name)
        result = live.finish()
    assert (result.status, result.out, result.err) == (0, b"", "")


def test_live_errors() -> None:
    """A record of an error is not held back either."""
    with Live("classify", "--net", "tiny", "--format", "json", "--size", "none") as live:
        live.send(ppm(10, 10))
        assert b"10x10 is smaller than 231x231" in live.lines(1)[0]
        live.finish().one_line(3, "picture 1: 10x10 is smaller than 231x231")


@pytest.mark.parametrize(
    ("limit", "status", "words"),
    [("-v 120000", 1, "memory"), ("-v 170000", 3, "memory"), ("-n 6", 3, "too many"), ("-n 5", 1, "too many")],
)
def test_shortage(limit: str, status: int, words: str) -> None:
    """Whatever runs short, the picture is not to blame, and no library has the last word."""
    shell(f"ulimit {limit}; of-features --net tiny {STAR}").one_line(status, words)


def test_as_many_threads_as_there_is_room_for(expected: bytes) -> None:
    """OpenBLAS would end the process if one of them found no memory for its buffer."""
    line = f"ulimit -v 600000; of-{shlex.join(FEATURES)} --threads 300"
    result = shell(line)
    assert (result.status, result.err, len(result.out)) == (0, "", len(expected))


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become somebody else")
def test_no_thread_may_be_started(tmp_path: Path) -> None:
    """As for a user with too many processes; root is exempt, and may keep his right to read this Python."""
    nobody = "setpriv --reuid 4294967 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
    command = shlex.join(map(str, argv("classify", "--net", "tiny", "-n", "1", "--threads", "8", STAR)))
    result = shell(f"{nobody} bash -c 'ulimit -u 1; exec {command}'", HOME=str(tmp_path))
    assert (result.status, result.names, result.err) == (0, ["star"], "")


TALKATIVE = """
import logging, os, sys, warnings
from dataclasses import dataclass
from overfeat_tools import cli

@dataclass
class Options:
    version: cli.Version = False

def work(options):
    "Work."
    cli.started()
    logging.getLogger("library").error("of Python")
    warnings.warn("of Python, too")
    os.write(2, b"of C\\n")
    cli.say("of-test", "ours\\n\\x1b[31m \\udcff")
    raise {error}

cli.program("of-test", work, Options)()
"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("MemoryError", "not enough memory"),
        ("ImportError('no room for libfftw')", "a library can't be loaded: no room for libfftw"),
    ],
)
def test_lines_of_libraries(error: str, line: str) -> None:
    """None comes out; ours is one line whatever is in it, and so is what is nobody's fault."""
    program = [sys.executable, "-c", TALKATIVE.format(error=error)]
    done = subprocess.run(program, capture_output=True, check=False, env=environment(), timeout=PATIENCE_SECONDS)
    ours = "of-test: ours\\n\\x1b[31m \\udcff\n"
    assert (done.returncode, done.stderr.decode()) == (1, f"{ours}of-test: {line}\n")


def test_a_bug_keeps_its_traceback() -> None:
    program = [sys.executable, "-c", TALKATIVE.format(error="ZeroDivisionError")]
    done = subprocess.run(program, capture_output=True, check=False, env=environment(), timeout=PATIENCE_SECONDS)
    assert done.returncode == 1
    assert b"Traceback" in done.stderr
    assert b"ZeroDivisionError" in done.stderr


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the variables of a locale in which a file's name is decoded as Latin 1."""
    folder = tmp_path_factory.mktemp("locale")
    localedef = shutil.which("localedef")
    made = localedef and subprocess.run(
        [localedef, "-i", "de_DE", "-f", "ISO-8859-1", folder / "de_DE.ISO-8859-1"], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("no such locale can be made here")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.ISO-8859-1"}


def test_names_are_utf_8_in_every_locale(latin_1: dict[str, str], tmp_path: Path) -> None:
    """On standard output, as the manual promises, and in messages."""
    name = "f\xfcnf \u6f22.png"
    shutil.copy(STAR, tmp_path / name)
    encoding = "import sys; print(sys.getfilesystemencoding())"
    told = subprocess.run([sys.executable, "-c", encoding], capture_output=True, check=True, env=environment(**latin_1))
    assert told.stdout == b"iso8859-1\n"
    for form in ("json", "tsv"):
        arguments = ("classify", "--net", "tiny", "-n", "1", "--format", form)
        result = run(*arguments, tmp_path / name, **latin_1)
        assert result.out == run(*arguments, tmp_path / name).out
    path = f"{tmp_path}/keine {name}"
    result = run("classify", "--net", "tiny", path.encode(), **latin_1)
    assert result.one_line(3) == f"of-classify: {path}: {os.strerror(errno.ENOENT).lower()}\n"
    listed = ("download", "--list", "-d", os.fsencode(tmp_path / name))
    assert run(*listed, **latin_1).out == run(*listed).out
    assert name.encode() in run(*listed, **latin_1).out


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_records_of_several_processes_stay_whole(
    kind: str, slow_pipe: tuple[int, int], tmp_path: Path
) -> None:
    """As with `xargs -P`: long lines and short ones, also where a pipe or file takes only a part at a time."""
    command = ["layer", "--net", "tiny", "-L", "3", "--threads", "1", "--format", "tsv", *[STAR, "/none"] * 4]
    read, write = slow_pipe
    target = write if kind == "pipe" else os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT, 0o600)
    processes = [
        subprocess.Popen(
            argv(*command), stdin=subprocess.DEVNULL, stdout=target, stderr=subprocess.DEVNULL,
            env=environment(),
        )
        for _ in range(3)
    ]  # fmt: skip
    os.close(write)
    out = drained(read)
    for process in processes:
        assert process.wait(PATIENCE_SECONDS) == 3
    if kind == "file":
        os.close(target)
        out = (tmp_path / "out").read_bytes()
    expected = run(*command).out.splitlines()
    assert sorted(out.splitlines()) == sorted(expected * len(processes))


GATHERED = """
from overfeat_tools import cli
with cli.gathered() as flush:
    cli.write(b"one\\n")
    cli.say("test", "after one")
    cli.write(b"two\\n")
    cli.write_pieces([b"three\\n"])
    cli.write(b"four\\n")
    raise SystemExit(3)
"""


def test_what_is_gathered_keeps_its_order() -> None:
    """Among messages and larger records, too; and whatever ends a run, what was answered is written."""
    done = subprocess.run(
        [sys.executable, "-c", GATHERED], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "one\ntest: after one\ntwo\nthree\nfour\n")
