"""Networks as tables of layers: their weights, their classes, and the pass through them.

`topology` has the tables, made of the kinds of layers in `layers`.  `weights` maps a weight file into memory, and
`classes` reads the names of the classes.  A `network` is a topology with its weights on a device; it runs a batch as a
fold over `steps`, each a convolution with the padding before it and the rectifier and the pool after it.  `tables`
describes a network and its run for people.  `opening` opens a network on a device, and `preparation` brings pictures to
what it takes.  `plausibility` judges weights and maps by their numbers, and `drawings` are
pictures to do so.
"""
