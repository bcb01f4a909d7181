"""Where in pictures the classes are, as of-locate(1) tells it."""

from collections.abc import Iterable
from functools import partial
from typing import TypeAlias

from overfeat_tools.backend import FloatArray
from overfeat_tools.library import arguments
from overfeat_tools.library.answering import every, seen_by
from overfeat_tools.library.inputs import Picture, Scale, given
from overfeat_tools.library.opened import Opened
from overfeat_tools.networks.localize import Windows
from overfeat_tools.pictures.boxes import enlarged
from overfeat_tools.results import boxes

Boxes: TypeAlias = list[tuple[str, str, float, boxes.Edges]]
"""WordNet id, name and probability of classes; left, top, right and bottom of their boxes."""


class Locating(Opened):
    """What `Network` does to find where in pictures the classes are; see there."""

    def locate(
        self,
        pictures: Picture | Iterable[Picture],
        n: int = 5,
        *,
        classes: str | Iterable[str] | None = None,
        threshold: float = 0.0,
        scale: Scale = None,
    ) -> Boxes | list[Boxes]:
        """Tell where in each picture the classes are, the most probable boxes first; see of-locate(1).

        Parameters
        ----------
        pictures
            One picture or several; see `Network`.
        n : int
            The most boxes of a picture.
        classes : str or iterable of str, optional
            Look for these classes only: WordNet ids, or names as they are printed.  By default the five most
            probable ones are looked for.
        threshold : float
            Leave out the boxes that are less probable, from 0 to 1.
        scale : {1, 255}, optional
            What white is in floating-point pictures.

        Returns
        -------
        list of (str, str, float, (int, int, int, int))
            WordNet id, name and probability of each box, and its left, top, right and bottom, in pixels of the upright
            picture; the latter two are outside.  A list of such lists for several pictures.

        Examples
        --------
        >>> picture = np.full((300, 400, 3), 225, np.uint8)
        >>> picture[40:160, 210:370] = 20, 40, 210
        >>> [(_, name, probability, (left, top, right, bottom))] = net.locate(picture, n=1)
        >>> print(name, round(probability, 1), left < 290 < right, top < 100 < bottom)
        rectangle 1.0 True True
        """
        arguments.check_count("n", n)
        arguments.check_probability("threshold", threshold)
        wanted, these = arguments.classes_of(self.classes, classes), given(pictures, scale)

        def tell(windows: Windows) -> Boxes:
            found = boxes.locate(windows, self.classes, n, threshold, wanted)
            return [(box.what.wnid, box.what.name, box.probability, box.edges) for box in found]

        told = every(self._answers(these, seen_by(self._opened_localizer(), tell)))
        return told[0] if these.one else told

    def class_map(
        self, pictures: Picture | Iterable[Picture], label: str | None = None, *, scale: Scale = None
    ) -> FloatArray | list[FloatArray]:
        """Tell how much each pixel belongs to a class, by the windows that show it, as of-locate --map does.

        Parameters
        ----------
        pictures, scale
            See `locate`.
        label : str, optional
            WordNet id or name of the class, by default the most probable one of each picture.

        Returns
        -------
        array (H, W) float32
            Of the upright picture's size, from 0 to 1; a list of them for several pictures.  New arrays.

        Examples
        --------
        >>> net.class_map(picture, "rectangle").shape
        (300, 400)
        """
        wanted = None if label is None else arguments.class_of(self.classes, label)
        these, index = given(pictures, scale), None if wanted is None else wanted.index
        told = every(self._answers(these, seen_by(self._opened_localizer(), partial(_map_of, index=index))))
        return told[0] if these.one else told


def _map_of(windows: Windows, index: int | None) -> FloatArray:
    return enlarged(windows.support_map(index), windows.height, windows.width)
