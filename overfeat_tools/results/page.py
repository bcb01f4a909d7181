"""One HTML page of all results, to be looked at: thumbnails, classes with bars, failures.

It is written entry by entry, and nothing of an entry is kept.  The entries stand directly in the body, whose end tag
may be left out: so the page is a valid one wherever it ends between two of them.  It fetches nothing, and a content
security policy lets it run no script but its own.
"""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template

from overfeat_tools.backend import Array
from overfeat_tools.cli.streams import printable
from overfeat_tools.networks.classes import Class
from overfeat_tools.pictures.thumbnail import thumbnail

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels of the picture."""

_LEAST_SHOWN = 0.0005


@dataclass(frozen=True)
class Row:
    """A line of an entry: a class and its probability, and where in the picture it is, if that is known."""

    what: Class
    probability: float
    box: Box | None = None


def page_head(title: str, note: str) -> bytes:
    """Write the page's beginning, up to the first entry."""
    data = resources.files("overfeat_tools.results") / "data"
    template, style, script = ((data / f"page.{form}").read_text("utf-8") for form in ("html", "css", "js"))
    own_script = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{own_script}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(template).substitute(
        policy=policy, title=_text(title), note=_text(note), style=style, script=script
    ).encode()  # fmt: skip


def page_entry(place: str, pixels: Array, rows: Sequence[Row], warning: str | None = None, side: int = 192) -> bytes:
    """Write what there is to see of a picture.

    Parameters
    ----------
    place : str
        What it is called.
    pixels : array (H, W, 3), uint8 or float32
        The picture, of which a thumbnail is made.
    rows : sequence of Row
        Best first.
    warning : str, optional
        What is wrong with it.
    side : int
        The longest side of the thumbnail.
    """
    best = f' data-best="{_text(rows[0].what.wnid)}" data-probability="{rows[0].probability:g}"' if rows else ""
    jpeg, width, height = thumbnail(pixels, side)
    boxes = [row.box for row in rows if row.box]
    warned = f'<p class="warning">{_text(warning)}</p>\n' if warning else ""
    kind = ' class="boxed"' if boxes else ""
    told = f"<ol{kind}>\n{''.join(map(_row, rows))}</ol>\n" if rows else "<p>No class is so probable.</p>\n"
    return (
        f'<article{best}>\n<h2 dir="auto">{_text(place)}</h2>\n'
        f'<figure><img alt="" loading="lazy" decoding="async" width="{width}" height="{height}" '
        f'src="data:image/jpeg;base64,{b64encode(jpeg).decode()}">{_drawn(boxes, pixels, width, height)}</figure>\n'
        f"{warned}{told}</article>\n"
    ).encode()


def page_failure(place: str, error: str) -> bytes:
    """Write an entry for a picture that can't be used."""
    return f'<article>\n<h2 dir="auto">{_text(place)}</h2>\n<p class="error">{_text(error)}</p>\n</article>\n'.encode()


def page_end(answered: int, failed: int) -> bytes:
    """Write what comes after all entries."""
    return f"<footer><p>Pictures answered: {answered}; failed: {failed}.</p></footer>\n</body>\n</html>\n".encode()


def _text(text: str) -> str:
    """Write text for HTML; what can't be seen, and what HTML can't hold, is escaped as Python does."""
    return escape(printable(text).encode("utf-8", "backslashreplace").decode())


def _row(row: Row) -> str:
    percent = f"{100 * row.probability:.1f} %" if not row.probability < _LEAST_SHOWN else "under 0.1 %"
    where = "<small>from {:.0f}, {:.0f} to {:.0f}, {:.0f}</small>".format(*row.box) if row.box else ""
    return (
        f'<li style="--share:{row.probability:.4g}"><span title="{_text(row.what.wnid)}">{_text(row.what.name)}</span> '
        f'<data value="{row.probability:g}">{percent}</data>{where}</li>\n'
    )


def _drawn(boxes: Sequence[Box], pixels: Array, width: int, height: int) -> str:
    """Draw boxes over a thumbnail, with their numbers, the best above the others."""
    if not boxes:
        return ""
    across, down = width / pixels.shape[1], height / pixels.shape[0]
    shapes = []
    for number, (x0, y0, x1, y1) in reversed(list(enumerate(boxes, start=1))):
        left, top = x0 * across, y0 * down
        place = f'x="{left:.1f}" y="{top:.1f}" width="{(x1 - x0) * across:.1f}" height="{(y1 - y0) * down:.1f}"'
        label = f'<text paint-order="stroke" x="{left + 5:.1f}" y="{top + 16:.1f}">{number}</text>'
        shapes.append(f'<rect class="edge" {place}/><rect {place}/>{label}')
    return f'<svg viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(shapes)}</svg>'
