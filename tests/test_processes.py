"""The commands as real processes: options, files, streams, and what they say of what is wrong."""

import importlib.util
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from overfeat_tools.backend.compiler import open_compiler
from tests import synthetic_weights
from tests.conftest import REFERENCE_DATA, recorded_ppm
from tests.processes import (
    COMMANDS,
    PATIENCE_SECONDS,
    ROOT,
    SAMPLES,
    STAR,
    Result,
    argv,
    environment,
    ppm,
    run,
    sample_ppm,
    shell,
)

GOOD = sample_ppm("star")
OTHER = sample_ppm("red_disc")


def classify(*arguments: str | Path | bytes, data: bytes = b"", **changes: str) -> Result:
    """Run of-classify with the network that needs no weights."""
    return run("classify", "--net", "tiny", *arguments, data=data, **changes)


# Options.


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_version(command: str) -> None:
    for option in ("-h", "--help"):
        shown = run(command, option)
        assert (shown.status, shown.err) == (0, "")
        assert f"of-{command}" in shown.out.decode().splitlines()[0]
        assert max(map(len, shown.out.decode().splitlines())) <= 100
    version = run(command, "--version", executed=True)
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
        ("classify", ["-d", ""]),
        *[("classify", ["--net", "tiny", "--self-test", option, "x"]) for option in ("--files0-from", "--truth")],
        *[("classify", ["--net", "tiny", "--size", size]) for size in ("230", "263", "big", "", "9" * 5000)],
        *[("classify", ["--threshold", number]) for number in ("-0.1", "1.1", "nan", "half")],
        ("classify", ["--header"]),
        ("classify", ["--self-test", STAR]),
        ("classify", ["--self-test", "--truth", STAR]),
        ("classify", ["--truth", "/nonexistent", STAR]),
        ("features", ["--format", "xml"]),
        ("features", ["--header", "--format", "json"]),
        *[("features", ["--size", size]) for size in ("230", "11586", "big", "", "9" * 5000)],
        ("layer", ["-L", "1", "--size", "10"]),
        ("layer", ["--list", "--format", "json"]),
        ("layer", ["--list", "--header"]),
        ("layer", []),
        ("layer", ["-L", "23"]),
        ("layer", ["-L", "-1"]),
        ("layer", ["-l", "-L", "26"]),
        ("layer", ["-L", "1", "--input", "300x300"]),
        ("layer", ["--list", "-L", "1"]),
        ("layer", ["--list", "--input", "300"]),
        ("layer", ["--list", "--input", "axb"]),
        ("layer", ["--list", "--input", "100x300"]),
        ("layer", ["--list", "--input", "\u0663x\u0663"]),
        ("layer", ["--list", "--input", "9" * 5000 + "x300"]),
    ],
)  # fmt: skip
def test_usage_errors(command: str, arguments: list[str]) -> None:
    """One line, status 2, before weights are looked for."""
    run(command, *arguments, OVERFEAT_DATA="/nonexistent").one_line(2, f"of-{command}: ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--threads", "1025"], "--threads 1025: a whole number from 1 to 1024 expected"),
        (["--batch", "4097"], "--batch 4097: a whole number from 1 to 4096 expected"),
        (["-n", "1_0"], "-n 1_0: a whole number from 1 on expected"),
        (["--threshold", "inf"], "--threshold inf: a number from 0 to 1 expected"),
        (["--device", "abacus"], "--device abacus: auto, cpu or cuda expected"),
    ],
)
def test_what_an_option_expects(arguments: list[str], line: str) -> None:
    assert classify(*arguments).err == f"of-classify: {line}\n"


def test_the_bounds_of_an_option_belong_to_it() -> None:
    assert run("layer", "--list", "--threads", "1024", "--batch", "4096").status == 0
    assert run("layer", "--list", "--threads", "1", "--batch", "1").status == 0


@pytest.mark.parametrize("memory", ["-1", "9" * 5000])
def test_memory_that_is_no_number(memory: str) -> None:
    classify(STAR, OVERFEAT_MEMORY=memory).one_line(2, "OVERFEAT_MEMORY")


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


