"""What of-locate prints: boxes, pictures with boxes, or maps of a class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from overfeat_tools import cli
from overfeat_tools.commands.record_printer import OnPage, RecordPrinter
from overfeat_tools.networks.classes import Class
from overfeat_tools.networks.localize import Windows
from overfeat_tools.pictures import Item
from overfeat_tools.results import boxes

if TYPE_CHECKING:
    from overfeat_tools.commands.locate import Options

# Boxes in a thumbnail need more room than a class.
_THUMBNAIL_SIDE = 320


class BoxPrinter(RecordPrinter):
    """Prints the boxes of each picture as text, tsv or JSON."""

    heading = boxes.TSV_HEADING
    options: "Options"

    def __init__(self, options: "Options", classes: Sequence[Class], wanted: Class | None) -> None:
        self.options, self.classes, self.wanted = options, classes, wanted

    def located(self, windows: Windows) -> list[boxes.Located]:
        """Find the boxes that are asked for."""
        wanted = () if self.wanted is None else (self.wanted,)
        return boxes.locate(windows, self.classes, self.options.count, self.options.threshold, wanted)

    def answer(self, item: Item, windows: Windows) -> None:
        """Print a picture's boxes."""
        found = self.located(windows)
        match self.options.form:
            case "text":
                cli.write(boxes.boxes_text(found))
            case "tsv":
                cli.write(boxes.boxes_tsv(found, item.number, item.file))
            case "json":
                size = {"width": windows.width, "height": windows.height}
                cli.write(boxes.boxes_json(found, item.number, item.file, **size, **item.told))


class Drawer(BoxPrinter):
    """Prints each picture with its boxes."""

    def answer(self, item: Item, windows: Windows) -> None:
        """Print a picture; names are cut at the first comma."""
        from overfeat_tools.pictures.boxes import with_boxes

        named = [(f"{box.what.name.split(',')[0]} {box.probability:.2f}", box.edges) for box in self.located(windows)]
        if item.pixels is not None:
            cli.write(boxes.pnm(with_boxes(item.pixels, named)))


class Mapper(BoxPrinter):
    """Prints for each picture where a class is."""

    def answer(self, item: Item, windows: Windows) -> None:  # noqa: ARG002 -- the map has all that is needed
        """Print a map."""
        from overfeat_tools.pictures.boxes import enlarged
        from overfeat_tools.pictures.thumbnail import to_bytes

        support = windows.support_map(None if self.wanted is None else self.wanted.index)
        cli.write(boxes.pnm(to_bytes(enlarged(support, windows.height, windows.width) * np.float32(255))))


class PageMaker(OnPage, BoxPrinter):
    """Prints one page of all pictures with their boxes."""

    program = "of-locate"
    options: "Options"

    def note(self) -> str:
        """Give what the page says above the pictures."""
        return "Each picture with its boxes, the most probable first. Boxes are in pixels of the upright picture."

    def answer(self, item: Item, windows: Windows) -> None:
        """Print a picture and its boxes."""
        from overfeat_tools.results.page import Row, page_entry

        self.answered += 1
        rows = [Row(box.what, box.probability, box.edges) for box in self.located(windows)]
        if item.pixels is not None:
            cli.write(page_entry(item.place, item.pixels, rows, item.warning, _THUMBNAIL_SIDE))


def printer_of(options: "Options", classes: Sequence[Class], wanted: Class | None) -> BoxPrinter:
    """Give what prints as the options ask."""
    kind = Drawer if options.draw else Mapper if options.map else PageMaker if options.form == "html" else BoxPrinter
    return kind(options, classes, wanted)

