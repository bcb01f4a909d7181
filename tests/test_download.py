"""of-download against servers that misbehave.

The invariant of every test: the right weights are installed or nothing is, and nothing is left
over but the part that can be gone on with.
"""

import gzip
import random
import time
import zipfile
from pathlib import Path

import pytest

from overfeat_tools.errors import DownloadError, WeightsError
from tests.loopback import (
    ACCURATE,
    FAST,
    UNFINISHED,
    Handler,
    Server,
    content,
    fixed,
    get,
    in_turn,
    installed,
    listing,
    remains,
    serving,
    tgz,
    weights,
    whole,
    zipped,
)

BOTH = {"net_weight_0", "net_weight_1"}
PAGE = b"<!DOCTYPE html><html><body>Moved.</body></html>" * 30


pytestmark = pytest.mark.usefixtures("download_surroundings")


ARCHIVES = {
    "tgz": tgz(),
    "zip": zipped(),
    "zip, stored": zipped(zipfile.ZIP_STORED),
    "tar": gzip.decompress(tgz()),
    "at the top": tgz(""),
    "with names that climb": tgz("../../../"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archive_from_a_server(tmp_path: Path, kind: str) -> None:
    with serving(a=content(ARCHIVES[kind])) as server:
        get(tmp_path / "new" / "w", server.url("/a"))
    whole(tmp_path / "new" / "w")
    assert listing(tmp_path) == ["new"]


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archive_at_hand(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "archive"
    path.write_bytes(ARCHIVES[kind])
    get(tmp_path / "w", str(path))
    whole(tmp_path / "w")
    assert path.read_bytes() == ARCHIVES[kind]


def test_bare_files(tmp_path: Path) -> None:
    with serving(
        net_weight_0=content(weights("net_weight_0")), net_weight_1=content(weights("net_weight_1"))
    ) as server:
        get(tmp_path / "w", server.url("/"))
        whole(tmp_path / "w")
        get(tmp_path / "v", server.url("/net_weight_1"), files=(ACCURATE,))
        assert installed(tmp_path / "v") == {"net_weight_1"}
    get(tmp_path / "u", str(tmp_path / "w"))
    whole(tmp_path / "u")


def test_only_what_was_asked_for(tmp_path: Path) -> None:
    with serving(a=content(tgz())) as server:
        get(tmp_path, server.url("/a"), files=(FAST,))
    assert installed(tmp_path) == {"net_weight_0"}


def test_no_length_told(tmp_path: Path) -> None:
    def chunked(handler: Handler) -> None:
        handler.head(200, {"Transfer-Encoding": "chunked"})
        for at in range(0, len(tgz()), 50_000):
            piece = tgz()[at : at + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    with serving(a=chunked) as server:
        get(tmp_path, server.url("/a"))
    whole(tmp_path)


@pytest.mark.parametrize("reset", [False, True])
def test_cut_at_random_bytes_and_resumed(tmp_path: Path, reset: bool) -> None:  # noqa: FBT001
    size = len(tgz())
    cuts = sorted(random.Random(7).sample(range(600, size), 25))  # noqa: S311
    with serving(a=content(tgz(), cuts=cuts, reset=reset)) as server:
        get(tmp_path, server.url("/a"))
        assert not cuts
        starts = [int(asked[6:-1]) for _, asked in server.asked if asked]
        assert len(starts) >= 24
        assert starts == sorted(starts)
    whole(tmp_path)


def test_resumed_by_another_run(tmp_path: Path) -> None:
    with serving(a=content(tgz(), cuts=[300_000] * 5)) as server:
        with pytest.raises(DownloadError, match="gave up after 4 attempts"):
            get(tmp_path, server.url("/a"))
        assert remains(tmp_path) == UNFINISHED
        server.asked.clear()
        told = get(tmp_path, server.url("/a"))
        assert server.asked == [("/a", "bytes=290816-")]
    assert "resuming after the 0.3 MB that are here already" in told
    whole(tmp_path)


@pytest.mark.parametrize("etag", ['"one"', 'W/"one"', None])
def test_weak_or_no_validator(tmp_path: Path, etag: str | None) -> None:
    """A weak one promises nothing about the bytes, so that a server must not take it."""
    with serving(a=content(tgz(), etag=etag, cuts=[300_000])) as server:
        logged = get(tmp_path, server.url("/a"))
    assert any(line.startswith("resuming after") for line in logged)
    whole(tmp_path)


def test_ranges_refused(tmp_path: Path) -> None:
    with serving(a=content(tgz(), ranges=False, cuts=[400_000, 200_000])) as server:
        get(tmp_path, server.url("/a"))
    whole(tmp_path)


def test_ranges_refused_and_cut_for_ever(tmp_path: Path) -> None:
    """A server that starts over each time and never gets further must not be asked for ever."""
    with serving(a=content(tgz(), ranges=False, cuts=[400_000] * 50)) as server:
        with pytest.raises(DownloadError, match="gave up"):
            get(tmp_path, server.url("/a"))
        assert len(server.asked) <= 5
    assert not installed(tmp_path)


WRONG_RANGES = {
    "another start": {"Content-Range": f"bytes 0-{len(tgz()) - 1}/{len(tgz())}"},
    "not the end": {"Content-Range": f"bytes 295904-299999/{len(tgz())}"},
    "none": {},
    "junk": {"Content-Range": "pages 1-2"},
    "several": {"Content-Type": "multipart/byteranges; boundary=x"},
}


@pytest.mark.parametrize("kind", WRONG_RANGES)
def test_range_answered_wrongly(tmp_path: Path, kind: str) -> None:
    def wrong(handler: Handler) -> None:
        handler.answer(206, tgz()[:9000], WRONG_RANGES[kind])

    with serving(a=in_turn(content(tgz(), cuts=[300_000]), wrong, content(tgz()))) as server:
        get(tmp_path, server.url("/a"))
    whole(tmp_path)


def test_range_with_other_bytes(tmp_path: Path) -> None:
    """A right-looking range of another file: seen by the bytes that come twice."""
    other = bytes(reversed(tgz()))
    with serving(a=in_turn(content(tgz(), cuts=[300_000]), content(other), content(tgz()))) as server:
        told = get(tmp_path, server.url("/a"))
    assert any("has changed" in line for line in told)
    whole(tmp_path)


def test_pieces_that_do_not_belong_together(tmp_path: Path) -> None:
    """Seen only by the archive's checksum at the end; the next run begins from the start."""
    other = tgz()[:350_000] + bytes(reversed(tgz()[350_000:]))
    with serving(a=in_turn(content(tgz(), cuts=[300_000]), content(other), content(tgz()))) as server:
        with pytest.raises(WeightsError, match="broken archive"):
            get(tmp_path, server.url("/a"))
        assert listing(tmp_path) == []
        get(tmp_path, server.url("/a"))
        assert server.asked[-1] == ("/a", None)
    whole(tmp_path)


def test_changed_between_attempts(tmp_path: Path) -> None:
    """Only the version tells: the bytes that come twice are the same in both."""
    old = tgz()[:1000] + bytes(100) + tgz()[1100:]
    with serving(a=in_turn(content(old, etag='"old"', cuts=[300_000]), content(tgz(), etag='"new"'))) as server:
        get(tmp_path, server.url("/a"))
    whole(tmp_path)


def test_page_in_the_middle_does_not_cost_the_part(tmp_path: Path) -> None:
    page = fixed(200, PAGE, Content_Type="text/html")
    with serving(a=in_turn(content(tgz(), cuts=[300_000]), page, content(tgz()))) as server:
        with pytest.raises(DownloadError, match="neither"):
            get(tmp_path, server.url("/a"))
        server.asked.clear()
        get(tmp_path, server.url("/a"))
        assert server.asked == [("/a", "bytes=290816-")]
    whole(tmp_path)


def test_no_such_page_then_the_next_source(tmp_path: Path) -> None:
    with serving(b=content(tgz())) as server:
        told = get(tmp_path, server.url("/a"), server.url("/b"))
    assert f"{server.url('/a')}: 404 not found" in told
    whole(tmp_path)


def test_no_source_has_them(tmp_path: Path) -> None:
    """The user is told what is needed, and what can be done."""
    with serving(b=content(tgz()[:-9])) as server, pytest.raises(DownloadError) as caught:
        get(tmp_path, server.url("/a"), server.url("/b"))
    needed = [word for file in (FAST, ACCURATE) for word in (file.name, f"{file.size} bytes")]
    for word in (*needed, str(tmp_path), "--from"):
        assert word in str(caught.value)
    assert listing(tmp_path) == []


def test_nothing_listens_then_the_next_source(tmp_path: Path) -> None:
    with Server() as gone:
        nowhere = gone.url("/a")
    with serving(b=content(tgz())) as server:
        told = get(tmp_path, nowhere, server.url("/b"))
    assert any("can't connect" in line and "gave up after 3 attempts" in line for line in told)
    whole(tmp_path)


def test_busy_server(tmp_path: Path) -> None:
    with serving(a=in_turn(fixed(503, b"busy", Retry_After="0"), fixed(429), content(tgz()))) as server:
        get(tmp_path, server.url("/a"))
    whole(tmp_path)


def test_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overfeat_tools.download.fetch.FIRST_ATTEMPTS", 50)
    monkeypatch.setattr("overfeat_tools.download.transport.READ_SECONDS", 0.3)

    def silent(handler: Handler) -> None:
        time.sleep(1.0)
        handler.drop()

    with serving(a=in_turn(silent, content(tgz()))) as server:
        told = get(tmp_path, server.url("/a"))
    assert any("timed out" in line for line in told)
    whole(tmp_path)


def test_redirects(tmp_path: Path) -> None:
    moved = fixed(302, b"", Location="/b?dl=1")
    with serving(a=moved, **{"b?dl=1": content(tgz(), cuts=[300_000])}) as server:
        get(tmp_path, server.url("/a"))
        assert server.asked[-1] == ("/b?dl=1", "bytes=290816-")
    whole(tmp_path)


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        (fixed(302, b"", Location="/a"), "maximum allowed redirects"),
        (fixed(302, b"", Location="file:///etc/passwd"), "."),
        (fixed(302, b"", Location="http://[::"), "."),
        (fixed(404), "404 not found"),
        (fixed(403), "403 forbidden"),
        (fixed(204), "204"),
        (fixed(206, b"x" * 600), "206"),
        (fixed(500), "500 .*gave up after 3 attempts"),
        (fixed(200, PAGE, Content_Type="text/html"), "text/html of .* neither"),
        (fixed(200, PAGE, Content_Type="application/octet-stream"), "neither"),
        (fixed(200, b""), "neither"),
        (fixed(200, b'{"error": "quota"}' * 40), "neither"),
        (fixed(200, b"\xfd7zXZ\x00" + bytes(1000)), "neither"),
        (content(tgz(), headers={"Content-Length": "99999999999"}), "neither"),
        (content(tgz(), headers={"Content-Length": str(len(tgz()) + 9), "Connection": "close"}), "gave up"),
        (lambda handler: handler.wfile.write(b"SSH-2.0-x\r\n\r\n") or handler.drop(), "gave up"),
    ],
)
def test_no_weights_here(tmp_path: Path, route: object, reason: str) -> None:
    with serving(a=route) as server, pytest.raises(DownloadError, match=reason) as caught:  # type: ignore[arg-type]
        get(tmp_path, server.url("/a"))
    assert caught.value.exit_status == 5
    assert "\n" not in str(caught.value)
    assert not installed(tmp_path)
    assert set(remains(tmp_path)) <= set(UNFINISHED)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (gzip.compress(PAGE), "broken archive"),
        (tgz()[:400_000], "broken archive: (compressed|it is cut)"),
        (zipped()[:400_000], "not a zip"),
        (tgz()[:-6] + b"junk??", "broken archive"),
        (gzip.compress(b"hello"), "broken archive"),
    ],
    ids=["page", "tgz cut off", "zip cut off", "tgz with a damaged end", "no archive"],
)
def test_what_came_is_not_the_weights(tmp_path: Path, body: bytes, reason: str) -> None:
    with serving(a=content(body)) as server, pytest.raises(WeightsError, match=reason) as caught:
        get(tmp_path, server.url("/a"))
    assert caught.value.exit_status == 4
    assert listing(tmp_path) == []


