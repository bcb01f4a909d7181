"""From arrays to the bytes that are printed.

`ranking` picks the most probable classes of a picture and writes them as text, tsv or JSON; `maps` writes the output of
a layer as text, tsv, JSON or npy, its numbers by `decimals`; `records` is what their lines have in common.  `accuracy`
compares ranks with labels and counts; `table` aligns columns for people.  Nothing here prints: commands pass the bytes
to `cli.write`.
"""
