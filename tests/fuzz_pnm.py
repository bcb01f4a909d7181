"""Fuzz the PNM parser: `python -m tests.fuzz_pnm [--runs N] [--seconds S] [--seed K]`.

Whatever comes, and however it is split, the parser gives the same pictures and errors, raises
nothing but its own, and takes memory in proportion.  With atheris installed, coverage leads the way,
starting from the saved corpus; else streams are put together from pieces at random.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

try:
    import atheris
except ImportError:
    atheris = None

if TYPE_CHECKING:
    from overfeat_tools.errors import ImageError
    from overfeat_tools.pictures.pnm import Picture

CORPUS = Path(__file__).parent / "fuzz_corpus" / "pnm.txt"
MAX_PIXELS = 1 << 12
"""The parser's bound while it is fuzzed: an input must not cost more than it can teach."""

_PIECES = [
    b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"P5 1 1 255\na", b"P6\n2 1\n255\nabcdef", b"P4 9 1\nab",
    b"P2 2 1 9 1 2 ", b"P1 3 1 011", b"\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\n", b"TUPLTYPE RGB_ALPHA\n",
    b"ENDHDR\n", b"#", b"# x\n", b"\n", b" ", b"\r", b"\0", b"0", b"1", b"2", b"3", b"8", b"255", b"256", b"65535",
    b"65536", b"2147483647", b"99999999999999999999", b"-1", b"a", b"\xff", b"WIDTH", b"DEPTH 3\n", b"\0" * 40,
]  # fmt: skip


def corpus() -> list[bytes]:
    """Give the saved inputs."""
    return [bytes.fromhex(line) for line in CORPUS.read_text().split()]


def events(chunks: Iterable[bytes]) -> Iterator["Picture | ImageError"]:
    """Feed a parser and give what comes out of it, the error that ended it last."""
    from overfeat_tools.errors import ImageError, StreamError
    from overfeat_tools.pictures.pnm import PnmParser

    parser = PnmParser()
    for chunk in [*chunks, None]:
        if chunk is None:
            parser.close()
        else:
            parser.feed(chunk)
        while True:
            try:
                picture = parser.next_picture()
            except ImageError as error:
                yield error
                if isinstance(error, StreamError):
                    return
                continue
            if picture is None:
                break
            yield picture


def _told(chunks: Iterable[bytes]) -> Iterator[object]:
    """Check what comes out, and make it comparable."""
    for event in events(chunks):
        if isinstance(event, Exception):
            yield str(event)
            continue
        pixels = event.pixels
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
        assert pixels.dtype in (np.uint8, np.float32)
        assert not pixels.size or 0 <= pixels.min() <= pixels.max() <= 255
        yield pixels.shape, pixels.dtype.str, pixels.tobytes()


def check(data: bytes) -> None:
    """Parse a stream whole and in pieces."""
    whole = list(_told([data]))
    step = 1 + len(data) % 7
    pieces = list(_told(data[i : i + step] for i in range(0, len(data), step)))
    assert pieces == whole, (whole, pieces)


def generated(seed: int) -> bytes:
    """Put a stream together."""
    draw = random.Random(seed)  # noqa: S311 -- nothing secret
    return b"".join(draw.choice(_PIECES) for _ in range(draw.randrange(1, 14)))


def _loop(runs: int, seconds: float, seed: int) -> None:
    end = time.monotonic() + seconds
    for number in range(runs):
        if time.monotonic() > end:
            break
        check(generated(seed + number))
    sys.stdout.write(f"{number + 1} inputs, no fault\n")


def main() -> None:
    """Fuzz until the runs or the time are over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000_000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="where atheris keeps what it finds (default: nowhere)")
    options = parser.parse_args()
    if atheris is None:
        from overfeat_tools.pictures import pnm_header

        pnm_header.MAX_PIXELS = MAX_PIXELS
        for data in corpus():
            check(data)
        _loop(options.runs, options.seconds, options.seed)
        return
    with atheris.instrument_imports(include=["overfeat_tools.pictures"]):
        from overfeat_tools.pictures import pnm_header

        pnm_header.MAX_PIXELS = MAX_PIXELS
    arguments = [f"-runs={options.runs}", f"-seed={options.seed}", f"-max_total_time={int(options.seconds)}"]
    folders = [options.folder] if options.folder else []
    target: Callable[[bytes], None] = check
    atheris.Setup([sys.argv[0], *arguments, "-max_len=300", "-rss_limit_mb=1024", *folders], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
