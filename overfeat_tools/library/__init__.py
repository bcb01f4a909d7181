"""The networks for Python: pictures of any kind in, arrays and classes out, with the same numbers as the programs.

`network` is what people call, `locating` the part of it that finds boxes, and `opened` what it is before it is shown a
picture; `arguments` checks what is asked for, and `outputs` shapes what comes back.  `inputs` makes pictures (H, W, 3)
of whatever holds one, and `answering` runs them in batches, grouped by size, and gives them back in order.
"""

from overfeat_tools.library.network import Network

__all__ = ["Network"]
