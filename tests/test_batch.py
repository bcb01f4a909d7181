"""of-batch: names right, a row for every picture, nothing lost, nothing mixed."""

import io
import json
import os
import signal
import subprocess
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from overfeat_tools import Network
from overfeat_tools.batch.output import open_output
from tests import batch_pictures
from tests.batch_pictures import KILLER, contents
from tests.picture_files import saved, smooth
from tests.processes import Live, Result, argv, environment, run

TINY = ("--net", "tiny", "--size", "input", "--readers", "1")


def batch(*arguments: str | Path | bytes, data: bytes = b"", **changes: str | Path) -> Result:
    return run("batch", *TINY, *arguments, data=data, **changes)


def record(output: Path, number: int = 0) -> list[dict[str, object]]:
    """Give the rows of a shard."""
    rows: list[dict[str, object]] = json.loads((output / ".of-batch" / f"shard-{number:05d}.json").read_bytes())["rows"]
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of 24 pictures, four of them broken."""
    folder = tmp_path_factory.mktemp("pictures")
    assert len(batch_pictures.make(folder, 24, 4)) == 4
    return folder


def names(folder: Path) -> list[str]:
    return sorted(contents(folder))


def test_a_file_for_each_picture_under_its_own_name(folder: Path, tmp_path: Path) -> None:
    """What of-features prints of a picture is in its file, whatever is broken before it; and again nothing is done."""
    result = batch("-i", folder, "-o", tmp_path / "out", "--recursive", "--shard-size", "10")
    assert result.status == 3, result.err
    assert "20 done, 4 failed" in result.err
    made = {name: data for name, data in contents(tmp_path / "out").items() if not name.startswith(".of-batch")}
    good = [name.removesuffix(".features") for name in made]
    shown = run("features", "--net", "tiny", "--size", "input", "--reproducible", *(folder / name for name in good))
    lines = shown.out.splitlines(keepends=True)
    assert len(good) == 20
    assert list(made.values()) == [b"".join(lines[at : at + 2]) for at in range(0, 40, 2)]
    failures = (tmp_path / "out" / ".of-batch" / "failures.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in failures] == sorted({*names(folder)} - {*good})
    again = batch("-i", folder, "-o", tmp_path / "out", "--recursive")
    assert "0 done, 20 done before, 4 failed" in again.err


def test_what_changed_or_failed_or_is_gone_is_done_again(tmp_path: Path) -> None:
    """And nothing else; what is new gets a shard of its own; the rest stays as it is, byte for byte."""
    pictures, out = tmp_path / "in", tmp_path / "out"
    bad = batch_pictures.make(pictures, 12, 2)
    arguments = ("-i", pictures, "-o", out, "--recursive", "--format", "npy")
    assert batch(*arguments).status == 3
    before = contents(out)
    for name in bad:
        (pictures / name).write_bytes(saved(smooth(), "PNG"))
        os.utime(pictures / name, ns=(0, 0))
    (pictures / "00003.bmp").write_bytes(saved(smooth(40, 40), "BMP"))
    (pictures / "new.png").write_bytes(saved(smooth(), "PNG"))
    (out / "00009.bmp.npy").unlink()
    result = batch(*arguments)
    assert result.status == 0, result.err
    assert "5 done, 8 done before, none failed" in result.err
    after = contents(out)
    assert {name for name in before if name.endswith(".npy") and after[name] != before[name]} == {"00003.bmp.npy"}
    assert set(after) - set(before) == {
        *(f"{name}.npy" for name in bad), "new.png.npy", ".of-batch/plan-00001", ".of-batch/shard-00001.json",
    }  # fmt: skip
    # The same as if it had all been there at first, but for the order.
    fresh = tmp_path / "fresh"
    assert batch("-i", pictures, "-o", fresh, "--recursive", "--format", "npy").status == 0
    assert {n: d for n, d in after.items() if n[0] != "."} == {n: d for n, d in contents(fresh).items() if n[0] != "."}


def test_failures_are_tried_again_only_when_asked(tmp_path: Path) -> None:
    pictures, out = tmp_path / "in", tmp_path / "out"
    pictures.mkdir()
    (pictures / "good.png").write_bytes(saved(smooth(), "PNG"))
    (pictures / "bad.png").write_bytes(b"bad")
    os.utime(pictures / "bad.png", ns=(0, 0))
    assert batch("-i", pictures, "-o", out).status == 3
    (pictures / "bad.png").write_bytes(b"BAD")
    os.utime(pictures / "bad.png", ns=(0, 0))  # so that nothing seems to have changed
    stamp = (out / "good.png.features").stat().st_mtime_ns
    assert "0 done, 1 done before, 1 failed" in batch("-i", pictures, "-o", out).err
    (pictures / "bad.png").write_bytes(saved(smooth(), "PNG"))
    assert "1 done, 1 done before, none failed" in batch("-i", pictures, "-o", out, "--retry-failed").err
    assert (out / "good.png.features").read_bytes() == (out / "bad.png.features").read_bytes()
    assert (out / "good.png.features").stat().st_mtime_ns == stamp
    # A checksum sees what size and time hide.
    status = (pictures / "good.png").stat()
    (pictures / "good.png").write_bytes(b"x" * status.st_size)
    os.utime(pictures / "good.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "0 done, 2 done before" in batch("-i", pictures, "-o", out).err
    assert "0 done, 1 done before, 1 failed" in batch("-i", pictures, "-o", out, "--checksum").err
    assert not (out / "good.png.features").exists()


def test_other_settings_are_refused_and_forced(folder: Path, tmp_path: Path) -> None:
    arguments = ("-i", folder, "-o", tmp_path)
    batch(*arguments)
    before = contents(tmp_path)
    batch(*arguments, "-L", "3").one_line(2, "made with layers 19, not 3", "--force")
    batch(*arguments, "--format", "npy").one_line(2, "format")
    assert contents(tmp_path) == before
    assert batch(*arguments, "-L", "16", "--force").status == 3
    assert contents(tmp_path)["00003.bmp.features"].split()[:3] == [b"64", b"6", b"6"]


def test_shards_of_several_jobs_make_the_whole(folder: Path, tmp_path: Path) -> None:
    """Each does its part, in one folder; what one job does is the same."""
    arguments = ("-i", folder, "--recursive", "--shard-size", "5")
    assert batch(*arguments, "-o", tmp_path / "one").status == 3
    for part in ("3/3", "1/3", "2/3"):
        assert batch(*arguments, "-o", tmp_path / "three", "--shard", part, "-q").err == ""
    one, three = contents(tmp_path / "one"), contents(tmp_path / "three")
    failures = b"".join(three.pop(f".of-batch/failures-{part}-of-3.tsv", b"") for part in (1, 2, 3))
    assert sorted(failures.splitlines()) == sorted(one.pop(".of-batch/failures.tsv").splitlines())
    assert one == three


def test_two_runs_at_a_time_do_no_harm(folder: Path, tmp_path: Path) -> None:
    arguments = ("-i", str(folder), "--recursive", "--shard-size", "3")
    assert batch(*arguments, "-o", tmp_path / "one").status == 3
    command = argv("batch", *TINY, *arguments, "-o", tmp_path / "two", "-q")
    running = [subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=100)[1] for process in running] == [b"", b""]
    assert [process.returncode for process in running] == [3, 3]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_an_output_may_be_opened_by_many_at_a_time(tmp_path: Path) -> None:
    """None takes what another has just begun for something left over."""

    def often(_: int) -> None:
        for _ in range(60):
            open_output(str(tmp_path)).close()

    with ThreadPoolExecutor(4) as several:
        list(several.map(often, range(4)))
    assert not list(tmp_path.rglob("*unfinished*"))


def tar(folder: Path, *more: tuple[str, bytes]) -> bytes:
    """Give an archive of a folder, and of further members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in [*contents(folder).items(), *more]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_archives(folder: Path, tmp_path: Path) -> None:
    """From a file or standard input the same comes of a picture as from a folder; what is no picture is passed over."""
    packed = tar(folder, ("00000.txt", b"a caption"), ("../out.png", saved(smooth(), "PNG")), ("notes.json", b"{}"))
    (tmp_path / "one.tar").write_bytes(packed)
    assert batch("-i", folder, "-o", tmp_path / "plain", "--recursive").status == 3
    result = batch("one.tar", "-o", "out", cwd=tmp_path)
    assert "21 done, 4 failed" in result.err
    plain = {name: data for name, data in contents(tmp_path / "plain").items() if name[0] != "."}
    made = {name: data for name, data in contents(tmp_path / "out").items() if name[0] != "."}
    assert made.pop("out.png.features")  # in the output, wherever it wanted to be
    assert made == {f"one.tar/{name}": data for name, data in plain.items()}
    streamed = batch("-o", tmp_path / "streamed", "--shard-size", "10", data=packed)
    assert "20 done, 5 failed" in streamed.err
    assert {n: d for n, d in contents(tmp_path / "streamed").items() if n[0] != "."} == plain
    assert not list(tmp_path.glob("out.png*"))
    assert "0 done, 20 done before" in batch("-o", tmp_path / "streamed", "--shard-size", "10", data=packed).err
    lines = batch("-o", "-", "-q", data=packed[: packed.index(b"notes.json") + 100]).out.splitlines()
    assert [line.split(b"\t")[1].decode() for line in lines[:24]] == names(folder)
    assert lines[-1].split(b"\t")[1] == b"-"  # the archive, which is cut off


