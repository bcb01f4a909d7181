"""The PNM parser gives the same pictures however the bytes arrive, and never anything but its own errors."""

import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfeat_tools.errors import ImageError, StreamError
from overfeat_tools.pictures import pnm_header
from overfeat_tools.pictures.pnm import Picture, PnmParser
from tests import fuzz_pnm
from tests.fuzz_pnm import events

Array = npt.NDArray[np.generic]

Event = Picture | ImageError


def pictures(*chunks: bytes) -> list[Array]:
    """Parse a stream that must be whole."""
    found = list(events(chunks))
    assert all(isinstance(event, Picture) for event in found), found
    return [event.pixels for event in found if isinstance(event, Picture)]


def message_of(*chunks: bytes) -> str:
    """Parse a stream whose only event must be the error that ends it."""
    (event,) = events(chunks)
    assert isinstance(event, StreamError)
    return str(event)


def plain(found: Iterable[Event]) -> list[object]:
    """Make events comparable."""
    return [
        str(event) if isinstance(event, ImageError) else (event.pixels.dtype.str, event.pixels.tolist())
        for event in found
    ]


def samples(height: int, width: int, depth: int, maxval: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Give random samples 0..maxval, both ends among them."""
    values = np.random.default_rng(seed).integers(0, maxval + 1, (height, width, depth))
    values.flat[0], values.flat[-1] = maxval, 0
    return values


def raster(values: npt.NDArray[np.int64], maxval: int) -> bytes:
    """Give samples as bytes: two each, the high one first, above 255."""
    return values.astype(">u2" if maxval > 255 else "u1").tobytes()


def pam(values: npt.NDArray[np.int64], maxval: int, tuple_type: str) -> bytes:
    """Give samples as a P7 picture."""
    height, width, depth = values.shape
    kind = f"TUPLTYPE {tuple_type}\n" if tuple_type else ""
    head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL {maxval}\n{kind}ENDHDR\n"
    return head.encode() + raster(values, maxval)


MAXVALS = (1, 3, 15, 100, 255, 256, 1000, 65535)

# A stream with one of everything, and where each picture ends.
_PIECES = [
    b"P6 2 1 255 abcdef",
    b"\n\0 P5\n#one\n3 2\n255\n\0\1\2\3\4\5",
    b"P4\n9 2\n\xaa\x80\x55\x00",
    b"P6\n1 1\n65535\n\1\2\3\4\5\6\n",
    pam(samples(2, 2, 4, 255), 255, "RGB_ALPHA"),
    pam(samples(1, 2, 4, 255), 255, "CMYK"),
    b"P2 2 2 300\n0 #a\n5 299 # 7\r300\n",
    b"P3 1 1 255 1 2 3 ",
    b"P1 4 2 0101\n1 #0\n0 01",
    b"P5 2 2 15\n\0\5\n\x0f",
]
STREAM = b"".join(_PIECES)


def test_split_at_every_byte_and_byte_by_byte() -> None:
    whole = plain(events([STREAM]))
    assert len(whole) == len(_PIECES)
    assert plain(events(STREAM[i : i + 1] for i in range(len(STREAM)))) == whole
    for cut in range(len(STREAM)):
        assert plain(events([STREAM[:cut], STREAM[cut:]])) == whole


@given(st.lists(st.integers(0, len(STREAM))))
def test_split_at_random(cuts: list[int]) -> None:
    edges = sorted([0, len(STREAM), *cuts])
    assert plain(events(STREAM[a:b] for a, b in pairwise(edges))) == plain(events([STREAM]))


def test_each_picture_is_there_with_its_last_byte() -> None:
    """Not a byte later: a live stream is answered picture by picture."""
    parser = PnmParser()
    # A plain number is known to be whole by the blank behind it.
    ends = [len(b"".join(_PIECES[: count + 1]).rstrip(b"\n")) + (count == 6) for count in range(len(_PIECES) - 1)]
    ends[0], ends[1], ends[2] = (len(b"".join(_PIECES[:count])) for count in (1, 2, 3))
    came = []
    for offset in range(len(STREAM)):
        parser.feed(STREAM[offset : offset + 1])
        try:
            if parser.next_picture() is not None:
                came.append(offset + 1)
        except ImageError:
            came.append(offset + 1)
    assert came == [*ends, len(STREAM)]


def test_feeding_other_kinds_of_buffers() -> None:
    parser = PnmParser()
    parser.feed(bytearray(STREAM[:20]))
    parser.feed(memoryview(STREAM)[20:])
    parser.close()
    first = parser.next_picture()
    assert first is not None
    assert first.size == (2, 1)


def test_pictures_do_not_share_the_parsers_buffer() -> None:
    """The buffer is used again for what comes; a picture given away stays as it was."""
    parser = PnmParser()
    one = b"P5 2 2 255 abcd"
    parser.feed(one)
    first = parser.next_picture()
    assert first is not None
    kept = first.pixels.copy()
    for _ in range(50):
        parser.feed(b"P5 2 2 255 wxyz" * 100)
        while parser.next_picture():
            pass
    np.testing.assert_array_equal(first.pixels, kept)


# Formats.


@pytest.mark.parametrize("maxval", MAXVALS)
@pytest.mark.parametrize(("magic", "depth"), [(b"P5", 1), (b"P6", 3)])
def test_gray_and_colour(magic: bytes, depth: int, maxval: int) -> None:
    """Samples are scaled to 0..255, exactly where bytes do, else to the nearest float32."""
    values = samples(3, 5, depth, maxval)
    (pixels,) = pictures(b"%b\n5 3\n%d\n" % (magic, maxval) + raster(values, maxval))
    expected = np.broadcast_to(values, (3, 5, 3)) * 255 / maxval
    assert pixels.shape == (3, 5, 3)
    assert pixels.dtype == (np.uint8 if 255 % maxval == 0 else np.float32)
    np.testing.assert_allclose(pixels, expected, rtol=2e-7)


@pytest.mark.parametrize("maxval", MAXVALS)
@pytest.mark.parametrize(
    ("tuple_type", "depth"),
    [("GRAYSCALE", 1), ("GRAYSCALE_ALPHA", 2), ("RGB", 3), ("RGB_ALPHA", 4), ("", 1), ("", 2), ("", 3), ("", 4)],
)
def test_pam(tuple_type: str, depth: int, maxval: int) -> None:
    """Alpha is dropped; without a tuple type the depth tells what it is."""
    values = samples(3, 5, depth, maxval)
    (pixels,) = pictures(pam(values, maxval, tuple_type))
    colours = values[..., :1] if depth < 3 else values[..., :3]
    np.testing.assert_allclose(pixels, np.broadcast_to(colours, (3, 5, 3)) * 255 / maxval, rtol=2e-7)


@pytest.mark.parametrize(("tuple_type", "depth"), [("BLACKANDWHITE", 1), ("BLACKANDWHITE_ALPHA", 2)])
def test_pam_of_bits(tuple_type: str, depth: int) -> None:
    """In P7 a 1 is white, unlike in P4."""
    values = samples(3, 5, depth, 1)
    (pixels,) = pictures(pam(values, 1, tuple_type))
    np.testing.assert_array_equal(pixels, np.broadcast_to(values[..., :1] * 255, (3, 5, 3)))


def test_pam_header_lines() -> None:
    """Comments, empty lines, blanks, any order, a tuple type in pieces; and as netpbm's pamtopam writes it."""
    head = b"P7\n#x\n\n  # y\nTUPLTYPE RGB\nMAXVAL 255\n DEPTH\t3 \nTUPLTYPE stereo\nHEIGHT 1\nWIDTH  1\nENDHDR\n"
    (pixels,) = pictures(head + b"abc")
    assert pixels.tolist() == [[[97, 98, 99]]]


@given(st.integers(1, 40), st.integers(1, 5))
def test_bitmap(width: int, height: int) -> None:
    """A set bit is black; rows are filled up to whole bytes with bits that mean nothing."""
    bits = np.random.default_rng(width).integers(0, 2, (height, width))
    fill = np.ones((height, -width % 8), int)
    (pixels,) = pictures(b"P4 %d %d\n" % (width, height) + np.packbits(np.hstack([bits, fill]), axis=1).tobytes())
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.repeat(((1 - bits) * 255)[..., None], 3, axis=2))


