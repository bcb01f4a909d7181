"""What of-classify prints: the classes of each picture, or how many were right."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from overfeat_tools import cli
from overfeat_tools.backend import FloatArray
from overfeat_tools.commands.record_printer import RecordPrinter
from overfeat_tools.errors import ImageError, UsageError, reason
from overfeat_tools.networks.classes import Class
from overfeat_tools.pictures import Item
from overfeat_tools.results import accuracy, ranking

if TYPE_CHECKING:
    from overfeat_tools.commands.classify import Options
    from overfeat_tools.networks.views import Looks


class Answer(NamedTuple):
    """The probabilities of the classes (classes,), and the best of them."""

    mean: FloatArray
    ranking: ranking.Ranking


class Printer(RecordPrinter):
    """Prints the classes of each picture."""

    heading = ranking.TSV_HEADING
    options: "Options"

    def __init__(self, options: "Options", classes: Sequence[Class]) -> None:
        self.options, self.classes = options, classes

    def answers(self, maps: FloatArray) -> Iterable[Answer]:
        """Give the answer to each picture of a batch (N, 1, 1, classes)."""
        probabilities = maps[:, 0, 0]
        found = ranking.rank_each(probabilities, self.classes, self.options.count, self.options.threshold)
        return map(Answer, probabilities, found)

    def ranking_of(self, result: "Answer | Looks") -> ranking.Ranking:
        """Give the best classes of a picture."""
        if isinstance(result, Answer):
            return result.ranking
        return ranking.rank(result.mean, self.classes, self.options.count, self.options.threshold)

    def answer(self, item: Item, result: "Answer | Looks", **told: object) -> None:
        """Print a picture's classes."""
        best = self.ranking_of(result)
        match self.options.form:
            case "text":
                cli.write(ranking.ranking_text(best))
            case "tsv":
                cli.write(ranking.ranking_tsv(best, item.number, item.file))
            case "json":
                found = None if isinstance(result, Answer) else result.best
                cli.write(ranking.ranking_json(best, item.number, item.file, found, **told, **item.told))


class Judge(Printer):
    """Prints how many pictures were classified rightly; in json also what a `Printer` prints.

    Raises
    ------
    UsageError
        The labels can't be read.
    """

    def __init__(self, options: "Options", classes: Sequence[Class]) -> None:
        super().__init__(options, classes)
        self.source = str(options.truth)
        try:
            with open(self.source, "rb") as file:  # noqa: PTH123 -- a path of any bytes, as it was given
                self.labels = accuracy.Labels(file, classes, self.source)
        except OSError as error:
            raise UsageError(f"--truth {self.source}: {reason(error)}") from error
        self.accuracy = accuracy.Accuracy()
        self.example = ""

    def begin(self) -> None:
        """Print what comes before all pictures: nothing."""

    def answer(self, item: Item, result: "Answer | Looks", **told: object) -> None:
        """Count a picture, and in json print it."""
        if item.file is None:
            raise UsageError("--truth: pictures on standard input have no names to find their labels by; name files")
        right = self.labels.of(item.file)
        rank = accuracy.rank_of(result.mean, right.index) if right else None
        self.example = self.example or item.file
        self.accuracy.add(rank)
        if self.options.form == "json":
            truth = {"index": right.index, "wnid": right.wnid, "name": right.name} if right else None
            super().answer(item, result, **told, truth=truth, rank=rank)

    def fail(self, item: Item, error: ImageError) -> None:
        """Count a picture, and in json print it."""
        self.accuracy.failed += 1
        if self.options.form == "json":
            super().fail(item, error)

    def end(self) -> None:
        """Print the accuracy.

        Raises
        ------
        UsageError
            No picture has a label.
        """
        if self.accuracy.unlabelled and not self.accuracy.judged:
            raise UsageError(f"--truth {self.source}: no picture has a label there, {self.example} for one")
        match self.options.form:
            case "text":
                cli.write(self.accuracy.text())
            case "tsv":
                cli.write((accuracy.TSV_HEADING if self.options.header else b"") + self.accuracy.tsv())
            case "json":
                cli.write(self.accuracy.json())
