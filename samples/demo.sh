#!/bin/sh
# Show the suite at work on pictures that come with it: names beside answers, then features.
set -eu
cd "$(dirname "$0")"
bin=../bin

echo "Pictures of this folder, and what of-classify --net tiny takes them for:"
echo
for picture in *.png; do
    printf '  %-24s %s\n' "$picture" "$("$bin/of-classify" --net tiny -n 1 "$picture")"
done
echo
echo "A stream of four pictures, cat stream.ppm | of-classify --net tiny -n 2 --format tsv:"
echo
cat stream.ppm | "$bin/of-classify" --net tiny -n 2 --format tsv | cut -f 1,5,6 | sed 's/^/  /'
echo
echo "The features of a picture, of-features --net tiny star.png:"
echo
"$bin/of-features" --net tiny star.png | cut -c 1-72 | sed 's/^/  /; s/$/.../'
echo
echo "tiny is a demonstration: it was trained on drawn patterns and knows nothing of photographs."
echo "For OverFeat itself, get NYU's weights (0.58 GB a network):"
echo
echo "  bin/of-download fast"
echo "  bin/of-classify photo.jpg"
