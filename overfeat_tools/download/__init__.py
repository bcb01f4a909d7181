"""Get the published weights.

`installation` tries the `sources` in turn.  A file on a server is fetched (`fetch`, over `transport`) into a `part`
that outlives the process; `archive` unpacks it, `verification` checks what came out against its size, its plausible
values and the SHA-256 in the `manifest`, and `folder` moves the files to their names, each in one step.
"""
