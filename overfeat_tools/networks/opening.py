"""Open a network on a device, as the user's surroundings have it."""

import os
from pathlib import Path

from overfeat_tools.backend import Backend, open_backend
from overfeat_tools.errors import UsageError
from overfeat_tools.networks.network import PACKED_LIMIT_BYTES, Network
from overfeat_tools.networks.topology import TOPOLOGIES

_MOST_DIGITS = 9


def open_network(
    name: str,
    folder: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    method: str = "auto",
    *,
    reproducible: bool = False,
    precision: str = "float32",
) -> Network:
    """Open the network of a name; see `Network`.

    Raises
    ------
    BackendError
        The device is missing, or can't be reproducible.
    WeightsError
        The weight file is missing or has the wrong size.
    """
    backend = open_backend(device, threads, precision)
    limit_bytes = memory_for_packed_weights(backend)
    network = Network(TOPOLOGIES[name], folder, backend, method, limit_bytes, reproducible=reproducible)
    if reproducible:
        network.check_reproducible()
    return network


def memory_for_packed_weights(backend: Backend) -> float:
    """Give the most bytes for packed weights: `$OVERFEAT_MEMORY` MiB, else 1792 or an eighth of the device's.

    Raises
    ------
    UsageError
        The variable is no number.
    """
    named = os.environ.get("OVERFEAT_MEMORY")
    if not named:
        return min(PACKED_LIMIT_BYTES, backend.memory_bytes() / 8)
    if not (named.isascii() and named.isdigit() and len(named) <= _MOST_DIGITS):
        raise UsageError(f"OVERFEAT_MEMORY={named}: a number of MiB expected")
    return float(int(named) << 20)
