"""Archives that mean harm, or are broken.

Whatever is in them: the right weights are installed or nothing is, nothing is written elsewhere,
and little memory is used.
"""

import functools
import gzip
import hashlib
import io
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from overfeat_tools.download.sources import WeightFile
from overfeat_tools.download.verification import check
from overfeat_tools.errors import OverfeatError, WeightsError
from tests.loopback import FAST, FILES, get, installed, listing, tar_of, tgz, weights, zipped

RIGHT = {f"data/{file.name}": weights(file.name) for file in FILES}
FIRST, SECOND = FILES


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info.tobuf(tarfile.GNU_FORMAT)


def special(kind: bytes, link: str = "") -> bytes:
    return b"".join(header(file.name, kind=kind, link=link) for file in FILES) + bytes(1024)


def after(*headers: bytes) -> bytes:
    return b"".join(headers) + tar_of(RIGHT)


def pax(size: int) -> bytes:
    return header("x", size, tarfile.XHDTYPE)


@functools.cache
def packed_zeros(size: int) -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    out = b"".join(pack.compress(bytes(1 << 20)) for _ in range(size >> 20))
    return out + pack.flush()


def sparse_chain() -> bytes:
    """Make a sparse member whose map has no end."""
    block = bytearray(header("net_weight_0", FIRST.size, tarfile.GNUTYPE_SPARSE))
    block[482] = 1  # the map goes on in the next block
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    more = b"%011o\0%011o\0" % (1, 1) * 21 + b"\1" + bytes(7)
    return bytes(block) + more * 40_000


def new_sparse() -> bytes:
    """Make a sparse member of the newer kind, with a map of a million entries."""
    fields = b"".join(
        b"%d %s\n" % (len(record) + 4, record)
        for record in (b"GNU.sparse.major=1", b"GNU.sparse.minor=0", b"GNU.sparse.name=net_weight_0")
    )
    pairs = b"1000000\n" + b"%030d\n" % 1 * 100_000
    return pax(len(fields)) + fields.ljust(512, b"\0") + header("net_weight_0", 1 << 23) + pairs


def zip_with(change: Callable[[zipfile.ZipInfo], None], method: int = zipfile.ZIP_DEFLATED, folder: str = "") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file in FILES:
            info = zipfile.ZipInfo(folder + file.name)
            info.compress_type = method
            archive.writestr(info, weights(file.name))
            change(info)
    return out.getvalue()


def set_fields(**fields: int) -> Callable[[zipfile.ZipInfo], None]:
    def change(info: zipfile.ZipInfo) -> None:
        for name, value in fields.items():
            setattr(info, name, value)

    return change


def doubled_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for folder in "ab":
            for file in FILES:
                archive.writestr(f"{folder}/{file.name}", weights(file.name))
    return out.getvalue()


