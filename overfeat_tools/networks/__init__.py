"""Networks as tables of layers: their weights, their classes, and the fold that runs a pass."""
