"""The commands as real processes: pipes, signals, terminals, full disks, bad input.

One invariant holds everywhere: an error is one line on stderr, never a traceback, and the exit status
tells what went wrong.
"""

import importlib.util
import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from overfeat_tools.backend.compiler import open_compiler
from tests import synthetic_weights
from tests.conftest import REFERENCE_DATA, recorded_ppm

ROOT = Path(__file__).parent.parent
COMMANDS = ("classify", "features", "layer")
PATIENCE_SECONDS = 120.0  # for what would never come, not a measure of speed


def environment(**changes: str | Path) -> dict[str, str]:
    """Give an environment in which Python buffers and the package is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OVERFEAT", "XDG"))}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": paths, **{name: str(value) for name, value in changes.items()}}


def argv(command: str, *arguments: str | Path | bytes) -> list[str | bytes | Path]:
    """Give a command's argument vector."""
    return [sys.executable, "-m", f"overfeat_tools.commands.{command}", *arguments]


def run(
    command: str, *arguments: str | Path | bytes, data: bytes = b"", data_folder: Path | None = None, **changes: str
) -> "Result":  # fmt: skip
    """Run a command to its end."""
    if data_folder is not None:
        changes["OVERFEAT_DATA"] = str(data_folder)
    done = subprocess.run(
        argv(command, *arguments), input=data, capture_output=True, env=environment(**changes), check=False,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr.decode(errors="surrogateescape"))


def shell(line: str, **changes: str | Path) -> "Result":
    """Run a line of bash in which `of-NAME` stands for a command; its status is that of the first in a pipe."""
    functions = "".join(
        f'of-{name}() {{ exec {shlex.join([sys.executable, "-m", f"overfeat_tools.commands.{name}"])} "$@"; }}\n'
        for name in COMMANDS
    )
    script = f"{functions}\n({line})"
    done = subprocess.run(
        ["/bin/bash", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, env=environment(**changes),
        check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr.decode(errors="surrogateescape"))


class Result:
    """What a process did."""

    def __init__(self, status: int, out: bytes, err: str) -> None:
        assert "Traceback" not in err, err
        assert "Exception ignored" not in err, err
        self.status, self.out, self.err = status, out, err

    def one_line(self, status: int, *words: str) -> str:
        """Check that it failed as it should: one line, with the program's name and these words."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("of-"), self.err
        assert self.status == status, self.err
        for word in words:
            assert word in self.err
        return self.err


def ppm(height: int, width: int, seed: int = 0) -> bytes:
    """Give a PPM picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()


@pytest.fixture(scope="session")
def fast(weights: Callable[[str], Path]) -> Path:
    """Give the folder of the fast network's weights."""
    return weights("fast")


GOOD = recorded_ppm("fast-231x231")
TOP5 = (REFERENCE_DATA / "fast-231x231.top5.txt").read_text("utf-8").splitlines()
NAMES = [line.rpartition(" ")[0] for line in TOP5]


def names(out: bytes) -> list[str]:
    """Give the names in what of-classify printed."""
    return [line.rpartition(" ")[0] for line in out.decode().splitlines()]


# Without weights.


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_version(command: str) -> None:
    for option in ("-h", "--help"):
        shown = run(command, option)
        assert (shown.status, shown.err) == (0, "")
        assert f"of-{command}" in shown.out.decode().splitlines()[0]
        assert max(map(len, shown.out.decode().splitlines())) <= 100
    version = run(command, "--version")
    assert (version.status, version.err) == (0, "")
    assert version.out.startswith(f"of-{command} ".encode())
    assert version.out.count(b"\n") == 1


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("classify", ["--no-such-option"]),
        ("classify", ["-n", "0"]),
        ("classify", ["-n", "many"]),
        ("classify", ["-n"]),
        ("classify", ["--net", "huge"]),
        ("classify", ["-l", "--net", "fast"]),
        ("classify", ["--format", "xml"]),
        ("classify", ["--threads", "0"]),
        ("classify", ["--threads", "-3"]),
        ("classify", ["--batch", "0"]),
        ("classify", ["--device", "abacus"]),
        ("classify", ["--method", "magic"]),
        ("features", ["--format", "json"]),
        ("layer", []),
        ("layer", ["-L", "23"]),
        ("layer", ["-L", "-1"]),
        ("layer", ["-l", "-L", "26"]),
        ("layer", ["-L", "1", "--input", "300x300"]),
        ("layer", ["--list", "--input", "300"]),
        ("layer", ["--list", "--input", "axb"]),
        ("layer", ["--list", "--input", "100x300"]),
        ("layer", ["--list", "--input", "\u0663x\u0663"]),
        ("layer", ["--list", "--input", "-1x300"]),
        ("layer", ["--list", "--input", "9" * 5000 + "x300"]),
    ],
)  # fmt: skip
def test_usage_errors(command: str, arguments: list[str]) -> None:
    """One line, status 2, before weights are looked for."""
    run(command, *arguments, data_folder=Path("/nonexistent")).one_line(2, f"of-{command}: ")


