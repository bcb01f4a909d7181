"""One page of what of-classify found in pictures, to be looked at."""

from typing import TYPE_CHECKING

from overfeat_tools import cli
from overfeat_tools.commands.class_printers import Answer, Printer
from overfeat_tools.commands.record_printer import OnPage
from overfeat_tools.networks.views import Looks
from overfeat_tools.pictures import Item
from overfeat_tools.results import page

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

    def answer(self, item: Item, result: Answer | Looks, **_: object) -> None:
        """Print a picture and its classes."""
        self.answered += 1
        rows = [page.Row(what, probability) for what, probability in self.ranking_of(result)]
        pixels = item.views[-1] if self.options.views == "ten" else item.pixels  # its last view is the centre
        if pixels is not None:
            cli.write(page.page_entry(item.place, pixels, rows, item.warning))