def test_length_too_short(tmp_path: Path) -> None:
    with serving(a=content(tgz(), headers={"Content-Length": "400000"})) as server, pytest.raises(WeightsError):
        get(tmp_path, server.url("/a"))
    assert listing(tmp_path) == []


def test_encoded_though_not_asked_for(tmp_path: Path) -> None:
    """Servers say of a tgz that it is something encoded with gzip, or send a tar so."""
    with serving(a=content(tgz(), headers={"Content-Encoding": "gzip"})) as server:
        get(tmp_path, server.url("/a"))
    whole(tmp_path)


def test_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overfeat_tools.download.fetch._EXTRA_BYTES", 0)

    def endless(handler: Handler) -> None:
        handler.head(200, {"Connection": "close"})
        for _ in range(500):
            handler.wfile.write(b"\x1f\x8b" * 10_000)

    with serving(a=endless) as server, pytest.raises(DownloadError, match="too many"):
        get(tmp_path, server.url("/a"))
    assert ".part" not in remains(tmp_path)


def test_proxy_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        server.routes["http://weights.invalid/a"] = content(tgz())
        monkeypatch.setenv("HTTP_PROXY", server.url(""))
        get(tmp_path, "http://weights.invalid/a")
    whole(tmp_path)


def test_password_is_not_told(tmp_path: Path) -> None:
    with serving(a=content(tgz())) as server:
        told = get(tmp_path, server.url("/a").replace("//", "//me:secret@"))
    assert "secret" not in "".join(told)
    assert "secret" not in (tmp_path / "manifest.json").read_text()


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///x", "http://[::", "http://127.0.0.1:99999/", "http://a b/", "http://x..y/", "http://\udcff/"],
)
def test_address_that_makes_no_sense(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError) as caught:
        get(tmp_path, url)
    assert caught.value.exit_status == 5
    assert listing(tmp_path) == []


def test_folder_with_one_of_them(tmp_path: Path) -> None:
    with serving(net_weight_0=content(weights("net_weight_0"))) as server:
        with pytest.raises(DownloadError, match="404"):
            get(tmp_path, server.url("/"))
        assert not installed(tmp_path)
        server.routes["/net_weight_1"] = content(weights("net_weight_1"))
        server.asked.clear()
        get(tmp_path, server.url("/"))
        assert server.asked == [("/net_weight_1", None)]
    whole(tmp_path)
