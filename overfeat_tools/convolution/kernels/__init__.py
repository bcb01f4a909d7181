"""Compiled kernels: the inner loops of the convolutions, written in LLVM IR for the vector width of the processor.

In this folder a *kernel* is a compiled function, as in "matrix kernel" or "CUDA kernel".  What a convolution multiplies
its input by, which is elsewhere called its kernels too, is called its weights here, and what they produce its output
channels.

Maps are float32 with the channels last, (N, H, W, C), so that a vector holds neighbouring channels of one pixel, and
all address arithmetic is done inside the kernel.

| module | kernel |
|---|---|
| `matmul` | products of many columns: indirect convolutions and the element-wise products of tiles |
| `gemv` | a matrix times one to four columns |
| `matrix_transform` | Cook-Toom tiles into spectra and back |
| `fourier_transform` | Fourier tiles into spectra and back |
| `epilogue` | max pooling, bias and rectifier |

`builder` is what they are written with, `fft` and `tile_access` are parts of several.
"""