@pytest.mark.parametrize("maxval", MAXVALS)
@pytest.mark.parametrize(("plain", "magic", "depth"), [(b"P2", b"P5", 1), (b"P3", b"P6", 3)])
def test_plain_gray_and_colour(plain: bytes, magic: bytes, depth: int, maxval: int) -> None:
    """The same picture as its binary twin, of the same type."""
    values = samples(3, 5, depth, maxval)
    text = b" ".join(b"%d" % value for value in values.flat)
    (pixels,) = pictures(b"%b\n5 3\n%d\n" % (plain, maxval) + text)
    (twin,) = pictures(b"%b\n5 3\n%d\n" % (magic, maxval) + raster(values, maxval))
    assert pixels.dtype == twin.dtype
    np.testing.assert_array_equal(pixels, twin)


@given(st.integers(1, 40), st.integers(1, 5), st.sampled_from([b"", b" ", b"\n", b"#x\n"]))
def test_plain_bitmap(width: int, height: int, between: bytes) -> None:
    """A 1 is black; nothing need stand between the digits."""
    bits = np.random.default_rng(width).integers(0, 2, (height, width))
    text = between.join(b"%d" % bit for bit in bits.flat)
    (pixels,) = pictures(b"P1 %d %d " % (width, height) + text)
    np.testing.assert_array_equal(pixels, np.repeat(((1 - bits) * 255)[..., None], 3, axis=2))


