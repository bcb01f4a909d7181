/* What of-layer's text costs in C: print_map FILE CHANNELS HEIGHT WIDTH MAPS; FILE holds float32 values */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    FILE *file = fopen(argv[1], "rb");
    if (!file || fseek(file, 0, SEEK_END))
        return 1;
    long bytes = ftell(file);
    rewind(file);
    float *values = malloc(bytes);
    if (!values || fread(values, 1, bytes, file) != (size_t)bytes)
        return 1;
    long size = atol(argv[2]) * atol(argv[3]) * atol(argv[4]);
    for (long map = 0; map < atol(argv[5]); map++) {
        printf("%s %s %s\n", argv[2], argv[3], argv[4]);
        for (long i = 0; i < size; i++)
            printf("%g ", values[map * size + i]);
        printf("\n");
    }
    return 0;
}
