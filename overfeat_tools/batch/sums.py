"""The SHA-256 of weights, remembered as long as the file is the same."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.networks.weights import PACKAGED, weights_folder
from overfeat_tools.paths import cache_folder, write_whole

_MOST_KEPT = 64


def weights_sum(network: str, folder: str | None) -> str | None:
    """Give the SHA-256 of a network's weights; None if they can't be read, which opening them will tell."""
    topology = TOPOLOGIES[network]
    path = (PACKAGED if topology.packaged else weights_folder(folder)) / topology.weight_file
    try:
        status = path.stat()
        key, state = str(path.resolve()), [status.st_size, status.st_mtime_ns, status.st_ino]
        known = _known()
        if known.get(key, [None])[:-1] == state:
            return str(known[key][-1])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    _remember({**dict(list(known.items())[-_MOST_KEPT:]), key: [*state, digest]})
    return digest


def _file() -> Path | None:
    folder = cache_folder()
    return folder and folder / "weights.json"


def _known() -> dict[str, list[object]]:
    with suppress(OSError, ValueError):
        if file := _file():
            known: dict[str, list[object]] = json.loads(file.read_bytes())
            return known
    return {}


def _remember(known: dict[str, list[object]]) -> None:
    with suppress(OSError):
        if file := _file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(known).encode())
