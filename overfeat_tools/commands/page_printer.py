"""One page of what of-classify found in pictures, to be looked at."""

from typing import TYPE_CHECKING

from overfeat_tools import cli
from overfeat_tools.backend import FloatArray
from overfeat_tools.commands.class_printers import Printer, probabilities_of
from overfeat_tools.commands.record_printer import OnPage
from overfeat_tools.networks.views import Looks
from overfeat_tools.pictures import Item
from overfeat_tools.results import page, ranking

if TYPE_CHECKING:
    from overfeat_tools.commands.classify import Options


class PagePrinter(OnPage, Printer):
    """Prints a page with the classes of each picture."""

    program = "of-classify"
    options: "Options"

    def note(self) -> str:
        """Give what the page says above the pictures."""
        shown = "scaled" if self.options.views == "dense" else "scaled, and cut to the square in the middle"
        return f"Each picture as the network sees it: {shown}."

    def answer(self, item: Item, result: FloatArray | Looks, **_: object) -> None:
        """Print a picture and its classes."""
        self.answered += 1
        best = ranking.rank(probabilities_of(result), self.classes, self.options.count, self.options.threshold)
        rows = [page.Row(what, probability) for what, probability in best]
        pixels = item.views[-1] if self.options.views == "ten" else item.pixels  # its last view is the centre
        if pixels is not None:
            cli.write(page.page_entry(item.place, pixels, rows, item.warning))
