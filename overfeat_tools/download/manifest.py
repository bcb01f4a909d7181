"""The record beside the weights: what was installed, when, from where, and its SHA-256.

No checksum of NYU's weights was ever published: the sum is recorded when a file is first installed, and from then on a
file with another one is refused.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from overfeat_tools.download.folder import NEW, install
from overfeat_tools.errors import WeightsError, reason

NAME = "manifest.json"


@dataclass(frozen=True)
class Record:
    """What is known of an installed file."""

    size: int
    sha256: str
    source: str
    installed: str  # the day, as in 2013-12-21


def read_manifest(folder: Path) -> dict[str, Record]:
    """Read the records of a folder, by file name; there are none if it has no manifest.

    Raises
    ------
    WeightsError
        The manifest can't be read or understood.
    """
    path = folder / NAME
    try:
        return {name: Record(**fields) for name, fields in json.loads(path.read_bytes()).items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise WeightsError(f"{path}: {reason(error)}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path}: not a manifest of of-download; delete it, and run of-download to make a new one"
        ) from error


def write_manifest(folder: Path, unfinished: Path, records: dict[str, Record]) -> None:
    """Write the records of a folder, in one step."""
    path = unfinished / f"{NAME}{NEW}"
    path.write_text(json.dumps({name: asdict(record) for name, record in sorted(records.items())}, indent=1) + "\n")
    install(path, folder / NAME)
