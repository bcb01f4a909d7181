"""Moving pictures in, a live screen out: what of-webcam has and no other program.

`cameras` lists what can be watched, and `ffmpeg` reads it: the only program that this package ever starts.  `frames`
keeps the newest frame and drops the others.  `graphics` turns a frame into what a terminal shows, and `screen` takes
the terminal over and gives it back.
"""