@pytest.mark.parametrize("threads", ["1", "3"])
def test_verbose(threads: str) -> None:
    """What it tells is true, and stands on stderr alone."""
    pictures = 12
    result = classify("-v", "-n", "1", "--threads", threads, "--batch", "1", "--method", "gemm",
                      "/nonexistent", "-", STAR, "/nonexistent", data=GOOD * pictures)  # fmt: skip
    assert (result.status, result.names) == (3, ["star"] * (pictures + 1))
    told = [line.removeprefix("of-classify: ") for line in result.err.splitlines()[2:]]
    assert re.match(rf"tiny on .*\b{threads} threads", told[0])
    compiler = open_compiler()
    assert compiler is None or told[0].endswith(f"kernels compiled for vectors of {compiler.lanes}")
    answered, seconds, rate = re.match(r"pictures answered: (\d+) in ([\d.]+) s, ([\d.]+) a second", told[1]).groups()  # type: ignore[union-attr]
    assert int(answered) == pictures + 1
    assert int(answered) / float(rate) == pytest.approx(float(seconds), abs=0.006)  # which is rounded
    assert told[2] == f"batches: {pictures + 1}; pictures failed: 2"
    stages = {what: float(of) for what, of in map(str.split, told[3].removeprefix("core-seconds: ").split(", "))}
    assert list(stages) == ["read", "decode", "fit", "compute", "write", "all"]
    assert stages["compute"] > 0
    assert sum(stages.values()) - stages["all"] <= stages["all"] + 0.03  # each is rounded
    rows = [line.split() for line in told[5:]]
    assert sum(float(row[3].rstrip("%")) for row in rows) == pytest.approx(100, abs=1)
    assert all(row[-1] == f"({pictures + 1})" for row in rows if row[1].startswith(("convolve", "pad")))


# Weights and devices.


def test_missing_weights(tmp_path: Path) -> None:
    """The message names the file and the way to get it."""
    for options, file, network in (([], "net_weight_0", "fast"), (["-l"], "net_weight_1", "accurate")):
        path = str(tmp_path / file)
        run("features", *options, OVERFEAT_DATA=tmp_path).one_line(4, path, f"of-download {network}")
        run("features", *options, "-d", tmp_path).one_line(4, path, f"of-download {network}")
    home = tmp_path / "home"
    run("classify", HOME=str(home)).one_line(4, str(home / ".local/share/overfeat/net_weight_0"))
    run("classify", XDG_DATA_HOME=str(home)).one_line(4, str(home / "overfeat/net_weight_0"))


def test_weights_of_the_wrong_size(tmp_path: Path) -> None:
    """The message names path, expected and found bytes, and the cure."""
    path = tmp_path / "net_weight_0"
    for size in (0, synthetic_weights.SIZES_BYTES["fast"] - 4, synthetic_weights.SIZES_BYTES["fast"] + 4):
        with path.open("wb") as file:
            file.truncate(size)  # sparse
        run("classify", "-d", tmp_path).one_line(4, str(path), "583683488", str(size), "of-download fast")
    path.unlink()
    path.mkdir()
    run("classify", "-d", tmp_path).one_line(4, str(path))
    (tmp_path / "file").touch()
    run("classify", "-d", tmp_path / "file").one_line(4, str(tmp_path / "file"))


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="cupy is installed")
def test_cuda_without_cupy() -> None:
    """Asked for, it is missed in one line that says what to do; `auto` does without and says nothing."""
    classify("--device", "cuda").one_line(1, "pip install 'overfeat_tools[cuda]'")
    quiet = classify("--device", "auto", data=GOOD)
    assert (quiet.status, quiet.err) == (0, "")


@pytest.mark.full_size
def test_the_originals_answer(tmp_path: Path) -> None:
    """From the weights of full size that the original's answers were recorded with."""
    top5 = (REFERENCE_DATA / "fast-231x231.top5.txt").read_text("utf-8").splitlines()
    picture, folder = tmp_path / "picture.ppm", synthetic_weights.ensure("fast").parent
    picture.write_bytes(recorded_ppm("fast-231x231"))
    result = run("classify", "-d", folder, picture)
    assert (result.status, result.err) == (0, "")
    assert result.names == [line.rpartition(" ")[0] for line in top5]
    features = run("features", "-d", folder, picture)
    assert features.out == run("layer", "-L", "19", "-d", folder, picture).out
    assert features.out.startswith(b"4096 1 1\n")


# Pictures.


def test_bulk_stream_keeps_order() -> None:
    """150 pictures, every tenth another and every fiftieth bad, in one stream."""
    bad = ppm(20, 30)
    kinds = [bad if i % 50 == 49 else OTHER if i % 10 == 0 else GOOD for i in range(150)]
    result = classify("--format", "json", "--size", "none", data=b"".join(kinds))
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [record["picture"] for record in records] == list(range(1, 151))
    assert result.status == 3
    assert result.err.count("\n") == 3
    for kind, record in zip(kinds, records, strict=True):
        if kind is bad:
            assert "smaller" in record["error"]
        else:
            assert record["classes"][0]["name"] == ("star" if kind is GOOD else "red disc")


def test_small_picture_in_a_stream() -> None:
    """One line, and the stream goes on."""
    stream = GOOD * 2 + ppm(80, 100) + GOOD
    result = run("features", "--net", "tiny", data=stream)
    assert result.one_line(3) == "of-features: picture 3: 100x80 is smaller than 231x231\n"
    assert result.out.count(b"96 1 1\n") == 3
    strict = run("features", "--net", "tiny", "--strict", data=stream)
    assert strict.one_line(3) == result.err
    assert strict.out.count(b"96 1 1\n") == 2


