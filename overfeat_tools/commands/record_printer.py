"""What the programs that answer each picture by a record, or on a page, print alike."""

from typing import Any, ClassVar

from overfeat_tools import cli
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures import Item
from overfeat_tools.results.records import failure_record


class RecordPrinter:
    """Prints what stands around the records, and in place of one."""

    heading: ClassVar[bytes]
    options: Any  # of its own program

    def begin(self) -> None:
        """Print what comes before all pictures."""
        if self.options.header:
            cli.write(self.heading)

    def fail(self, item: Item, error: ImageError) -> None:
        """Print what stands for a picture without a result."""
        told = item.told | {"error": str(error)}
        if record := failure_record(self.options.form, item.number, item.file, self.heading, **told):
            cli.write(record)

    def end(self) -> None:
        """Print what comes after all pictures."""


class OnPage(RecordPrinter):
    """Prints a page instead; a mixin that goes before another `RecordPrinter`."""

    program: ClassVar[str]
    answered = failed = 0

    def note(self) -> str:
        """Give what the page says above the pictures."""
        raise NotImplementedError

    def begin(self) -> None:
        """Print the page up to the first picture."""
        from overfeat_tools.results.page import page_head

        cli.write(page_head(f"{self.program}: {self.options.name}", self.note()))

    def fail(self, item: Item, error: ImageError) -> None:
        """Print why there is nothing to see."""
        from overfeat_tools.results.page import page_failure

        self.failed += 1
        cli.write(page_failure(item.place, str(error)))

    def end(self) -> None:
        """Print what comes after all pictures."""
        from overfeat_tools.results.page import page_end

        cli.write(page_end(self.answered, self.failed))
