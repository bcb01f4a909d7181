"""Get the weights: sources, transfer, unpacking, checks, installation."""
