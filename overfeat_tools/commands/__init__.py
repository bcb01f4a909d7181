"""The programs, a file each: their options, and what they do with them.

A command declares its options in a dataclass and puts stages together: how pictures are brought to what a network
takes (`sizes`), which layer is wanted, how a result is printed (`class_printers`, `maps`).  `run` is the loop of
those that run a network: batches in, answers out in the same order, failures counted.  `self_test` runs one on pictures
that it draws, `watching` on the newest frame of a source.  A command imports what it needs only when it runs, so that
help and usage errors are quick.
"""
