"""The programs, a file each: options to stages, and a short loop."""
