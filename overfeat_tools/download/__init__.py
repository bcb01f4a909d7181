"""Get the published weights.

`installation` tries the `sources` in turn.  A file on a server is fetched (`fetch`, over `transport`) into a partial
file that outlives the process, while `progress` shows how far that is.  `archive` unpacks it, `verification` checks the
size of what came out, that its values are plausible, and the SHA-256 in the `manifest`.  `folder` moves each file to
its name in one step.
"""
