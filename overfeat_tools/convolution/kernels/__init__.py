"""The loops that are compiled for the processor: written in LLVM's language, each with the address arithmetic it does.

Maps are float32 with the channels last, (N, H, W, C), so that a vector holds neighbouring channels of one place, and
nothing that follows depends on how many pictures or places there are.  `product.py` multiplies, `dots.py` a single
column; `tiles.py` and `fourier.py` turn tiles into spectra and spectra into outputs; `finish.py` adds biases, rectifies
and pools.
"""
