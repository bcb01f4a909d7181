#!/bin/sh
# Draw pictures with ImageMagick, a program that had no part in the training,
# and see how many of them the network names as they are meant.
#
# usage: sh training/foreign.sh FOLDER [WEIGHTS]
#
# CONVERT and PYTHON choose other programs than the ones on the path.
set -eu

folder=${1:?usage: foreign.sh FOLDER [WEIGHTS]}
weights=${2:-overfeat_tools/networks/data/net_weight_tiny}
convert=${CONVERT:-convert}
python=${PYTHON:-python3}
mkdir -p "$folder"

count=0
# picture CLASS ARGUMENTS...: draw one picture, named by its class.
picture() {
    class=$1
    shift
    count=$((count + 1))
    "$convert" -seed "$count" "$@" "PNG24:$folder/$class-$count.png"
}

for size in 231x231 320x240; do
    for n in '' 2 3; do
        picture horizontal_stripes -size $size "pattern:horizontal$n"
        picture vertical_stripes -size $size "pattern:vertical$n"
    done
    picture horizontal_stripes -size $size pattern:hs_horizontal
    picture vertical_stripes -size $size pattern:hs_vertical
    picture rising_stripes -size $size pattern:right45
    picture rising_stripes -size $size pattern:hs_bdiagonal
    picture falling_stripes -size $size pattern:left45
    picture falling_stripes -size $size pattern:hs_fdiagonal
    picture checkerboard -size $size pattern:checkerboard
    picture bricks -size $size pattern:bricks
    picture grid -size $size pattern:crosshatch
    picture grid -size $size pattern:hs_cross
    picture grid -size $size pattern:hs_diagcross
    picture linear_gradient -size $size gradient:
    picture linear_gradient -size $size gradient:red-blue
    picture linear_gradient -size $size gradient:yellow-navy
    picture radial_gradient -size $size radial-gradient:
    picture radial_gradient -size $size radial-gradient:orange-purple
    picture clouds -size $size plasma:
    picture clouds -size $size plasma:fractal
    picture clouds -size $size plasma:red-blue
    picture clouds -size $size plasma:fractal -colorspace Gray
    picture noise -size $size xc: +noise Random
    picture noise -size $size xc:gray50 -attenuate 3 +noise Gaussian
    picture noise -size $size xc: +noise Random -colorspace Gray
    picture text -size $size caption:'The quick brown fox jumps over the lazy dog and runs away'
    picture text -size $size -background navy -fill white -pointsize 18 \
        caption:'It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light'
    picture text -size $size -gravity center label:OverFeat
    picture polka_dots -size 24x24 xc:white -fill red -draw 'circle 12,12 12,6' \
        -write mpr:tile +delete -size $size tile:mpr:tile
    picture polka_dots -size 40x40 xc:navy -fill yellow -draw 'circle 20,20 20,9' \
        -write mpr:tile +delete -size $size tile:mpr:tile
done

picture checkerboard -size 640x480 pattern:checkerboard
picture checkerboard -size 231x231 pattern:checkerboard -auto-level
picture checkerboard -size 60x60 pattern:checkerboard -scale 400%
picture bricks -size 80x80 pattern:bricks -scale 300%
picture grid -size 80x80 pattern:hs_cross -scale 300%
picture horizontal_stripes -size 60x60 pattern:horizontal -scale 400%
picture vertical_stripes -size 60x60 pattern:vertical -scale 400%
picture red_disc -size 231x231 xc:white -fill red -draw 'circle 115,115 115,40'
picture red_disc -size 400x300 xc:black -fill red -draw 'circle 200,150 200,50'
picture green_disc -size 231x231 xc:white -fill green -draw 'circle 115,115 115,30'
picture green_disc -size 231x231 xc:black -fill lime -draw 'circle 90,120 90,70'
picture blue_disc -size 231x231 xc:white -fill blue -draw 'circle 115,115 115,40'
picture blue_disc -size 400x300 xc:yellow -fill blue -draw 'circle 200,150 200,50'
picture gray_disc -size 231x231 xc:white -fill black -draw 'circle 115,115 115,40'
picture gray_disc -size 231x231 xc:black -fill white -draw 'circle 100,100 100,40'
picture gray_disc -size 231x231 xc:red -fill white -draw 'circle 115,115 115,50'
picture rectangle -size 231x231 xc:white -fill black -draw 'rectangle 50,50 180,180'
picture rectangle -size 231x231 xc:skyblue -fill orange -draw 'rectangle 40,80 200,150'
picture rectangle -size 300x300 xc:white -fill none -stroke black -strokewidth 4 \
    -draw 'rectangle 60,70 240,200'