HARMFUL: dict[str, Callable[[], bytes]] = {
    "links to a file": lambda: special(tarfile.SYMTYPE, "/etc/passwd"),
    "hard links": lambda: special(tarfile.LNKTYPE, "../../etc/passwd"),
    "devices": lambda: special(tarfile.CHRTYPE),
    "pipes": lambda: special(tarfile.FIFOTYPE),
    "folders": lambda: special(tarfile.DIRTYPE),
    "wrong size": lambda: tar_of({**RIGHT, f"data/{SECOND.name}": weights(SECOND.name)[:-4]}),
    "wrong size by one byte more": lambda: tar_of({**RIGHT, f"data/{SECOND.name}": weights(SECOND.name) + b"\0"}),
    "names exchanged": lambda: tar_of({FIRST.name: weights(SECOND.name), SECOND.name: weights(FIRST.name)}),
    "huge size": lambda: header("net_weight_0", 1 << 40) + bytes(9000),
    "negative size": lambda: header("net_weight_0").replace(b"00000000000\0", b"\xff" * 12, 1) + bytes(1024),
    "cut short": lambda: tar_of(RIGHT)[:300_000],
    "bomb before": lambda: packed_zeros(96 << 20),
    "bomb of a member": lambda: gzip.compress(header("zeros", 1 << 33), 1) + packed_zeros(96 << 20),
    "header of 8 GB": lambda: gzip.compress(pax(1 << 33)) + packed_zeros(96 << 20),
    "long name of 8 GB": lambda: gzip.compress(header("x", 1 << 33, tarfile.GNUTYPE_LONGNAME)) + packed_zeros(96 << 20),
    "header of 3 MB": lambda: pax(3 << 20) + b"9 a=b\n".ljust(3 << 20, b"x") + header("net_weight_0", FIRST.size),
    "long name of 3 MB": lambda: header("x", 3 << 20, tarfile.GNUTYPE_LONGNAME) + b"x" * (3 << 20) + header("y"),
    "headers for headers": lambda: (pax(10) + b"10 a=bcde\n".ljust(512, b"\0")) * 3000 + header("y"),
    "sparse": sparse_chain,
    "newer sparse": new_sparse,
    "many members": lambda: b"".join(header(f"{number}") for number in range(4000)) + tar_of(RIGHT),
    "nothing": lambda: tar_of({}),
    "zip: wrong size": lambda: zip_with(set_fields(file_size=FIRST.size - 1)),
    "zip: grows": lambda: zip_with(set_fields(file_size=FIRST.size, compress_size=1 << 31)),
    "zip: encrypted": lambda: zip_with(set_fields(flag_bits=1)),
    "zip: another method": lambda: zip_with(lambda _: None, zipfile.ZIP_LZMA),
    "zip: wrong checksum": lambda: zip_with(set_fields(CRC=1)),
    "zip: offset outside": lambda: zip_with(set_fields(header_offset=1 << 30)),
    "zip: overlapping": lambda: zip_with(set_fields(header_offset=0)),
    "zip: large table of contents": lambda: b"PK\3\4" + bytes(3 << 20)
    + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 3 << 20, 4, 0),
    "zip: cut short": lambda: zipped()[:-30],
    "zip within gzip": lambda: gzip.compress(zipped()),
    "gzip within gzip within gzip": lambda: gzip.compress(gzip.compress(tgz())),
    "gzip of nothing": lambda: gzip.compress(b""),
    "head of gzip": lambda: b"\x1f\x8b",
    "empty": lambda: b"",
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("download_surroundings")


