// Kernels for a graphics card.  They have not run on one yet; see `card_kernels.py`, which puts definitions before this:
//
//   TILE, OUTPUTS   inputs and outputs of a tile on each axis
//   POOL            the size of the pool that follows, which divides OUTPUTS, or 1
//   EVALUATE        the matrix (TILE, TILE) that evaluates inputs, as an initialiser
//   INTERPOLATE     the matrix (OUTPUTS, TILE) that interpolates outputs
//   ROWS, THREADS   rows of a product of few rows, and threads of a block, a power of two
//
// All loops over a tile have constant bounds: the compiler unrolls them, and drops the zeros of the matrices.

#ifdef TILE

// Turn a batch (pictures, height, width, channels) into spectra (TILE * TILE, tiles, channels).  A thread has one channel
// of one tile; neighbours have neighbouring channels, so all that they read and write together is in one piece.
extern "C" __global__ void evaluate_tiles(const float* x, float* spectra, int pictures, int height, int width,
                                          int channels, int padding, int rows, int columns)
{
    const float matrix[TILE][TILE] = EVALUATE;
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const long long tiles = (long long)pictures * rows * columns, step = tiles * channels;
    if (place >= step)
        return;
    const long long tile = place / channels;
    const int channel = (int)(place % channels);
    const int top = (int)(tile / columns % rows) * OUTPUTS - padding, left = (int)(tile % columns) * OUTPUTS - padding;
    const float* picture = x + tile / columns / rows * height * width * channels + channel;
    float values[TILE][TILE], half_done[TILE][TILE];
#pragma unroll
    for (int i = 0; i < TILE; i++)
#pragma unroll
        for (int j = 0; j < TILE; j++) {
            const int row = top + i, column = left + j;
            const bool is_inside = row >= 0 && row < height && column >= 0 && column < width;
            values[i][j] = is_inside ? picture[((long long)row * width + column) * channels] : 0.0f;
        }
#pragma unroll
    for (int i = 0; i < TILE; i++)
#pragma unroll
        for (int j = 0; j < TILE; j++) {
            float sum = 0.0f;
#pragma unroll
            for (int k = 0; k < TILE; k++)
                sum += matrix[i][k] * values[k][j];
            half_done[i][j] = sum;
        }
#pragma unroll
    for (int i = 0; i < TILE; i++)
#pragma unroll
        for (int j = 0; j < TILE; j++) {
            float sum = 0.0f;
#pragma unroll
            for (int k = 0; k < TILE; k++)
                sum += matrix[j][k] * half_done[i][k];
            spectra[(i * TILE + j) * step + place] = sum;
        }
}

// Turn products (TILE * TILE, tiles, kernels) into outputs (pictures, height, width, kernels): interpolated, pooled, with
// bias and rectifier.  What lies beyond the map is left out.
extern "C" __global__ void interpolate_tiles(const float* products, const float* bias, float* y, int pictures, int height,
                                             int width, int kernels, int rows, int columns, float threshold, int rectifies)
{
    const float matrix[OUTPUTS][TILE] = INTERPOLATE;
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const long long tiles = (long long)pictures * rows * columns, step = tiles * kernels;
    if (place >= step)
        return;
    const long long tile = place / kernels;
    const int kernel = (int)(place % kernels);
    const int top = (int)(tile / columns % rows) * (OUTPUTS / POOL), left = (int)(tile % columns) * (OUTPUTS / POOL);
    float* picture = y + tile / columns / rows * height * width * kernels + kernel;
    float half_done[OUTPUTS][TILE], outputs[OUTPUTS][OUTPUTS];
#pragma unroll
    for (int j = 0; j < TILE; j++) {
        float column[TILE];
#pragma unroll
        for (int k = 0; k < TILE; k++)
            column[k] = products[(k * TILE + j) * step + place];
#pragma unroll
        for (int i = 0; i < OUTPUTS; i++) {
            float sum = 0.0f;
#pragma unroll
            for (int k = 0; k < TILE; k++)
                sum += matrix[i][k] * column[k];
            half_done[i][j] = sum;
        }
    }
#pragma unroll
    for (int i = 0; i < OUTPUTS; i++)
#pragma unroll
        for (int j = 0; j < OUTPUTS; j++) {
            float sum = 0.0f;
#pragma unroll
            for (int k = 0; k < TILE; k++)
                sum += matrix[j][k] * half_done[i][k];
            outputs[i][j] = sum;
        }
#pragma unroll
    for (int i = 0; i < OUTPUTS / POOL; i++)
#pragma unroll
        for (int j = 0; j < OUTPUTS / POOL; j++) {
            float most = outputs[i * POOL][j * POOL];
#pragma unroll
            for (int k = 1; k < POOL * POOL; k++)
                most = fmaxf(most, outputs[i * POOL + k / POOL][j * POOL + k % POOL]);
            most += bias[kernel];
            if (top + i < height && left + j < width)
                picture[((long long)(top + i) * width + left + j) * kernels] = !rectifies || most > threshold ? most : 0.0f;
        }
}

#endif

#ifdef ROWS

// Multiply ROWS patches (ROWS, length) by the weights (kernels, length)', with bias and rectifier, into y (ROWS, kernels).
// A block has one kernel, so the weights are read once, in one piece, which is all that this takes time for.
extern "C" __global__ void multiply_few_rows(const float* weights, const float* patches, const float* bias, float* y,
                                             int length, int kernels, float threshold, int rectifies)
{
    __shared__ float parts[ROWS][THREADS];
    const int kernel = blockIdx.x, fours = length / 4;
    const float4* row = (const float4*)(weights + (long long)kernel * length);
    float sums[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        sums[r] = 0.0f;
#pragma unroll 4
    for (int i = threadIdx.x; i < fours; i += THREADS) {
        const float4 w = row[i];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const float4 p = ((const float4*)(patches + (long long)r * length))[i];
            sums[r] += (w.x * p.x + w.y * p.y) + (w.z * p.z + w.w * p.w);
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        parts[r][threadIdx.x] = sums[r];
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half)
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                parts[r][threadIdx.x] += parts[r][threadIdx.x + half];
    }
    __syncthreads();
    if (threadIdx.x < ROWS) {
        const float value = parts[threadIdx.x][0] + bias[kernel];
        y[(long long)threadIdx.x * kernels + kernel] = !rectifies || value > threshold ? value : 0.0f;
    }
}

#endif