def test_plain_values_above_maxval_are_white() -> None:
    (pixels,) = pictures(b"P2 2 1 9 10 123456789012345678")
    assert pixels[..., 0].tolist() == [[255.0, 255.0]]


@pytest.mark.parametrize("fill", [b" " * 4096, b"#" * 4096, b"#\n" * 2048], ids=["blanks", "comment", "comments"])
def test_endless_text_is_refused(fill: bytes) -> None:
    """Between two samples may stand something, but not without end."""
    tracemalloc.start()
    try:
        assert "longer than" in message_of(*[b"P2 2 1 9 1 ", *[fill] * 1024])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_values_above_maxval_are_white() -> None:
    """The formats forbid them; programs write them; nothing above 255 may come out."""
    for maxval in MAXVALS:
        most = 255 if maxval <= 255 else 65535
        (pixels,) = pictures(b"P5 1 1 %d\n" % maxval + raster(np.array([[[most]]]), maxval))
        assert pixels.tolist() == [[[255.0] * 3]]


@pytest.mark.parametrize(
    "header",
    [
        b"P5#c\n2 1 255\n",
        b"P5\n#a\n#b\n2 1\n255\n",
        b"P5 2#c\n 1 255\n",
        b"P5 2#directly behind a number\n1\n255\n",
        b"P5 2#ends it, as a blank would\r1 255 ",
        b"P5\n2 1\n255#its line end is the blank before the raster\n",
        b"P5\n# " + b"long" * 100_000 + b"\n2 1 255\n",
        b"P5\r\n2 1\r\n255\n",
        b"P5\t2\v1\f255\r",
        b"P5 0002 01 000255 ",
        b"P5\n#\n# \xff\xfe\0 P6 3 3 255\n2 1 255\n",
    ],
    ids=range(11),
)
def test_comments_and_blanks(header: bytes) -> None:
    """Comments may stand anywhere before the raster; as netpbm and ImageMagick read them, each ends a number."""
    stream = b"\n" + header + b"ab"
    for chunks in ([stream], [stream[i : i + 1] for i in range(len(stream))] if len(stream) < 1000 else [stream]):
        (pixels,) = pictures(*chunks)
        assert pixels[..., 0].tolist() == [[97, 98]]


def test_blanks_and_nul_between_pictures() -> None:
    one = b"P5 1 1 255\n\n"  # a raster that is itself a line end
    assert len(pictures(b" \0\n" + one + b"\0" * 5000 + b"\r\n\t" + one + one + b"\n\n\0")) == 3
    assert pictures(b"") == []
    assert pictures(b"\n \0") == []


@pytest.mark.parametrize("fill", [b"\n", b"\0"])
def test_what_stands_between_pictures_is_bounded(fill: bytes) -> None:
    """To 64 KiB, before the first picture and behind each."""
    one = b"P5 1 1 255\na"
    assert len(pictures(fill * (1 << 16) + one + fill * (1 << 16) + one)) == 2
    for chunk in (1 << 10, 1 << 20):
        stream = one + fill * (1 << 17)
        found = list(events(stream[i : i + chunk] for i in range(0, len(stream), chunk)))
        assert [type(event) for event in found] == [Picture, StreamError]
        assert str(found[1]).startswith(f"byte {len(one) + (1 << 16)}: ")


# Broken streams.