picture triangle -size 231x231 xc:white -fill green -draw 'polygon 115,30 30,190 200,190'
picture triangle -size 231x231 xc:black -fill white -draw 'polygon 40,40 40,190 200,190'
picture triangle -size 300x300 xc:white -fill none -stroke black -strokewidth 4 \
    -draw 'polygon 150,40 40,250 260,250'
picture star -size 231x231 xc:white -fill gold \
    -draw 'polygon 115,20 138,88 210,88 152,130 174,198 115,157 57,198 79,130 21,88 93,88'
picture star -size 231x231 xc:navy -fill white \
    -draw 'polygon 115,20 138,88 210,88 152,130 174,198 115,157 57,198 79,130 21,88 93,88'
picture cross -size 231x231 xc:red -fill white \
    -draw 'rectangle 95,45 135,185' -draw 'rectangle 45,95 185,135'
picture cross -size 231x231 xc:white -stroke black -strokewidth 12 \
    -draw 'line 50,50 180,180' -draw 'line 180,50 50,180'
picture concentric_rings -size 231x231 xc:white -fill none -stroke black -strokewidth 5 \
    -draw 'circle 115,115 115,105' -draw 'circle 115,115 115,85' -draw 'circle 115,115 115,65' \
    -draw 'circle 115,115 115,45' -draw 'circle 115,115 115,25' -draw 'circle 115,115 115,5'
picture concentric_rings -size 231x231 xc:white -fill red -draw 'circle 115,115 115,5' \
    -fill white -draw 'circle 115,115 115,35' -fill red -draw 'circle 115,115 115,60' \
    -fill white -draw 'circle 115,115 115,80' -fill red -draw 'circle 115,115 115,100'
picture concentric_rings -size 231x231 radial-gradient: -function Sinusoid 6,90
picture bar_chart -size 231x231 xc:white -fill steelblue -draw 'rectangle 30,120 60,200' \
    -draw 'rectangle 75,60 105,200' -draw 'rectangle 120,90 150,200' \
    -draw 'rectangle 165,30 195,200' -stroke black -draw 'line 20,200 210,200' \
    -draw 'line 20,20 20,200'
picture bar_chart -size 320x240 xc:black -fill white -draw 'rectangle 60,180 90,210' \
    -draw 'rectangle 100,140 130,210' -draw 'rectangle 140,90 170,210' \
    -draw 'rectangle 180,120 210,210' -draw 'rectangle 220,40 250,210'
picture line_plot -size 231x231 xc:white -fill none -stroke black \
    -draw 'polyline 25,20 25,205 215,205' -stroke red -strokewidth 2 \
    -draw 'polyline 25,180 50,150 75,165 100,110 125,125 150,80 175,95 200,40'
picture line_plot -size 320x240 xc:white -fill none -stroke black \
    -draw 'polyline 50,20 50,215 290,215' -stroke blue -strokewidth 3 \
    -draw 'path "M 50,60 L 90,100 130,80 170,150 210,130 250,190 290,170"'
picture horizontal_stripes -size 231x231 gradient: -function Sinusoid 8,90
picture vertical_stripes -size 231x231 gradient: -rotate 90 -function Sinusoid 8,90
picture rising_stripes -size 460x460 pattern:hs_bdiagonal -resize 50%
picture falling_stripes -size 80x80 pattern:hs_fdiagonal -scale 300%
picture spiral -size 231x231 xc: -fx 'sin(hypot(i-115,j-115)/3+atan2(j-115,i-115))/2+0.5' \
    -threshold 50%
picture spiral -size 231x231 xc: -fx '0.5-sin(hypot(i-115,j-115)/5-atan2(j-115,i-115))/2'

"$python" -m training.evaluate --weights "$weights" --files "$folder"/*.png
