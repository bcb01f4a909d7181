"""How fast a machine does what convolutions are made of: the constants of the cost model.

Only the ratios of the rates decide, and these are alike on most machines.  Those shipped for the processor lie
between what `benchmarks/fit_rates.py` found on two cores with AVX-512 and with AVX2.  With them the algorithms
chosen for the layers of both networks, for 1 to 32 pictures, took 1 % longer on average than the best ones.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """What a machine does in a second, all threads together.

    The first group is for compiled kernels, the second for numpy, FFTW or cupy.  `half_rows` is the number of rows
    at which a library's matrix product reaches half of its peak.
    """

    memory_bytes: float = 35e9
    compiled_flops: float = 330e9
    compiled_tile_bytes: float = 44e9
    pack_panel_bytes: float = 1.5e9
    pack_tile_bytes: float = 4.5e9
    stages: float = 7e3

    blas_flops: float = 300e9
    complex_blas_flops: float = 210e9
    half_rows: float = 35.0
    half_complex_rows: float = 18.0
    unfold_bytes: float = 1.6e9
    copy_bytes: float = 6e9
    fft_flops: float = 32e9
    pack_spectrum_bytes: float = 2.1e9

    def compiled_seconds(self, flops: float, weight_bytes: float) -> float:
        """Estimate a compiled product, which computes and reads its weights at the same time, if not quite."""
        computing, reading = flops / self.compiled_flops, weight_bytes / self.memory_bytes
        return max(computing, reading) + min(computing, reading) / 6

    def blas_seconds(self, flops: float, rows: int, weight_bytes: float, *, is_complex: bool = False) -> float:
        """Estimate a library's product: skinny ones are slow, and none is faster than its weights can be read."""
        peak = self.complex_blas_flops if is_complex else self.blas_flops
        half = self.half_complex_rows if is_complex else self.half_rows
        return max(flops / peak * (rows + half) / rows, weight_bytes / self.memory_bytes)


RATES = {
    "cpu": Rates(),
    # Estimates for a data-centre card (50 TFLOP/s in float32, 3 TB/s), not fitted.
    "cuda": Rates(
        memory_bytes=3e12,
        blas_flops=50e12,
        complex_blas_flops=45e12,
        half_rows=128.0,
        half_complex_rows=32.0,
        unfold_bytes=1e12,
        copy_bytes=1.5e12,
        fft_flops=2e12,
        pack_spectrum_bytes=100e9,
        pack_tile_bytes=200e9,
    ),
}
"""By the backend's name."""
