"""The command line: options declared once, and what every program does alike.

A command is a dataclass of options (`options`) and a function that takes it.  `program` makes a program of the two:
it parses, runs, and ends with the right status or signal, and tells every foreseen error in one line.  `streams` looks
after standard output, of which every byte is written or the failure is told, and standard error, on which `progress`
shows how far a run is.
"""

from overfeat_tools.cli.options import (
    Argument,
    Files,
    Folder,
    NetworkOptions,
    Option,
    Version,
    whole_number,
)
from overfeat_tools.cli.output_options import ExactDecode, Header, MapOptions
from overfeat_tools.cli.program import program, started
from overfeat_tools.cli.progress import Progress
from overfeat_tools.cli.streams import agreed, input_files, say, write, write_pieces

__all__ = [
    "Argument",
    "ExactDecode",
    "Files",
    "Folder",
    "Header",
    "MapOptions",
    "NetworkOptions",
    "Option",
    "Progress",
    "Version",
    "agreed",
    "input_files",
    "program",
    "say",
    "started",
    "whole_number",
    "write",
    "write_pieces",
]
