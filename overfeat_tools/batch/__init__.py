"""Whole collections of pictures: resumable, on one machine or many, with results that are whole or not there.

`listing` finds files, here or in `storage` elsewhere, and a `plan` cuts them into shards, once.  A `session` is one
process at work: for each shard it looks at what the `sinks` have of it, has `readers` decode what is missing (each a
process of its own, `reader`), computes batches that depend on the list alone (`computing`), and commits the shard's
`rows` and values to the `output`.  A `job` describes all that to other processes, which a `cluster` has; `report` tells
a person of it.
"""

from overfeat_tools.batch.computing import Layers, Looking
from overfeat_tools.batch.job import Job, Outcome, forget
from overfeat_tools.batch.listing import Sources
from overfeat_tools.batch.output import Output, open_output
from overfeat_tools.batch.plan import Plan, unplanned
from overfeat_tools.batch.reader import Reading
from overfeat_tools.batch.report import Report, write_failures
from overfeat_tools.batch.session import Session
from overfeat_tools.batch.sums import weights_sum

__all__ = [
    "Job", "Layers", "Looking", "Outcome", "Output", "Plan", "Reading", "Report", "Session", "Sources", "forget",
    "open_output", "unplanned", "weights_sum", "write_failures",
]  # fmt: skip
