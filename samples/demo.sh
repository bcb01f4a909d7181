#!/bin/sh
# Show the programs at work on the sample pictures: file names beside answers, a stream, features.
set -eu
cd "$(dirname "$0")"
bin=../bin

echo "The pictures in this folder, and the best class of each, of-classify --net tiny -n 1 *.png:"
echo
for picture in *.png; do
    printf '  %-24s %s\n' "$picture" "$("$bin/of-classify" --net tiny -n 1 "$picture")"
done
echo
echo "The two best classes of each picture in a stream, of-classify --net tiny -n 2 --format tsv <stream.ppm:"
echo
"$bin/of-classify" --net tiny -n 2 --format tsv <stream.ppm | cut -f 1,5,6 | sed 's/^/  /'
echo
echo "The features of a picture, of-features --net tiny star.png:"
echo
"$bin/of-features" --net tiny star.png | cut -c 1-72 | sed 's/^/  /; s/$/.../'
echo
echo "tiny is a demonstration: it was trained on drawn patterns and knows nothing about photographs."
echo "For OverFeat itself, get NYU's weights (0.58 GB a network):"
echo
echo "  bin/of-download fast"
echo "  bin/of-classify photo.jpg"
