"""Check weight files: size, SHA-256, and whether their numbers can be weights at all."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from overfeat_tools.download.manifest import NAME, Record
from overfeat_tools.download.sources import WeightFile
from overfeat_tools.errors import WeightsError, reason
from overfeat_tools.networks.plausibility import spread
from overfeat_tools.networks.weights import map_weights


def check(path: Path, file: WeightFile, records: Mapping[str, Record], pins: frozenset[str]) -> str:
    """Check a file against its size and a SHA-256: one in `pins`, the one recorded when it was installed, or published.

    Returns
    -------
    str
        Its SHA-256.

    Raises
    ------
    WeightsError
        It can't be read, or is not what it should be.
    """
    parameters = map_weights(path, file.shapes, file.network, file.names)  # refuses another size
    try:
        with path.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: {reason(error)}") from error
    record = records.get(file.name)
    if pins and sha256 not in pins:
        problem = f"its sha256 is {sha256}, which was not given with --sha256"
    elif record and record.sha256 != sha256:
        problem = (
            f"its sha256 is {sha256}, but {record.sha256} was installed on {record.installed}; if you trust this one, "
            f"delete {NAME} beside the weights"
        )
    elif file.sha256 and not (pins or record) and sha256 != file.sha256:
        problem = f"its sha256 is {sha256}, but {file.sha256} was published"
    else:
        problem = next((finding.problem for finding in spread(parameters) if finding.problem), "")
    if problem:
        raise WeightsError(f"{path}: not the weights of {file.network}: {problem}")
    return sha256

