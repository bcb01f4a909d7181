"""The entry points of the programs: `python -m overfeat_tools classify` is of-classify.

A program spends some time on imports.  Ctrl-C in the meantime should end it as it ends any other that has not begun its
work, without a traceback: so nothing else is imported before that is arranged.
"""

import gc
import os
import signal
import sys
from functools import partial
from importlib import import_module


def run(command: str) -> None:
    """Run the program of a command."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What is made while a program starts is no garbage, and what is left at its end goes with the process: to search it
    # took a tenth of the time of one picture.
    gc.disable()
    # Ours are the threads.  OpenBLAS starts its own when it is loaded, and ends the process where it can't.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import_module(f"overfeat_tools.commands.{command}").main()


COMMANDS = ("batch", "classify", "download", "export", "features", "layer", "locate", "webcam")
batch, classify, download, export, features, layer, locate, webcam = (partial(run, name) for name in COMMANDS)

if __name__ == "__main__":
    if sys.argv[1:2] not in [[name] for name in COMMANDS]:
        sys.exit(f"usage: python -m overfeat_tools {'|'.join(COMMANDS)} [ARGUMENT...]")
    run(sys.argv.pop(1))
