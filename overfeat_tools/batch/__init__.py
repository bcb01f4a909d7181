"""Whole collections of pictures: resumable, on one machine or many, with results that are whole or not there.

`listing` finds files, here or in `storage` elsewhere, and a `plan` cuts them into shards, once.  A `session` is one
process at work: for each shard it looks at what the `sinks` have of it, has `readers` decode what is missing (each a
process of its own, `reader`), computes batches that depend on the list alone (`computing`), and commits the shard's
`rows` and values to the `output`.  A `job` describes all that to other processes, which a `cluster` has; `report` tells
a person of it.  Nothing is imported from here, so that a reader, a new process, begins at once.
"""