@pytest.mark.full_size
@pytest.mark.parametrize("size", ["230", "263", "0", "-1", "big", "", "231.5", "9999999999", "9" * 5000])
def test_bad_sizes(size: str, fast: Path) -> None:
    run("classify", "--size", size, data=GOOD, data_folder=fast).one_line(2, "--size")


def test_missing_weights(tmp_path: Path) -> None:
    """The message names the file and the way to get it."""
    for options, file, network in (([], "net_weight_0", "fast"), (["-l"], "net_weight_1", "accurate")):
        path = str(tmp_path / file)
        run("features", *options, data_folder=tmp_path).one_line(4, path, f"of-download {network}")
        run("features", *options, "-d", tmp_path).one_line(4, path, f"of-download {network}")
    home = tmp_path / "home"
    run("classify", HOME=str(home)).one_line(4, str(home / ".local/share/overfeat/net_weight_0"))
    run("classify", XDG_DATA_HOME=str(home)).one_line(4, str(home / "overfeat/net_weight_0"))


def test_weights_of_the_wrong_size(tmp_path: Path) -> None:
    """The message names path, expected and found bytes, and the cure."""
    path = tmp_path / "net_weight_0"
    for size in (0, 1000, synthetic_weights.SIZES_BYTES["fast"] - 4, synthetic_weights.SIZES_BYTES["fast"] + 4):
        with path.open("wb") as file:
            file.truncate(size)  # sparse
        run("classify", data_folder=tmp_path).one_line(4, str(path), "583683488", str(size), "of-download fast")
    path.unlink()
    path.mkdir()
    run("classify", data_folder=tmp_path).one_line(4, str(path))


def test_folder_of_weights_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run("classify", "-d", tmp_path / "file").one_line(4, str(tmp_path / "file"))


def test_cuda_is_refused(tmp_path: Path) -> None:
    """Without a device, or without support for it: status 1, or 4 where the weights are missed first."""
    result = run("classify", "--device", "cuda", data_folder=tmp_path)
    assert result.status in (1, 4)
    assert result.err.count("\n") == 1


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="cupy is installed")
def test_cuda_without_cupy() -> None:
    """Asked for, it is missed in one line that says what to do; `auto` does without and says nothing."""
    result = run("classify", "--net", "tiny", "--device", "cuda")
    result.one_line(1, "pip install 'overfeat_tools[cuda]'")
    quiet = run("classify", "--net", "tiny", "--device", "auto", data=ppm(231, 231))
    assert (quiet.status, quiet.err) == (0, "")


# Closed and full streams.


@pytest.mark.parametrize("option", ["-h", "--version", "--list"])
def test_full_disk_and_closed_pipe_under_help(option: str) -> None:
    shell(f"of-layer {option} > /dev/full").one_line(1, "no space left")
    piped = shell(f"of-layer {option} | true; exit ${{PIPESTATUS[0]}}")
    assert piped.err == ""
    assert piped.status in (0, 141)  # nobody may have had time to close it


def test_closed_output_under_help() -> None:
    """What can't be printed is a failure, as for any other program."""
    shell("of-layer --list >&-").one_line(1, "standard output")


@pytest.mark.parametrize("option", ["-h", "--version"])
def test_closed_output_under_help_of_typer(option: str) -> None:
    shell(f"of-layer {option} >&-").one_line(1, "standard output")


