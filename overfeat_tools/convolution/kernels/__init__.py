"""Compiled kernels: the inner loops of the convolutions, written in LLVM IR for the vector width of the processor.

Here a *kernel* is a compiled function, as in "CUDA kernel".  The kernels of a convolution, the small arrays that it
slides over its input, are always called its weights, and the maps that they produce its output channels.

Maps are float32 with the channels last, (N, H, W, C), so that a vector holds neighbouring channels of one pixel, and
all address arithmetic is done inside the kernel.

| module | kernel |
|---|---|
| `matmul` | products of many columns: indirect convolutions and the element-wise products of tiles |
| `gemv` | a matrix times one to four columns |
| `matrix_transform` | Cook-Toom tiles into spectra and back |
| `fourier_transform` | Fourier tiles into spectra and back |
| `epilogue` | max pooling, bias and rectifier |
| `normalise` | pixels centred and scaled |
| `gather`, `pad` | patches side by side; maps surrounded with zeros |

`kernel` compiles them; `fft` and `tile_access` are parts of several.  They are written with the backend's
`FunctionBuilder`.
"""
