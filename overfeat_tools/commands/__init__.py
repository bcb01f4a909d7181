"""The programs, a file each: options to stages, and a short loop."""

import signal

# Ctrl-C while a program is still being loaded should end it like any other, without a traceback;
# `cli.entry` takes over.  What the shell set to be ignored stays so.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