def test_lines_have_every_picture_and_its_classes(folder: Path) -> None:
    printed = batch("-i", folder, "-o", "-", "--format", "json", "--classes", "2").out
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["file"] for line in lines] == [name for name in names(folder) if "/" not in name]
    good = {folder / line["file"]: line["classes"] for line in lines if line["status"] == "ok"}
    shown = run("classify", "--net", "tiny", "-n", "2", "--format", "json", "--reproducible", *good)
    assert [json.loads(line)["classes"] for line in shown.out.splitlines()] == list(good.values())


def test_several_layers_from_one_pass(folder: Path, tmp_path: Path) -> None:
    """A file for each layer, or a line, as of-layer would write them; one that is gone is made again."""
    good, numbers = folder / "00003.bmp", (3, 19)
    expected = Network("tiny", reproducible=True).layers(str(good), numbers, size="input")
    assert batch("-i", good, "-o", "out", "-L", "3,features", cwd=tmp_path).status == 0
    printed = batch("-i", good, "-o", "-", "-L", "3,features").out.splitlines()
    objects = batch("-i", good, "-o", "-", "-L", "3,features", "--format", "json", "-q").out.splitlines()
    for line, told, number in zip(printed, map(json.loads, objects), numbers, strict=True):
        (made,) = (tmp_path / "out").rglob(f"00003.bmp.L{number}.features")
        head, values = made.read_text().splitlines()
        cells = line.decode().split("\t")
        assert (cells[2:6], cells[6]) == ([str(number), *head.split()], values.rstrip())
        assert (told["layer"], told["shape"]) == (number, [*map(int, head.split())])
        found = np.float32(told["values"]).reshape(told["shape"])
        np.testing.assert_allclose(found, expected[number], atol=1e-5)
        np.testing.assert_allclose(np.float32(values.split()), found.reshape(-1), rtol=1e-5)
    made.unlink()
    assert "1 done, none failed" in batch("-i", good, "-o", "out", "-L", "3,19", cwd=tmp_path).err
    assert made.exists()


