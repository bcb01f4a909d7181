"""The command line: options declared once, and what every program does alike.

A command is a dataclass of options (`options`; `inputs` for what is read, `output_options` for what is printed; each is
a `declaration`) and a function that takes it.  `program` makes a program of the two: it parses, runs, and ends with the
right status or signal, and tells every foreseen error in one line.  `streams` looks after standard output, of which
every byte is written or the failure is told, and standard error, on which `progress` shows how far a run is.
"""

from overfeat_tools.cli.declaration import Argument, Option, whole_number
from overfeat_tools.cli.inputs import InputOptions, input_files
from overfeat_tools.cli.options import Accurate, EngineOptions, Folder, Net, NetworkOptions, Version, network_name
from overfeat_tools.cli.output_options import FORMAT, ExactDecode, Header, MapOptions, check_header
from overfeat_tools.cli.program import program, started
from overfeat_tools.cli.progress import Progress
from overfeat_tools.cli.streams import agreed, gathered, say, write, write_pieces

__all__ = [
    "FORMAT",
    "Accurate",
    "Argument",
    "EngineOptions",
    "ExactDecode",
    "Folder",
    "Header",
    "InputOptions",
    "MapOptions",
    "Net",
    "NetworkOptions",
    "Option",
    "Progress",
    "Version",
    "agreed",
    "check_header",
    "gathered",
    "input_files",
    "network_name",
    "program",
    "say",
    "started",
    "whole_number",
    "write",
    "write_pieces",
]
