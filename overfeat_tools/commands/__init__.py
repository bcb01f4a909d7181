"""The programs, a file each: options to stages, and a short loop.

`run` is the loop of those that run a network, and `preparation` how pictures are brought to what it takes.
"""