@pytest.mark.parametrize("tail", [b"junk", GOOD[:5], GOOD[:-1], b"P6 1000000000 1000000000 255\n"])
def test_broken_stream(tail: bytes) -> None:
    """Everything before is printed; then one line that names picture and byte."""
    result = classify("-n", "1", data=GOOD * 2 + tail)
    assert result.names == ["star"] * 2
    result.one_line(3, "of-classify: picture 3: byte ")


def test_maps_fitted_and_named() -> None:
    """A line for every picture, whatever became of it; the same numbers in each format; `--size` as in of-classify."""
    files = [STAR, "/none", SAMPLES / "maze.png"]
    fitted = ["layer", "-L", "22", "--net", "tiny", "--size", "262"]
    table = run(*fitted, "--format", "tsv", "--header", *files)
    table.one_line(3, "/none")
    heading, *lines = [line.split("\t") for line in table.out.decode().splitlines()]
    assert heading == ["picture", "file", "channels", "rows", "columns", "values"]
    assert lines[1] == ["2", "/none", "", "", "", ""]
    assert [line[:5] for line in lines[::2]] == [["1", STAR, "26", "1", "1"], ["3", str(files[2]), "26", "1", "1"]]
    records = [json.loads(line) for line in run(*fitted, "--format", "json", *files).out.splitlines()]
    assert records[1] == {"picture": 2, "file": "/none", "error": "no such file or directory"}
    shown = classify("-n", "26", "--size", "262", "--format", "json", *files)
    for line, record, classes in zip(lines, records, map(json.loads, shown.out.splitlines()), strict=True):
        if "error" not in record:
            assert [f"{value:g}" for value in record["values"]] == line[5].split(" ")
            for item in classes["classes"]:
                assert record["values"][item["index"]] == pytest.approx(item["probability"], rel=1e-5)
    assert run(*fitted, *files).out.decode().split("\n")[1:4:2] == [f"{lines[0][5]} ", f"{lines[2][5]} "]


@pytest.mark.parametrize(
    ("size", "picture", "shape"),
    [
        ([], (300, 263), b"96 3 2"),
        (["--size", "input"], (300, 500), b"96 1 1"),
        (["--size", "300"], (40, 50), b"96 3 3"),
        (["--size", "none"], (300, 263), b"96 2 2"),
        (["--size", "none"], (230, 300), b""),
        ([], (230, 300), b""),
    ],
)
def test_size_of_maps(size: list[str], picture: tuple[int, int], shape: bytes) -> None:
    result = run("features", "--net", "tiny", *size, data=ppm(*picture))
    assert result.out.partition(b"\n")[0] == shape
    assert result.err == ("" if shape else "of-features: picture 1: 300x230 is smaller than 231x231\n")


def test_heading_of_nothing() -> None:
    """A table without rows is still a table."""
    assert classify("--format", "tsv", "--header").out == b"picture\tfile\tindex\twnid\tname\tprobability\n"
    assert run("features", "--net", "tiny", "--format", "tsv", "--header").out.count(b"\n") == 1
    listed = [run("layer", "--list", "--format", "tsv", *more).out.splitlines() for more in ([], ["--header"])]
    assert listed[1][1:] == listed[0]
    assert {line.count(b"\t") for line in listed[1]} == {6}


def test_self_test() -> None:
    result = classify("--self-test")
    assert (result.status, result.err) == (0, "")
    assert result.out.endswith(b"\nthe weights of tiny are plausible\n")


def test_empty_stream() -> None:
    for data in (b"", b"\n\n\0"):
        result = classify(data=data)
        assert (result.status, result.out, result.err) == (0, b"", "")


def test_every_aspect_ratio_is_answered() -> None:
    """The original crashes on what is not square or too small."""
    sizes = [(231, 500), (500, 231), (1, 1), (1, 3000), (3000, 1), (10, 10), (232, 231), (262, 262), (600, 800)]
    result = classify("-n", "1", data=b"".join(ppm(*size) for size in sizes))
    assert (result.status, result.err) == (0, "")
    assert result.out.count(b"\n") == len(sizes)


