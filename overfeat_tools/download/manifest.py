"""The record beside the weights: what was installed, from where, and its SHA-256.

It is written when a file is first installed; from then on a file that differs is refused.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from overfeat_tools.errors import WeightsError

NAME = "manifest.json"


@dataclass(frozen=True)
class Record:
    """What is known of an installed file."""

    size: int
    sha256: str
    source: str
    installed: str  # the day, as 2013-12-21


def read_manifest(folder: Path) -> dict[str, Record]:
    """Read the records of a folder, by file name: none if there is no manifest.

    Raises
    ------
    WeightsError
        It is there but can't be understood.
    """
    path = folder / NAME
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise WeightsError(message) from error
    try:
        records = {name: Record(**fields) for name, fields in json.loads(text).items()}
        for record in records.values():
            if not (isinstance(record.size, int) and len(record.sha256) == len(bytes.fromhex(record.sha256)) * 2 == 64):  # noqa: PLR2004 -- SHA-256
                raise ValueError  # noqa: TRY301
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        message = f"{path}: not a manifest of of-download; delete it, and run of-download to make it anew"
        raise WeightsError(message) from error
    return records


def manifest_text(records: dict[str, Record]) -> bytes:
    """Give the text of a manifest."""
    return (json.dumps({name: asdict(record) for name, record in sorted(records.items())}, indent=1) + "\n").encode()