@pytest.mark.parametrize("views", ["ten", "dense"])
def test_classes_of_views(views: Literal["ten", "dense"], tmp_path: Path) -> None:
    """They are those of of-classify, and the layers are those of the picture as it is."""
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(pictures):
        path.write_bytes(saved(smooth(240, 231 + 16 * (number % 2)), "PNG"))
    lines = batch("-i", tmp_path, "-o", "-", "--format", "json", "--classes", "2", "--views", views).out.splitlines()
    network = Network("tiny", reproducible=True)
    expected = network.classify([str(path) for path in pictures], 2, views=views)
    features = network.features([str(path) for path in pictures], size="input")
    for line, classes, values in zip(map(json.loads, lines), expected, features, strict=True):
        np.testing.assert_array_equal(np.float32(line["values"]), values)
        assert [each["wnid"] for each in line["classes"]] == [wnid for wnid, _, _ in classes]
        assert [each["probability"] for each in line["classes"]] == pytest.approx([each[2] for each in classes], 1e-4)


def test_names(tmp_path: Path) -> None:
    """Whatever a picture is called, its features are called so, too."""
    called = [" a b", "a\nb", "-o", "--force", "\udcff\udc80", "ü" * 40, "q'\"\\", "{1..3}", "x.features.png"]
    called.append("l" * 250)  # there is no name for its features
    pictures = tmp_path / "in"
    pictures.mkdir()
    for name in called:
        (pictures / name).write_bytes(saved(smooth(), "PNG"))
    result = batch("-i", pictures, "-o", tmp_path / "out")
    assert result.status == 3, result.err
    rows = {row["path"]: row["status"] for row in record(tmp_path / "out")}
    assert rows == {name: "no name for it" if len(name) == 250 else "ok" for name in called}
    made = {os.fsdecode(path.name) for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert made == {f"{name}.features" for name in called[:-1]}


def test_links_and_their_loops(tmp_path: Path) -> None:
    pictures = tmp_path / "in"
    (pictures / "sub").mkdir(parents=True)
    (pictures / "a.png").write_bytes(saved(smooth(), "PNG"))
    (pictures / "sub" / "link.png").symlink_to("../a.png")
    (pictures / "sub" / "loop").symlink_to("..")
    (pictures / "self.png").symlink_to("self.png")
    os.mkfifo(pictures / "pipe.png")
    result = batch("-i", pictures, "-o", tmp_path / "out", "--recursive")
    assert result.status == 3, result.err
    assert [(row["path"], row["status"]) for row in record(tmp_path / "out")] == [
        ("a.png", "ok"), ("self.png", "unreadable"), ("sub/link.png", "ok"),
    ]  # fmt: skip


def test_a_list_of_names(folder: Path, tmp_path: Path) -> None:
    """Names are as given, absolute or not; one that is there twice is done once; all of them count as pictures."""
    listed = [str(folder / "00003.bmp"), "a.png", "./a.png", "a.png", "gone.png", "notes.txt"]
    (tmp_path / "a.png").write_bytes(saved(smooth(), "PNG"))
    (tmp_path / "notes.txt").write_bytes(b"notes")
    result = run("batch", *TINY, "--files0-from", "-", "-o", "out", data="\0".join(listed).encode(), cwd=tmp_path)
    assert result.status == 3, result.err
    rows = record(tmp_path / "out")
    assert [(row["path"], row["status"]) for row in rows] == list(
        zip([*listed[:3], *listed[4:]], ["ok", "ok", "ok", "unreadable", "no picture"], strict=True)
    )
    assert (tmp_path / "out" / f"{listed[0][1:]}.features").exists()


def test_a_picture_that_kills_its_decoder_is_named(tmp_path: Path) -> None:
    pictures = tmp_path / "in"
    pictures.mkdir()
    for number in range(6):
        data = saved(smooth(), "JPEG")
        (pictures / f"{number}.jpg").write_bytes(data + KILLER * (number == 2))
    result = batch("-i", pictures, "-o", tmp_path / "out", **batch_pictures.double(tmp_path))
    assert result.status == 3, result.err
    assert "5 done, 1 failed (1 killed its reader)" in result.err
    rows = record(tmp_path / "out")
    assert [row["status"] for row in rows] == ["ok", "ok", "killed its reader", "ok", "ok", "ok"]
    assert "SIGSEGV" in str(rows[2]["error"])


def test_size_is_that_of_the_whole_picture(tmp_path: Path) -> None:
    """However small a large JPEG was decoded, and however it was turned."""
    (tmp_path / "in").mkdir()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (tmp_path / "in" / "large.jpg").write_bytes(saved(smooth(1001, 1800), "JPEG", exif=exif))
    assert batch("-i", tmp_path / "in", "-o", tmp_path / "out").status == 0
    (row,) = record(tmp_path / "out")
    assert (row["width"], row["height"]) == (1001, 1800)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-i", "x"], "-o"),
        (["-i", ".", "-o", "-", "--format", "npy"], "tsv or json"),
        (["-i", ".", "-o", "out", "--format", "tsv"], "-o -"),
        (["-i", ".", "-o", "out", "--shard", "4/3"], "3/16"),
        (["-i", ".", "-o", "out", "--shard", "0/3"], "3/16"),
        (["-i", ".", "-o", "out", "--classes", "3"], "parquet or json"),
        (["-i", ".", "-o", "-", "--dask", "local"], "folder"),
        (["-i", ".", "-o", "out", "--views", "ten"], "--classes"),
        (["-i", ".", "-o", "out", "-L", "3,pixels"], "-L 3,pixels"),
        (["-i", ".", "-o", "out", "-L", "3,99"], "0..22"),
        (["-i", ".", "-o", "out", "-L", "19,features"], "once"),
        (["-i", ".", "-o", "out", "--force", "--shard", "1/2"], "--shard"),
        (["-i", "-", "-i", ".", "-o", "out"], "standard input"),
        (["-i", "gone", "-o", "out"], "-i gone"),
        (["-i", "nowhere://x/y", "-o", "out"], "nowhere://"),
        (["-i", "{1..99999999}{1..9}", "-o", "out"], "more than"),
        (["-i", ".", "-o", "/dev/null/out"], "/dev/null/out"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], words: str, tmp_path: Path) -> None:
    run("batch", "--net", "tiny", *arguments, cwd=tmp_path).one_line(2, words)
    assert not list(tmp_path.iterdir()) or arguments[-1] != "out"


