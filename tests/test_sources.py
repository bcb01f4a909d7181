"""Names from the command line, from lists and from folders: in order, when they are asked for, faults told in place."""

import os
from pathlib import Path

import pytest

from overfeat_tools.errors import OverfeatError, UsageError
from overfeat_tools.pictures import colour, find_sources, read_items
from tests.picture_files import MAKERS, smooth
from tests.processes import SAMPLES, STAR, Live, run, shell

PNG = MAKERS["png"](smooth())
STAR_BYTES, MAZE = Path(STAR).read_bytes(), str(SAMPLES / "maze.png")


def found(*names: str) -> list[tuple[str | None, str]]:
    """Walk; give names and errors."""
    return [(one.file, str(one.error or "")) for one in find_sources(names, recursive=True)]


@pytest.fixture
def tree(tmp_path: Path) -> str:
    """Give a folder whose order is known."""
    for name in ("b/2.png", "b/10.png", "a.png", "b.png", "B.png", "b/c/d/e.png", ".hidden/f", "é.png"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_bytes(PNG)
    return str(tmp_path / "t")


def test_folders_are_walked_in_order(tree: str) -> None:
    """In the order of bytes, folders in their place; a name is what it was, whatever slashes it has."""
    expected = [".hidden/f", "B.png", "a.png", "b/10.png", "b/2.png", "b/c/d/e.png", "b.png", "é.png"]
    assert found(tree) == [(f"{tree}/{name}", "") for name in expected]
    assert found(f"{tree}/b//", f"{tree}/b.png") == [
        (f"{tree}/b//{name}", "") for name in ("10.png", "2.png", "c/d/e.png")
    ] + [(f"{tree}/b.png", "")]
    (Path(tree) / "empty").mkdir()
    assert found(f"{tree}/empty", "-", "none") == [(None, ""), ("none", "")]


def test_links_and_other_things(tree: str) -> None:
    """No loop, no device; links to files are followed, and a broken one is told."""
    (Path(tree) / "b/loop").symlink_to(tree)
    (Path(tree) / "b/self").symlink_to("self")
    (Path(tree) / "b/link").symlink_to("../a.png")
    (Path(tree) / "b/broken").symlink_to("nowhere")
    os.mkfifo(Path(tree) / "b/pipe")
    names = [str(name).removeprefix(f"{tree}/b/") for name, _ in found(f"{tree}/b")]
    assert names == ["10.png", "2.png", "broken", "c/d/e.png", "link", "self"]
    faults = {item.file: str(item.error) for item in read_items(find_sources([tree], recursive=True), {}) if item.error}
    assert faults == {
        f"{tree}/b/broken": "no such file or directory", f"{tree}/b/self": "too many levels of symbolic links",
    }  # fmt: skip
    assert len(found(f"{tree}/b/loop")) == len(found(tree))


def test_names_that_are_no_text(tree: str) -> None:
    name = os.fsencode(tree) + b"/b/\xff\n\xc3\xa9"
    Path(os.fsdecode(name)).write_bytes(PNG)
    assert os.fsencode(found(f"{tree}/b")[-1][0] or "") == name


def test_what_is_no_picture_is_passed_over(tree: str) -> None:
    """In a folder; where it is named, it is an error."""
    others = {"a.txt": b"hello", "b/x.mp4": b"\0\0\0\x18ftypmp42" + bytes(99), "c": b"", "d.pdf": b"%PDF-1"}
    for name, data in others.items():
        (Path(tree) / name).write_bytes(data)
    (Path(tree) / "cut.png").write_bytes(PNG[:-20])
    told: list[str] = []
    items = list(read_items(find_sources([tree], recursive=True), {}, tell=told.append))
    assert [item.file for item in items if item.error] == [f"{tree}/cut.png"]
    assert told == [f"passed over what is no picture: {tree}/a.txt, and 3 more"]
    assert [item.number for item in items] == list(range(1, len(items) + 1))
    (item,) = read_items(find_sources([f"{tree}/a.txt"], recursive=True), {})
    assert item.error


def test_a_folder_that_can_not_be_read(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(place: str) -> object:
        if place.endswith("/c"):
            raise PermissionError(13, "Permission denied")
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert (f"{tree}/b/c", "permission denied") in found(tree)
    assert len(found(tree)) == 8


def test_a_folder_without_the_option() -> None:
    run("classify", "--net", "tiny", SAMPLES).one_line(3, "is a directory; --recursive reads the pictures in it")


def test_recursive() -> None:
    result = run("classify", "--net", "tiny", "-n", "1", "--format", "tsv", "--recursive", SAMPLES)
    result.one_line(0, f"passed over what is no picture: {SAMPLES}/demo.sh, and 1 more")
    names = [line.split(b"\t")[1].decode() for line in result.out.splitlines()]
    pictures = {".sh": 0, ".py": 0, ".ppm": 4}
    expected = [path for path in sorted(SAMPLES.iterdir()) for _ in range(pictures.get(path.suffix, 1))]
    assert names == list(map(str, expected))


# Lists.


def test_list_in_a_file(tmp_path: Path) -> None:
    """The last name needs no NUL; `-` is standard input; a folder is one more name."""
    (tmp_path / "list").write_bytes(b"\0".join([os.fsencode(STAR), b"-", b"", b"none", os.fsencode(MAZE)]))
    arguments = ("classify", "--net", "tiny", "-n", "1", "--files0-from", str(tmp_path / "list"))
    result = run(*arguments, data=STAR_BYTES * 2)
    assert (result.names, result.status) == (["star"] * 3 + ["maze"], 3)
    assert result.err.splitlines() == [
        f"of-classify: {tmp_path / 'list'}: name 3: an empty name", "of-classify: none: no such file or directory",
    ]  # fmt: skip
    run(*arguments, STAR).one_line(2, "--files0-from", "names the files")
    run("classify", "--net", "tiny", "--files0-from", "none").one_line(1, "--files0-from none: no such file")
    run("classify", "--net", "tiny", "--files0-from", "").one_line(1, "no such file")
    run("classify", "--net", "tiny", "--files0-from", str(tmp_path)).one_line(1, "is a directory")


def test_list_on_standard_input() -> None:
    """Each is answered as its name comes; and there can be no pictures there as well."""
    with Live("classify", "--net", "tiny", "-n", "1", "--files0-from", "-") as live:
        for name in (STAR, MAZE, STAR):
            live.send(os.fsencode(name) + b"\0")
            assert live.lines(1)[0].split()[0].decode() in name
        live.send(b"-")
        live.finish().one_line(3, "-: name 4: standard input has the names")


def test_find(tmp_path: Path) -> None:
    (tmp_path / "a\nb").write_bytes(STAR_BYTES)
    result = shell(f"find {tmp_path} -type f -print0 | of-classify --net tiny -n 1 --files0-from -")
    assert (result.status, result.names) == (0, ["star"])


def test_a_list_is_bounded(tmp_path: Path) -> None:
    """What has no NUL in it is no list; an empty one is no error."""
    (tmp_path / "list").write_bytes(b"name\n" * 20000)
    with pytest.raises(OverfeatError, match="ended by a NUL byte"):
        list(find_sources([], str(tmp_path / "list")))
    (tmp_path / "list").write_bytes(b"")
    assert list(find_sources([], str(tmp_path / "list"))) == []


def test_closed_standard_input() -> None:
    for arguments in ("", "-", "--files0-from -"):
        shell(f"of-classify --net tiny {arguments} <&-").one_line(1, "standard input is closed")
    assert shell(f"of-classify --net tiny --recursive {SAMPLES}/star.png <&-").status == 0


def test_usage() -> None:
    for option, word in (("--frames", "0"), ("--frames", "x"), ("--background", "redd")):
        run("classify", "--net", "tiny", option, word, STAR).one_line(2, f"{option} {word}", "expected")
    for text in ("#12", "#1234567", "rgb(1,2,3)", "", "\udcff"):
        with pytest.raises(UsageError):
            colour(text)
    assert [colour(text) for text in ("red", "#F80", "#010203")] == [(255, 0, 0), (255, 136, 0), (1, 2, 3)]
