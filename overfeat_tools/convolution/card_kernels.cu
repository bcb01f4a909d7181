// Kernels for a graphics card.  They have not run on one yet; see `card_kernels.py`, which puts definitions before this:
//
//   TILE, OUTPUTS   inputs and outputs of a tile on each axis
//   POOL            the size of the pool that follows, which divides OUTPUTS, or 1
//   EVALUATE        the matrix (TILE, TILE) that evaluates inputs, as an initialiser
//   INTERPOLATE     the matrix (OUTPUTS, TILE) that interpolates outputs
//   ROWS, THREADS   rows of a product of few rows, and threads of a block, a power of two
//   CHANNELS, TAPS  channels of a map of few, and values of a kernel's row, that is its width times the channels
//   KERNEL_ROWS, STRIDE
//   WINDOWS         windows of the pool that a thread computes
//   ACROSS, DOWN    threads of a block, as two axes: for 8 kernels each, and for windows
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

#ifdef TAPS

#define PLACES (WINDOWS * POOL * POOL)
#define BLOCK_PLACES (PLACES * DOWN)
#define BLOCK_FOURS (2 * ACROSS)

// Convolve maps of few channels (pictures, height, width, CHANNELS) with weights (KERNEL_ROWS * TAPS, kernels), with pool,
// bias and rectifier, into y (pictures, rows, columns, kernels).  Patches are brought to shared memory, as much of them as
// one row of a kernel covers at a time, and are nowhere else.  A thread adds up 8 kernels at PLACES places.
extern "C" __global__ void convolve_few_channels(const float* x, const float* weights, const float* bias, float* y,
                                                 int pictures, int height, int width, int padding, int rows, int columns,
                                                 int kernels, float threshold, int rectifies)
{
    __shared__ float patches[TAPS][BLOCK_PLACES + 1]; // one more, so that a column lies in different banks
    __shared__ float4 factors[TAPS][BLOCK_FOURS];
    __shared__ const float* maps[BLOCK_PLACES];
    __shared__ int tops[BLOCK_PLACES], lefts[BLOCK_PLACES];
    const int across = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS, groups = kernels / (4 * BLOCK_FOURS);
    const int first_kernel = (int)(blockIdx.x % groups) * 4 * BLOCK_FOURS;
    const long long windows = (long long)pictures * rows * columns;
    const long long first_window = (long long)(blockIdx.x / groups) * WINDOWS * DOWN;
    for (int place = threadIdx.x; place < BLOCK_PLACES; place += ACROSS * DOWN) {
        const long long window = first_window + place / (POOL * POOL);
        const int part = place % (POOL * POOL);
        maps[place] = window < windows ? x + window / columns / rows * height * width * CHANNELS : 0;
        tops[place] = ((int)(window / columns % rows) * POOL + part / POOL) * STRIDE - padding;
        lefts[place] = ((int)(window % columns) * POOL + part % POOL) * STRIDE - padding;
    }
    float sums[PLACES][8];
#pragma unroll
    for (int p = 0; p < PLACES; p++)
#pragma unroll
        for (int k = 0; k < 8; k++)
            sums[p][k] = 0.0f;
    for (int i = 0; i < KERNEL_ROWS; i++) {
        __syncthreads();
        for (int n = threadIdx.x; n < TAPS * BLOCK_PLACES; n += ACROSS * DOWN) {
            const int place = n / TAPS, tap = n % TAPS, row = tops[place] + i, column = lefts[place] + tap / CHANNELS;
            const bool is_inside = maps[place] && row >= 0 && row < height && column >= 0 && column < width;
            patches[tap][place] = is_inside ? maps[place][(row * width + column) * CHANNELS + tap % CHANNELS] : 0.0f;
        }
        for (int n = threadIdx.x; n < TAPS * BLOCK_FOURS; n += ACROSS * DOWN) {
            const float* row = weights + (i * TAPS + n / BLOCK_FOURS) * kernels + first_kernel;
            factors[n / BLOCK_FOURS][n % BLOCK_FOURS] = ((const float4*)row)[n % BLOCK_FOURS];
        }
        __syncthreads();
#pragma unroll 3
        for (int tap = 0; tap < TAPS; tap++) {
            const float4 low = factors[tap][across], high = factors[tap][ACROSS + across];
#pragma unroll
            for (int p = 0; p < PLACES; p++) {
                const float value = patches[tap][down * PLACES + p];
                sums[p][0] += value * low.x;
                sums[p][1] += value * low.y;
                sums[p][2] += value * low.z;
                sums[p][3] += value * low.w;
                sums[p][4] += value * high.x;
                sums[p][5] += value * high.y;
                sums[p][6] += value * high.z;
                sums[p][7] += value * high.w;
            }
        }
    }
#pragma unroll
    for (int w = 0; w < WINDOWS; w++) {
        const long long window = first_window + down * WINDOWS + w;
        if (window >= windows)
            return;
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const int kernel = first_kernel + k / 4 * 4 * ACROSS + 4 * across + k % 4;
            float most = sums[w * POOL * POOL][k];
#pragma unroll
            for (int p = 1; p < POOL * POOL; p++)
                most = fmaxf(most, sums[w * POOL * POOL + p][k]);
            most += bias[kernel];
            y[window * kernels + kernel] = !rectifies || most > threshold ? most : 0.0f;
        }
    }
}

#endif