def test_a_full_disk_ends_it_with_one_line(folder: Path, tmp_path: Path) -> None:
    """Here a limit on the size of files stands for one; nothing half is left, and again all is done."""
    arguments = ("-i", str(folder), "-o", str(tmp_path / "out"), "--recursive", "-L", "3", "--shard-size", "30")
    limited = ["bash", "-c", 'ulimit -f 16; trap "" XFSZ; exec "$@"', "bash"]
    done = subprocess.run(
        [*limited, *map(str, argv("batch", *TINY, *arguments))], env=environment(), capture_output=True, check=False
    )
    Result(done.returncode, done.stdout, done.stderr).one_line(1, "too large")
    assert not list((tmp_path / "out").rglob("shard*"))
    assert not list((tmp_path / "out").rglob("*unfinished*"))
    assert batch(*arguments).status == 3


def test_interrupted_it_says_how_to_go_on(tmp_path: Path) -> None:
    batch_pictures.make(tmp_path / "in", 400)
    with Live("batch", *TINY, "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--recursive") as live:
        end = time.monotonic() + 60
        while not list((tmp_path / "out").glob("*.features")) and time.monotonic() < end:
            time.sleep(0.02)
        live.process.send_signal(signal.SIGINT)
        result = live.finish()
    assert result.status == -signal.SIGINT
    assert result.err == "of-batch: stopped; run the same command again to go on\n"
    assert not list((tmp_path / "out").rglob("*unfinished*"))


def test_npy_is_what_numpy_loads(folder: Path, tmp_path: Path) -> None:
    assert batch("-i", folder / "00003.bmp", "-o", "out", "--format", "npy", cwd=tmp_path).status == 0
    (made,) = (tmp_path / "out").rglob("*.npy")
    assert np.load(made).shape == (96, 1, 1)