@pytest.mark.parametrize("cut", range(1, 60))
def test_cut_off_anywhere(cut: int) -> None:
    """What came whole is given; then one error that names the offset and says that the stream ends."""
    stream = b"P6 2 1 255 abcdef" + pam(samples(1, 1, 3, 255), 255, "RGB")
    whole = list(events([stream[:cut]]))
    if cut == len(b"P6 2 1 255 abcdef"):
        assert len(whole) == 1
        return
    error = whole.pop()
    assert isinstance(error, StreamError)
    assert re.fullmatch(r"byte (\d+): the stream ends .*", str(error))
    assert str(error).startswith(f"byte {cut}:")
    assert len(whole) == (cut > 17)


@pytest.mark.parametrize(
    ("stream", "offset", "words"),
    [
        (b"P1 2 1 0 2", 9, "'2'"),
        (b"P2 2 1 9 0 -1", 11, "'-'"),
        (b"P2 2 1 9 0", 10, "ends before"),
        (b"P2 1 1 9 " + b"9" * 40, 9, "'9'"),
        (b"P3 1 1 1 0 0 P6", 13, "'P'"),
        (b"P1 100000 100000 ", 17, "100000x100000"),
        (b"\n\n\xff\xd8\xff\xe0", 2, "JPEG"),
        (b"\x89PNG\r\n\x1a\n", 0, "PNG"),
        (b"GIF89a", 0, "GIF"),
        (b"Pf\n1 1\n-1\n", 0, "PFM"),
        (b"hello", 0, "'he'"),
        (b"\n\n\0\0 hello", 5, "'he'"),
        (b"P8 1 1 255", 0, "'P8'"),
        (b"P5 x", 4, "'x'"),
        (b"P5 -1 1 255 ", 4, "'-'"),
        (b"P5 1.5 1 255 ", 5, "'.'"),
        (b"P5 1 1 0\na", 9, "maxval 0"),
        (b"P5 1 1 65536\na", 13, "maxval 65536"),
        (b"P6 1000000000 1000000000 255\n", 29, "1000000000x1000000000"),
        (b"P4 1000000000 1000000000 ", 25, "1000000000x1000000000"),
        (b"P5 99999999999999999999999 1 255\n", 14, "above"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nENDHDR\n", 35, "MAXVAL"),
        (b"P7\nENDHDR\n", 10, "lacks"),
        (b"P7\nWIDTH one\n", 13, "WIDTH"),
        (b"P7\nWIDTH -1\n", 12, "WIDTH"),
        (b"P7\nWIDTH 1 1\n", 13, "WIDTH"),
        (b"P7\nHEIGHT\n", 10, "HEIGHT"),
        (b"P7\nWIDTH \xb2\n", 11, "WIDTH"),
        (b"P7\nCOLOUR 1\n", 12, "COLOUR"),
        (b"P7 332\n", 7, "332"),
        (b"P7\nWIDTH 100000\nHEIGHT 100000\nDEPTH 1\nMAXVAL 1\nENDHDR\n", 55, "100000x100000"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1000000\nMAXVAL 1\nENDHDR\n", 51, "depth 1000000"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 0\nMAXVAL 1\nENDHDR\n", 45, "depth 0"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 70000\nENDHDR\n", 49, "maxval 70000"),
    ],
)  # fmt: skip
def test_refusals(stream: bytes, offset: int, words: str) -> None:
    """One line, with the offset near the fault and what was found, however the bytes come."""
    message = message_of(stream)
    assert words in message
    assert "\n" not in message
    named = int(message.removeprefix("byte ").partition(":")[0])
    assert abs(named - offset) <= 1
    assert message_of(*[stream[i : i + 1] for i in range(len(stream))]) == message


def test_an_error_stays() -> None:
    """Bytes behind the fault can't be trusted, whatever they look like."""
    parser = PnmParser()
    for data in (b"junk", b"P5 1 1 255 a"):
        parser.feed(data)
        with pytest.raises(StreamError, match="byte 0"):
            parser.next_picture()


@pytest.mark.parametrize(
    "start",
    [
        b"P5\n#",
        b"P5 ",
        b"P5 0",
        b"P5 1 1",
        b"P7\n",
        b"P7\n#",
    ],
    ids=["comment", "blanks", "zeros", "blanks behind", "empty lines", "comment line"],
)
def test_endless_headers_are_refused(start: bytes) -> None:
    """A header of more than 1 MiB is none."""
    fill = b"0" if start.endswith(b"0") else b"#" if start.endswith(b"#") else b"\n" if start == b"P7\n" else b" "
    assert "longer than" in message_of(*[start, *[fill * 4096] * 260, b"\n"])


def test_an_endless_comment_is_not_kept() -> None:
    tracemalloc.start()
    try:
        message_of(*[b"P5\n#", *[b"#" * 4096] * 512, b"\n"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_many_tuple_types_are_refused() -> None:
    """A P7 header counts as a whole, not line by line."""
    assert "longer than" in message_of(b"P7\n" + b"TUPLTYPE RGB\n" * 200_000)


def test_nothing_is_allocated_for_what_is_refused() -> None:
    tracemalloc.start()
    try:
        message_of(b"P6 1000000000 1000000000 65535\n" + b"x" * 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_no_memory_for_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound allows 805 MB; where they can't be had, that is an error of the picture, not of the program."""

    def none_left(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("overfeat_tools.pictures.pnm.np.empty", none_left)
    found = list(events([b"P6 16384 8192 65535\n", b"abc"]))
    assert [isinstance(event, ImageError) for event in found] == [True]


@pytest.mark.parametrize(
    "stream",
    [
        b"P6 0 5 255\n",
        b"P6 5 0 255\n",
        b"P4 0 5\n",
        b"P4 5 0\n",
        b"P5 0 0 65535\n",
        b"P6 2147483647 0 255\n",
        b"P6 2147483647 0 65535\n",
        b"P4 2147483647 0\n",
        b"P4 0 2147483647\n",
        b"P7\nWIDTH 9999999999\nHEIGHT 0\nDEPTH 8\nMAXVAL 65535\nENDHDR\n",
    ],
)
def test_pictures_without_pixels(stream: bytes) -> None:
    """They are of no use, but the stream is whole: the next picture counts."""
    found = list(events([stream + b"P5 1 1 255\na"]))
    assert len(found) == 2
    assert isinstance(found[1], Picture)
    assert not isinstance(found[0], StreamError)
    assert isinstance(found[0], ImageError) or found[0].pixels.size == 0


def test_other_tuple_types_are_skipped() -> None:
    """CMYK can't be used; the pictures behind it can."""
    good = b"P5 1 1 255\na"
    for values, kind in (
        (samples(2, 2, 4, 255), "CMYK"),
        (samples(2, 2, 5, 1000), "CMYK_ALPHA"),
        (samples(2, 2, 5, 255), ""),
        (samples(2, 2, 1, 255), "RGB"),
        (samples(2, 2, 3, 255), "RGB_ALPHA"),
        (samples(2, 2, 1, 255), "RGBA\x1b[31m\u00e9"),
    ):
        found = list(events([good + pam(values, int(values.max()), kind) + good]))
        assert [type(event) for event in found] == [Picture, ImageError, Picture]
        assert "\n" not in str(found[1])


TOKENS = [
    b"P4", b"P5", b"P6", b"P7", b"P3", b"P2", b"P1",
    b"\n", b" ", b"#", b"0", b"1", b"2", b"3", b"9", b"255", b"256", b"65535",
    b"99999", b"\0", b"\r", b"WIDTH 1\n", b"WIDTH ", b"HEIGHT 2\n", b"DEPTH 4\n", b"MAXVAL 255\n",
    b"TUPLTYPE RGB_ALPHA\n", b"TUPLTYPE\n", b"ENDHDR\n", b"\xff", b"abcdef",
]  # fmt: skip


@given(st.lists(st.sampled_from(TOKENS) | st.binary(max_size=6), max_size=40), st.integers(1, 20))
def test_anything_may_come(tokens: list[bytes], step: int) -> None:
    """Whatever the bytes, nothing but the parser's own errors comes out, and the same in every cut."""
    stream = b"".join(tokens)
    whole = plain(events([stream]))
    assert plain(events(stream[i : i + step] for i in range(0, len(stream), step))) == whole


def test_a_sample_of_the_fuzzing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The saved inputs of `python -m tests.fuzz_pnm`, and some more; plain pictures of 16-bit type were found so."""
    monkeypatch.setattr(pnm_header, "MAX_PIXELS", fuzz_pnm.MAX_PIXELS)
    for data in [*fuzz_pnm.corpus(), *map(fuzz_pnm.generated, range(1000))]:
        fuzz_pnm.check(data)


def test_work_grows_with_the_stream_only() -> None:
    """Counted in interpreted lines, not in seconds: twice the pictures, in one feed, are twice the lines."""

    def lines(count: int) -> int:
        parser, counted = PnmParser(), 0
        parser.feed(b"P5 4 4 255\n" + b"\0" * 16 + (b"P5 4 4 255\n" + b"\0" * 16) * (count - 1))
        parser.close()

        def trace(*_: object) -> object:
            nonlocal counted
            counted += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)  # type: ignore[arg-type]
        try:
            while parser.next_picture():
                pass
        finally:
            sys.settrace(before)
        return counted

    assert lines(400) < 2.2 * lines(200)


def test_a_large_feed_of_small_pictures() -> None:
    """20,000 pictures in one feed: would take very long if each cost a copy of the rest."""
    one = b"P5 1 1 255\na"
    assert len(pictures(one * 20_000)) == 20_000


# What real programs write.


def run(*command: str | Path, data: bytes = b"") -> bytes:
    """Run a program that must succeed; give what it prints."""
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True, timeout=60).stdout


def needs(program: str) -> pytest.MarkDecorator:
    """Skip where a program is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


needs_imagemagick = pytest.mark.skipif(not Path("/usr/bin/convert").exists(), reason="ImageMagick is not installed")
GRADIENT = np.arange(48, dtype=np.int64).reshape(4, 4, 3) * 5
PPM = b"P6\n4 4\n255\n" + raster(GRADIENT, 255)


@needs("pnmtopng")
@needs("pngtopnm")
def test_netpbm_there_and_back() -> None:
    (pixels,) = pictures(run("pngtopnm", data=run("pnmtopng", "-quiet", data=PPM)))
    np.testing.assert_array_equal(pixels, GRADIENT)


@needs("pamdepth")
@pytest.mark.parametrize("maxval", [1, 3, 15, 100, 1000, 65535])
def test_netpbm_depths(maxval: int) -> None:
    (pixels,) = pictures(run("pamdepth", "-quiet", str(maxval), data=PPM))
    assert np.abs(pixels.astype(float) - GRADIENT).max() <= 255 / maxval / 2 + 1


@needs("pamtopam")
@needs("ppmtopgm")
def test_netpbm_kinds() -> None:
    pam_of_colour, gray = run("pamtopam", data=PPM), run("ppmtopgm", data=PPM)
    assert pam_of_colour.startswith(b"P7")
    both = pictures(pam_of_colour + gray + PPM)
    np.testing.assert_array_equal(both[0], GRADIENT)
    np.testing.assert_array_equal(both[2], GRADIENT)
    assert np.ptp(both[1], axis=2).max() == 0


@needs("ffmpeg")
@pytest.mark.parametrize(
    ("codec", "pixels"),
    [("ppm", "rgb24"), ("ppm", "rgb48be"), ("pgm", "gray"), ("pgm", "gray16be"), ("pam", "rgba"), ("pam", "gray")],
)
def test_ffmpeg(codec: str, pixels: str) -> None:
    """A stream of frames, as a camera gives it."""
    source = ["-f", "lavfi", "-i", "testsrc=size=20x10:rate=5:duration=1"]
    stream = run("ffmpeg", "-v", "error", *source, "-pix_fmt", pixels, "-f", "image2pipe", "-vcodec", codec, "-")
    found = pictures(stream)
    assert [picture.shape for picture in found] == [(10, 20, 3)] * 5
    assert all(np.ptp(picture) > 200 for picture in found)


@needs_imagemagick
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("kind", ["ppm", "pgm", "pam"])
def test_imagemagick_depths(depth: int, kind: str) -> None:
    (pixels,) = pictures(run("/usr/bin/convert", "ppm:-", "-depth", str(depth), f"{kind}:-", data=PPM))
    gray = GRADIENT if kind != "pgm" else GRADIENT.mean(axis=2, keepdims=True)
    assert np.abs(pixels.astype(float) - gray).max() <= 255 / (2**depth - 1) + 4  # it rounds down


@needs_imagemagick
def test_imagemagick_with_a_comment() -> None:
    stream = run("/usr/bin/convert", "ppm:-", "-set", "comment", "a comment of\ntwo lines # with", "ppm:-", data=PPM)
    (pixels,) = pictures(stream)
    np.testing.assert_array_equal(pixels, GRADIENT)


@needs_imagemagick
def test_imagemagick_many() -> None:
    """Bitmaps, and gray that 16 bits need, one behind the other."""
    bits = run("/usr/bin/convert", "ppm:-", "-monochrome", "pbm:-", data=PPM)
    assert bits.startswith(b"P4")
    deep = run("/usr/bin/convert", "ppm:-", "-depth", "16", "-alpha", "set", "pam:-", data=PPM)
    assert [picture.shape for picture in pictures(bits + deep + PPM)] == [(4, 4, 3)] * 3