@pytest.mark.parametrize("kind", HARMFUL)
def test_harmful(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "archive"
    path.write_bytes(HARMFUL[kind]())
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError) as caught:
            get(tmp_path / "w", str(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert listing(tmp_path / "w") == []
    assert listing(tmp_path) == ["archive", "w"]
    assert peak < 48 << 20


HARMLESS: dict[str, Callable[[], bytes]] = {
    "links first": lambda: after(*(header(file.name, kind=tarfile.SYMTYPE, link="/etc/passwd") for file in FILES)),
    "other things": lambda: after(
        header("../../evil", 5) + b"evil!".ljust(512, b"\0"), header("/dev/x", kind=tarfile.CHRTYPE)
    ),
    "from the root": lambda: tar_of({f"/etc/{file.name}": weights(file.name) for file in FILES}),
    "climbing": lambda: tar_of({f"../../../../{file.name}": weights(file.name) for file in FILES}),
    "resource forks": lambda: tar_of({"data/._net_weight_0": b"Mac OS X", **RIGHT}),
    "rubbish at the end": lambda: tar_of(RIGHT) + b"rubbish" * 1000,
    "padded gzip": lambda: tgz() + bytes(5000),
    "two gzip members": lambda: gzip.compress(tar_of(RIGHT)[:200_000]) + gzip.compress(tar_of(RIGHT)[200_000:]),
    "twice": lambda: tar_of({**RIGHT, "again/net_weight_0": weights("net_weight_0")}),
    "zip: links": lambda: zip_with(set_fields(create_system=3, external_attr=0o120777 << 16)),
    "zip: devices": lambda: zip_with(set_fields(create_system=3, external_attr=0o020777 << 16)),
    "zip: twice": doubled_zip,
    "zip: climbing": lambda: zip_with(lambda _: None, folder="..\\../..\\"),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_odd_but_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "archive"
    path.write_bytes(HARMLESS[kind]())
    get(tmp_path / "a" / "b" / "w", str(path))
    assert installed(tmp_path / "a" / "b" / "w") == {"net_weight_0", "net_weight_1"}
    assert listing(tmp_path) == ["a", "archive"]
    assert listing(tmp_path / "a") == ["b"]
    assert listing(tmp_path / "a" / "b") == ["w"]


@pytest.mark.parametrize("body", [tgz(), zipped(), tar_of(RIGHT)], ids=["tgz", "zip", "tar"])
def test_any_bytes_changed(tmp_path: Path, body: bytes) -> None:
    """Every damage is noticed; a plain tar has no checksum, so there it takes --sha256."""
    pins = frozenset(hashlib.sha256(weights(file.name)).hexdigest() for file in FILES)
    chance = random.Random(3)  # noqa: S311
    path = tmp_path / "archive"
    for _ in range(60):
        changed = bytearray(body)
        where = chance.choice((600, len(body), 200))
        for _ in range(chance.choice((1, 3))):
            place = chance.randrange(where) if where != 200 else len(body) - 1 - chance.randrange(where)
            changed[place] = chance.randrange(256)
        path.write_bytes(changed[: chance.choice((len(body), len(body), chance.randrange(len(body))))])
        try:
            get(tmp_path / "w", str(path), pins=pins)
        except OverfeatError as error:
            assert error.exit_status == 4  # noqa: PT017 -- most of them fail, but not all
            installed(tmp_path / "w")  # one of them, where the other's name was changed
        else:
            assert installed(tmp_path / "w") == {"net_weight_0", "net_weight_1"}
        assert ".download" not in listing(tmp_path / "w")
        for left in (tmp_path / "w").iterdir():
            left.unlink()


BIG = WeightFile("big", "net_weight_0", [(512, 512, 1, 1), (8, 512, 1, 1)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda body: body[::-1], "kernels of convolution 1 have .* (nan|inf|e)"),
        (lambda body: b"\0" + body[:-1], "kernels of convolution 1"),
        (lambda body: bytes(len(body)), "kernels of convolution 1 .* zeros"),
        (lambda body: b"\1\0\0\0" * (len(body) // 4), "mean square of 0$"),
        (lambda body: b"<html>lo" * (len(body) // 8), "kernels of convolution 1"),
        (lambda body: body[:8000] + b"\0\0\xc0\x7f" + body[8004:], "mean square of nan"),
        (lambda body: body[:-4] + b"\0\0\x80\x7f", "biases of convolution 2 .* inf"),
        (lambda body: body[:-4] + b"\0\0\0\x7f", "biases of convolution 2 have"),
        (lambda body: body[:1000] + bytes(1 << 20) + body[1000 + (1 << 20) :], "kernels of convolution 1 .* zeros"),
        (lambda body: body + b"\0", "expected"),
        (lambda body: body[:-1], "expected"),
    ],
)
def test_what_does_not_look_like_weights(tmp_path: Path, change: Callable[[bytes], bytes], reason: str) -> None:
    body = np.random.default_rng(1).normal(0, 0.02, BIG.size // 4).astype("<f4").tobytes()
    path = tmp_path / BIG.name
    path.write_bytes(body)
    assert check(path, BIG, {}, frozenset()) == hashlib.sha256(body).hexdigest()
    path.write_bytes(change(body))
    with pytest.raises(WeightsError, match=reason):
        check(path, BIG, {}, frozenset())


@pytest.mark.parametrize("first", [b"<", b"\n<", b"\xef\xbb\xbf<", b" <!D"])
def test_weights_may_begin_with_any_byte(tmp_path: Path, first: bytes) -> None:
    """A weight file that begins as a web page does is still one."""
    body = first + weights(FAST.name)[len(first) :]
    (tmp_path / "it").write_bytes(body)
    get(tmp_path / "w", str(tmp_path / "it"), files=(FAST,))
    assert (tmp_path / "w" / FAST.name).read_bytes() == body