def test_files(tmp_path: Path) -> None:
    """Names of any bytes, folders, missing files, `-` among them; one bad file does not disturb the others."""
    odd = [b"a b.ppm", b"new\nline.ppm", b"\xff\xfe.ppm", b"-l.ppm", b"\x1b[31m.ppm", b"tab\t\\.ppm", b"$(id);'\".ppm"]
    paths = [os.fsencode(tmp_path) + b"/" + name for name in odd]
    for path in paths:
        Path(os.fsdecode(path)).write_bytes(GOOD)
    bad = os.fsencode(tmp_path) + b"/\xff\nbad.png"
    Path(os.fsdecode(bad)).write_bytes(b"\x89PNG\r\n\x1a\n rest")
    result = classify("--format", "tsv", "-n", "1", *paths, bad, tmp_path, tmp_path / "none", "-", paths[0], data=GOOD)
    assert result.status == 3
    assert result.err.count("\n") == 3
    assert "is a directory" in result.err
    assert "no such file" in result.err
    rows = [line.split(b"\t") for line in result.out.splitlines()]
    assert [len(row) for row in rows] == [6] * (len(paths) + 5)
    assert [int(row[0]) for row in rows] == list(range(1, len(paths) + 6))
    assert all(row[2:] == [b""] * 4 for row in rows[-5:-2])
    del rows[-5:-2]
    assert rows[-2][1] == b"-"
    back = [row[1].replace(b"\\n", b"\n").replace(b"\\t", b"\t").replace(b"\\\\", b"\\") for row in rows]
    assert back == [*paths, b"-", paths[0]]
    as_json = classify("--format", "json", *paths, bad)
    files = [os.fsencode(json.loads(line)["file"]) for line in as_json.out.splitlines()]
    assert files == [*paths, bad]


def test_pipes_that_are_named() -> None:
    """`of-classify <(program)` and `/dev/stdin`: a pipe can be read only once."""
    picture = f"zcat {REFERENCE_DATA}/fast-231x231.ppm.gz"
    for line in (f"of-classify --net tiny -n 1 <({picture})", f"{picture} | of-classify --net tiny -n 1 /dev/stdin"):
        result = shell(line)
        assert (result.status, result.err) == (0, "")
        assert result.out.count(b"\n") == 1


def test_nasty_files(tmp_path: Path) -> None:
    """Whatever lies in a file, one record a file, a line for each that failed, and no traceback."""
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
    result = classify("--format", "json", *[tmp_path / name for name in nasty])
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [Path(record["file"]).name for record in records] == list(nasty)
    assert result.status == 3
    assert result.err.count("\n") == len([record for record in records if {"error", "warning"} & set(record)])
    assert all(line.startswith("of-classify: ") for line in result.err.splitlines())


DAMAGED = """
from dataclasses import replace
from overfeat_tools.commands import run

fitted = run.fitted
def damaged(item, *arguments):
    return fitted(replace(item, warning="cut off") if item.number == 2 else item, *arguments)

run.fitted = damaged
"""


@pytest.mark.parametrize("strict", [False, True])
def test_damaged_picture(strict: bool) -> None:  # noqa: FBT001
    """It is answered, with a warning in both places; under `--strict` it can't be used."""
    arguments = ["--net", "tiny", "--format", "json", *["--strict"] * strict, *[STAR] * 3]
    result = run("classify", *arguments, first=DAMAGED)
    assert result.one_line(3 if strict else 0) == f"of-classify: {STAR}: cut off\n"
    records = [json.loads(line) for line in result.out.splitlines()]
    expected = [["classes"], ["error"]] if strict else [["classes"], ["classes", "warning"], ["classes"]]
    assert [sorted(set(record) - {"picture", "file"}) for record in records] == expected
    assert records[1]["error" if strict else "warning"] == "cut off"


# Launchers.


def launch(line: str, folder: Path) -> Result:
    """Run a line of shell in a folder, with the launchers of this checkout and this Python to be found."""
    path = os.pathsep.join([str(ROOT / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=folder, capture_output=True, check=False, timeout=PATIENCE_SECONDS,
        env=environment(PATH=path, PYTHONPATH=""),
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def test_launchers_import_nothing_from_the_current_folder(tmp_path: Path) -> None:
    """What lies beside the pictures is not run, whatever its name."""
    for module in ("signal", "typer", "numpy", "importlib", "overfeat_tools"):
        (tmp_path / f"{module}.py").write_text("print('from the current folder')")
    result = launch(f"of-classify --net tiny -n 1 {STAR}", tmp_path)
    assert (result.status, result.names, result.err) == (0, ["star"], "")


def test_launchers_given_a_folder_as_a_stream(tmp_path: Path) -> None:
    """Python ends with a fatal error there; it matters only where the stream would be used."""
    launch("of-classify --net tiny < .", tmp_path).one_line(1, "of-classify: standard input", "a folder")
    assert launch(f"of-classify --net tiny -n 1 {STAR} < .", tmp_path).names == ["star"]
    launch(f"of-classify --net tiny {STAR} 1< .", tmp_path).one_line(1, "standard output is closed")
    assert launch(f"of-classify --net tiny -n 1 {STAR} 2< .", tmp_path).names == ["star"]
