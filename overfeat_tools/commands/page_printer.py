"""One page of what a program found in pictures, to be looked at."""

from overfeat_tools import cli
from overfeat_tools.backend import FloatArray
from overfeat_tools.commands.class_printers import Printer, probabilities_of
from overfeat_tools.errors import ImageError
from overfeat_tools.networks.views import Looks
from overfeat_tools.pictures import Item
from overfeat_tools.results import page, ranking


class PagePrinter(Printer):
    """Prints a page with the classes of each picture."""

    answered = failed = 0

    def begin(self) -> None:
        """Print the page up to the first picture."""
        dense = self.options.views == "dense"
        shown = "scaled" if dense else "scaled, and cut to the square in the middle"
        note = f"Each picture as the network sees it: {shown}."
        cli.write(page.page_head(f"of-classify: {self.options.name}", note))

    def answer(self, item: Item, result: FloatArray | Looks, **_: object) -> None:
        """Print a picture and its classes."""
        self.answered += 1
        best = ranking.rank(probabilities_of(result), self.classes, self.options.count, self.options.threshold)
        rows = [page.Row(what, probability) for what, probability in best]
        pixels = item.views[-1] if self.options.views == "ten" else item.pixels  # its last view is the centre
        if pixels is not None:
            cli.write(page.page_entry(item.place, pixels, rows, item.warning))

    def fail(self, item: Item, error: ImageError) -> None:
        """Print why there is nothing to see."""
        self.failed += 1
        cli.write(page.page_failure(item.place, str(error)))

    def end(self) -> None:
        """Print what comes after all pictures."""
        cli.write(page.page_end(self.answered, self.failed))