@pytest.mark.full_size
@pytest.mark.parametrize("form", ["text", "tsv", "json"])
def test_full_disk(form: str, fast: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.ppm"
    picture.write_bytes(GOOD)
    result = shell(f"of-classify --format {form} {picture} > /dev/full", OVERFEAT_DATA=fast)
    result.one_line(1, "standard output: no space left on device")


@pytest.mark.full_size
def test_full_disk_under_features(fast: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.ppm"
    picture.write_bytes(GOOD)
    for form in ("text", "npy"):
        shell(f"of-features --format {form} {picture} > /dev/full", OVERFEAT_DATA=fast).one_line(1, "no space left")


@pytest.mark.full_size
def test_closed_standard_streams(fast: Path, tmp_path: Path) -> None:
    """Each may be closed; descriptors opened later take their numbers, and must not be taken for them."""
    picture = tmp_path / "picture.ppm"
    picture.write_bytes(GOOD)
    shell("of-classify <&-", OVERFEAT_DATA=fast).one_line(1, "standard input")
    shell(f"of-classify {picture} - <&-", OVERFEAT_DATA=fast).one_line(1, "standard input")
    shell(f"of-classify {picture} >&-", OVERFEAT_DATA=fast).one_line(1, "standard output")
    without_input = shell(f"of-classify {picture} <&-", OVERFEAT_DATA=fast)
    assert (without_input.status, names(without_input.out)) == (0, NAMES)
    without_errors = shell(f"of-classify {picture} /nonexistent {picture} 2>&-", OVERFEAT_DATA=fast)
    assert (without_errors.status, names(without_errors.out)) == (3, NAMES * 2)
    assert shell("of-classify --nonsense 2>&-").status == 2


@pytest.mark.full_size
def test_closed_pipe(fast: Path, tmp_path: Path) -> None:
    """Silent, status 141: in a pipe with head nobody wants to hear of it."""
    pictures = tmp_path / "pictures.ppm"
    pictures.write_bytes(GOOD * 3)
    for command in ("of-layer -L 2", "of-classify -n 1000 --batch 1"):
        line = f"{command} {pictures} {pictures} | head -1; exit ${{PIPESTATUS[0]}}"
        result = shell(line, OVERFEAT_DATA=fast)
        assert (result.status, result.err) == (141, "")
        assert result.out.count(b"\n") == 1


# Terminals and signals.


@pytest.mark.parametrize("command", ["classify", "features"])
def test_terminal_gets_help(command: str) -> None:
    """Nothing will come from a keyboard: show the help instead of waiting."""
    leader, follower = pty.openpty()
    try:
        done = subprocess.run(
            argv(command), stdin=follower, capture_output=True, env=environment(), check=False, timeout=PATIENCE_SECONDS
        )
    finally:
        os.close(leader)
        os.close(follower)
    assert done.returncode == 2
    assert done.stdout == b""
    assert f"of-{command}" in done.stderr.decode().splitlines()[0]
    assert "--format" in done.stderr.decode()


class Live:
    """A running command that is fed and read bit by bit."""

    def __init__(self, folder: Path, command: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            argv(command, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(OVERFEAT_DATA=folder),
        )  # fmt: skip

    def send(self, data: bytes) -> None:
        """Write to its input."""
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def lines(self, count: int) -> list[bytes]:
        """Wait for lines of its output."""
        assert self.process.stdout
        got, end = b"", time.monotonic() + PATIENCE_SECONDS
        while got.count(b"\n") < count:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"waited in vain for an answer; so far {got!r}"
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            assert piece, "the output ended"
            got += piece
        return got.splitlines()

    def finish(self, signal_number: int | None = None) -> Result:
        """Close its input, or send it a signal, and wait for its end."""
        if signal_number is not None:
            self.process.send_signal(signal_number)
            out, err = self.process.stdout.read(), self.process.stderr.read()  # type: ignore[union-attr]
            self.process.wait(PATIENCE_SECONDS)
            self.process.stdin.close()  # type: ignore[union-attr]
            self.process.stdout.close()  # type: ignore[union-attr]
            self.process.stderr.close()  # type: ignore[union-attr]
        else:
            out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return Result(self.process.returncode, out, err.decode())


@pytest.mark.full_size
def test_live_stream(fast: Path) -> None:
    """Each picture is answered before the next is sent: nothing is held back for a batch."""
    live = Live(fast, "classify")
    try:
        for _ in range(3):
            live.send(GOOD)
            assert names(b"\n".join(live.lines(5))) == NAMES
        result = live.finish()
    finally:
        live.process.kill()
    assert (result.status, result.out, result.err) == (0, b"", "")


@pytest.mark.full_size
def test_live_errors(fast: Path) -> None:
    """A record of an error in json is not held back either."""
    live = Live(fast, "classify", "--format", "json", "--size", "none")
    try:
        live.send(ppm(10, 10))
        record = json.loads(live.lines(1)[0])
        result = live.finish()
    finally:
        live.process.kill()
    assert record["picture"] == 1
    assert "10x10 is smaller than 231x231" in record["error"]
    result.one_line(3)


@pytest.mark.full_size
@pytest.mark.parametrize("sent", [b"", GOOD, GOOD + GOOD[:1000]], ids=["nothing", "a picture", "and a half"])
def test_interrupt(sent: bytes, fast: Path) -> None:
    """Ctrl-C while waiting for input: silent, status 130; what was answered stays answered."""
    live = Live(fast, "classify", "-n", "1")
    try:
        live.send(sent)
        if sent:
            live.lines(1)
        else:
            time.sleep(3)  # until it reads; before that Python itself is still starting
        result = live.finish(signal.SIGINT)
    finally:
        live.process.kill()
    assert (result.status, result.err) == (130, "")


# Pictures.


@pytest.mark.full_size
def test_classify_and_features_print_the_originals_answer(fast: Path) -> None:
    result = run("classify", data=GOOD, data_folder=fast)
    assert (result.status, result.err) == (0, "")
    assert names(result.out) == NAMES
    features = run("features", data=GOOD, data_folder=fast)
    layer = run("layer", "-L", "19", data=GOOD, data_folder=fast)
    assert features.status == layer.status == 0
    assert features.out == layer.out
    assert features.out.startswith(b"4096 1 1\n")


@pytest.mark.full_size
def test_bulk_stream_keeps_order(fast: Path) -> None:
    """150 pictures, every tenth another and every fiftieth bad, in one stream."""
    good, other, bad = GOOD, ppm(231, 231, 5), ppm(20, 30)
    kinds = [bad if i % 50 == 49 else other if i % 10 == 0 else good for i in range(150)]
    result = run("classify", "--format", "json", "--size", "none", data=b"".join(kinds), data_folder=fast)
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [record["picture"] for record in records] == list(range(1, 151))
    assert result.status == 3
    assert result.err.count("\n") == 3
    of_good, of_other = records[1]["classes"][0]["name"], records[0]["classes"][0]["name"]
    assert of_good == NAMES[0] != of_other
    for kind, record in zip(kinds, records, strict=True):
        if kind is bad:
            assert "smaller" in record["error"]
        else:
            assert record["classes"][0]["name"] == (of_good if kind is good else of_other)


@pytest.mark.full_size
def test_small_picture_in_a_stream(fast: Path) -> None:
    """One line, and the stream goes on."""
    stream = GOOD * 2 + ppm(80, 100) + GOOD
    result = run("features", data=stream, data_folder=fast)
    assert result.one_line(3) == "of-features: picture 3: 100x80 is smaller than 231x231\n"
    assert result.out.count(b"4096 1 1\n") == 3
    strict = run("features", "--strict", data=stream, data_folder=fast)
    assert strict.one_line(3) == result.err
    assert strict.out.count(b"4096 1 1\n") == 2


@pytest.mark.full_size
@pytest.mark.parametrize("tail", [b"junk", GOOD[:5], GOOD[:-1], b"P3 1 1 1 0 0 0", b"P6 1000000000 1000000000 255\n"])
def test_broken_stream(tail: bytes, fast: Path) -> None:
    """Everything before is printed; then one line that names picture and byte."""
    result = run("classify", "-n", "1", data=GOOD * 2 + tail, data_folder=fast)
    assert names(result.out) == NAMES[:1] * 2
    result.one_line(3, "of-classify: picture 3: byte ")


@pytest.mark.full_size
def test_empty_stream(fast: Path) -> None:
    for data in (b"", b"\n\n\0"):
        result = run("classify", data=data, data_folder=fast)
        assert (result.status, result.out, result.err) == (0, b"", "")


@pytest.mark.full_size
def test_every_aspect_ratio_is_answered(fast: Path) -> None:
    """The original crashes on what is not square or too small."""
    sizes = [(231, 500), (500, 231), (1, 1), (1, 3000), (3000, 1), (10, 10), (232, 231), (262, 262), (600, 800)]
    result = run("classify", "-n", "1", data=b"".join(ppm(*size) for size in sizes), data_folder=fast)
    assert (result.status, result.err) == (0, "")
    assert result.out.count(b"\n") == len(sizes)


@pytest.mark.full_size
def test_files(fast: Path, tmp_path: Path) -> None:
    """Names of any bytes, folders, missing files, `-` among them; one bad file does not disturb the others."""
    odd = [b"a b.ppm", b"new\nline.ppm", b"\xff\xfe.ppm", b"-l.ppm", b"\x1b[31m.ppm", b"tab\t\\.ppm", b"$(id);'\".ppm"]
    paths = [os.fsencode(tmp_path) + b"/" + name for name in odd]
    for path in paths:
        Path(os.fsdecode(path)).write_bytes(GOOD)
    bad = os.fsencode(tmp_path) + b"/\xff\nbad.png"
    Path(os.fsdecode(bad)).write_bytes(b"\x89PNG\r\n\x1a\n rest")
    result = run("classify", "--format", "tsv", "-n", "1", *paths, bad, tmp_path, tmp_path / "none", "-", paths[0],
                 data=GOOD, data_folder=fast)  # fmt: skip
    assert result.status == 3
    assert result.err.count("\n") == 3
    assert "is a directory" in result.err
    assert "no such file" in result.err
    rows = [line.split(b"\t") for line in result.out.splitlines()]
    assert [len(row) for row in rows] == [6] * (len(paths) + 2)
    assert [int(row[0]) for row in rows] == [*range(1, len(paths) + 1), len(paths) + 4, len(paths) + 5]
    assert rows[-2][1] == b"-"
    back = [row[1].replace(b"\\n", b"\n").replace(b"\\t", b"\t").replace(b"\\\\", b"\\") for row in rows]
    assert back == [*paths, b"-", paths[0]]
    as_json = run("classify", "--format", "json", *paths, bad, data_folder=fast)
    files = [os.fsencode(json.loads(line)["file"]) for line in as_json.out.splitlines()]
    assert files == [*paths, bad]


@pytest.mark.full_size
def test_named_pipe(fast: Path) -> None:
    """`of-classify <(program)`: a pipe can be read only once."""
    line = f"of-classify -n 1 <(zcat {REFERENCE_DATA}/fast-231x231.ppm.gz)"
    result = shell(f"timeout 30 bash -c {shlex.quote(_expanded(line))}", OVERFEAT_DATA=fast)
    assert (result.status, names(result.out)) == (0, NAMES[:1])


@pytest.mark.full_size
def test_dev_stdin(fast: Path) -> None:
    line = f"zcat {REFERENCE_DATA}/fast-231x231.ppm.gz | of-classify -n 1 /dev/stdin"
    result = shell(f"timeout 30 bash -c {shlex.quote(_expanded(line))}", OVERFEAT_DATA=fast)
    assert (result.status, names(result.out)) == (0, NAMES[:1])


def _expanded(line: str) -> str:
    return line.replace("of-classify", shlex.join([sys.executable, "-m", "overfeat_tools.commands.classify"]))


@pytest.mark.full_size
def test_warnings_of_libraries_are_not_printed(fast: Path, tmp_path: Path) -> None:
    """Pillow warns of large pictures; that is no line of ours."""
    from PIL import Image

    path = tmp_path / "large.png"
    Image.new("1", (10_000, 10_000)).save(path)
    result = run("classify", "-n", "1", path, data_folder=fast)
    assert result.err.count("\n") <= result.status // 3
    assert "Warning" not in result.err


@pytest.mark.full_size
def test_nasty_files(fast: Path, tmp_path: Path) -> None:
    """Whatever lies in a file, one line a file and no traceback."""
    from io import BytesIO

    from PIL import Image

    nasty = {"empty": b"", "text": b"hello\n" * 100, "zeros": b"\0" * 10_000, "elf": b"\x7fELF" + b"\1" * 500}
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        buffer = BytesIO()
        noise = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(noise).save(buffer, form)
        data = buffer.getvalue()
        nasty[f"half.{form.lower()}"] = data[: len(data) // 2]
        nasty[f"head.{form.lower()}"] = data[:16]
        nasty[f"holes.{form.lower()}"] = data[: len(data) // 3] + b"\xff" * 64 + data[len(data) // 3 + 64 :]
    for name, data in nasty.items():
        (tmp_path / name).write_bytes(data)
    result = run("classify", "--format", "json", *[tmp_path / name for name in nasty], data_folder=fast)
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [Path(record["file"]).name for record in records] == list(nasty)
    failed = [record for record in records if "error" in record]
    assert result.err.count("\n") == len(failed)
    assert result.status == 3
    assert all(line.startswith("of-classify: ") for line in result.err.splitlines())


@pytest.mark.full_size
def test_verbose(fast: Path) -> None:
    """What -v tells stands on stderr alone."""
    result = run("classify", "-v", "-n", "1", "--threads", "1", "--method", "gemm", data=GOOD * 2, data_folder=fast)
    assert result.status == 0
    assert names(result.out) == NAMES[:1] * 2
    assert all(line.startswith("of-classify: ") for line in result.err.splitlines())
    assert "1 threads" in result.err or "1 thread" in result.err
    compiler = open_compiler()
    assert compiler is None or f"loops compiled for vectors of {compiler.lanes}" in result.err


@pytest.mark.full_size
def test_npy_records_follow_each_other(fast: Path) -> None:
    """Maps of several sizes, one `np.load` after another."""
    from io import BytesIO

    stream = BytesIO(run("features", "--format", "npy", data=GOOD + ppm(263, 300), data_folder=fast).out)
    assert [np.load(stream).shape for _ in range(2)] == [(4096, 1, 1), (4096, 2, 3)]
    assert stream.read() == b""
