"""A network that is opened, may be closed again, and can be sent to other processes."""

import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Self, TypeVar

from overfeat_tools.backend.machine import processors
from overfeat_tools.errors import ImageError, UsageError
from overfeat_tools.library import arguments
from overfeat_tools.library.answering import Work, answers
from overfeat_tools.library.arguments import Layer
from overfeat_tools.library.inputs import Given, items
from overfeat_tools.networks.classes import Class, read_classes
from overfeat_tools.networks.localize import Localizer
from overfeat_tools.networks.network import Network as Engine
from overfeat_tools.networks.opening import open_network
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.networks.views import Looks, Views, open_views

Result = TypeVar("Result")


class Opened:
    """What `Network` is, apart from what it does with pictures; see there."""

    def __init__(
        self,
        name: str = "fast",
        *,
        weights: str | os.PathLike[str] | None = None,
        device: str = "auto",
        threads: int | None = None,
        method: str = "auto",
        reproducible: bool = False,
        precision: str = "float32",
    ) -> None:
        arguments.check_opening(name, weights, device, threads, method, precision)
        self.name, self._decoders = name, threads or processors()
        folder = None if weights is None else Path(weights)
        self._open = partial(
            type(self), name, weights=folder, device=device, threads=threads, method=method,
            reproducible=reproducible, precision=precision,
        )  # fmt: skip
        self._topology, self._least_side = TOPOLOGIES[name], cache(TOPOLOGIES[name].least_side)
        self._engine: Engine | None = open_network(
            name, folder, device, threads, method, reproducible=reproducible, precision=precision
        )
        self._views: dict[tuple[str, tuple[int, ...], bool], Views[Looks] | None] = {}
        self._localizer: Localizer | None = None

    def layer_number(self, layer: Layer) -> int:
        """Give the number of a layer."""
        return arguments.layer_number(self._topology, layer)

    @property
    def input_size(self) -> int:
        """The side of the smallest picture."""
        return self._topology.input_size

    @property
    def classes(self) -> tuple[Class, ...]:
        """The classes in the order of the scores: `index`, `wnid` and `name` of each."""
        return read_classes(self._topology)

    @property
    def engine(self) -> Engine:
        """What computes: batches to arrays with the channels last.  It may change in any version."""
        if self._engine is None:
            raise UsageError(f"the network {self.name} is closed")
        return self._engine

    def _opened_views(self, kind: str, scales: tuple[int, ...], *, fine: bool) -> Views[Looks] | None:
        """Give the views of a kind; they are kept, as they know what sizes need."""
        engine, key = self.engine, (kind, scales, fine)
        if key not in self._views:
            self._views[key] = open_views(engine, kind, scales, fine=fine)
        return self._views.get(key)

    def _opened_localizer(self) -> Localizer:
        """Give what looks where classes are; it is kept, too."""
        engine, localizer = self.engine, self._localizer
        if localizer is None:
            localizer = self._localizer = Localizer(engine)
        return localizer

    def _answers(self, these: Given, work: Work[Result]) -> Iterator[Result | ImageError]:
        return answers(work, items(these, work.side), one=these.one, decoders=self._decoders)

    def close(self) -> None:
        """Let the weights and all memory go; the network can't be used any more."""
        if self._engine:
            self._engine.ledger.close()
        self._engine, self._views, self._localizer = None, {}, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "closed" if self._engine is None else str(self._engine.backend)
        return f"<Network {self.name}: {where}>"

    def __deepcopy__(self, _: object) -> Self:
        """Give this network itself: it can't be changed, and a second one would take its memory again."""
        return self

    def __reduce__(self) -> tuple[Callable[[], "Opened"], tuple[()]]:
        return self._open, ()
