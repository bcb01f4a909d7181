r"""Write into the manual pages what must not drift from the programs, and what several pages share.

    python man/build.py             rewrites the pages
    python man/build.py --check     only names those that would change, and fails if there are any

A page's text between the lines `.\" begin WHAT` and `.\" end` is made here.  WHAT is `name`, `options`, `synopsis`
(of all options, or of those that follow), `layers NETWORK`, or the name of a file in `shared/`.
"""

import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args, get_origin, get_type_hints

from overfeat_tools import cli

MAN = Path(__file__).resolve().parent
REGION = re.compile(r'^(\.\\" begin (.+)\n)(?:.*\n)*?(\.\\" end\n)', re.MULTILINE)
HELP = ".It Fl h , -help\nPrint a short help and exit.\n"


class Flag:
    """An option as a page shows it, from its declaration and its type."""

    def __init__(self, declared: cli.Option, kind: object, default: object) -> None:
        self.spellings = declared.param_decls or ()
        self.help = declared.help or ""
        self.manual = inspect.cleandoc(declared.manual)
        for name, value in (("default", default), ("min", declared.min), ("max", declared.max)):
            self.manual = self.manual.replace(f"{{{name}}}", str(value))
        literal = next((part for part in (kind, *get_args(kind)) if get_origin(part) is Literal), None)
        self.takes_none = kind is bool
        self.repeats = any(get_origin(part) is list for part in (kind, *get_args(kind)))
        self.words = get_args(literal) if literal else (declared.metavar or "").split("|")
        # Words to be typed as they are become Cm, names of what to put there Ar.
        macros = [("Cm" if word.islower() else "Ar", word) for word in self.words]
        value = " | ".join(f"{macro} {word}" for macro, word in macros).replace("| Cm ", "| " if literal else "| Cm ")
        self.value = "" if self.takes_none else f" {value}"

    @property
    def is_letter(self) -> bool:
        """Whether it can be written together with others."""
        return self.takes_none and len(self.spellings[0]) == len("-l")

    @property
    def first(self) -> str:
        """The first spelling, and the value, as arguments of Fl."""
        return self.spellings[0].removeprefix("-") + self.value


def module_of(program: str) -> ModuleType:
    """Import the module of a program."""
    return importlib.import_module(f"overfeat_tools.commands.{program.removeprefix('of-')}")


@cache
def flags(program: str) -> tuple[list[Flag], list[Flag]]:
    """List the options of a program: its own, and those that it shares."""
    options = module_of(program).Options
    hints = get_type_hints(options, include_extras=True)
    own: list[Flag] = []
    shared: list[Flag] = []
    depths = {field: depth for depth, kind in enumerate(options.__mro__) for field in inspect.get_annotations(kind)}
    for field in sorted(dataclasses.fields(options), key=lambda field: depths[field.name]):
        kind, declared = get_args(hints[field.name])
        if isinstance(declared, cli.Option):
            inherited = depths[field.name] > 0 or field.name == "version"
            (shared if inherited else own).append(Flag(declared, kind, field.default))
    return own, shared


def name(program: str) -> str:
    """Make the section NAME of the first sentence of the help."""
    command = getattr(module_of(program), program.removeprefix("of-"))
    summary = command.__doc__.partition(".")[0]
    return f".Nm {program}\n.Nd {summary[0].lower()}{summary[1:]}\n"


def options(program: str) -> str:
    """Make the entries of the section OPTIONS."""
    own, shared = flags(program)
    entries = [
        f".It Fl {' , '.join(spelling.removeprefix('-') for spelling in flag.spellings)}{flag.value}\n{flag.manual}\n"
        for flag in own + shared
    ]
    return f".Bl -tag -width Ds\n{''.join(entries)}{HELP}.El\n"


def synopsis(program: str, *wanted: str) -> str:
    """Make a form of the synopsis: of all options, or of those wanted, where `shared` are those of every network."""
    own, shared = flags(program)
    known = {flag.spellings[0]: [flag] for flag in own + shared} | {"shared": shared}
    chosen = [flag for each in wanted or known for flag in known[each] if "--version" not in flag.spellings]
    chosen = list(dict.fromkeys(chosen))
    letters = "".join(flag.first for flag in chosen if flag.is_letter)
    rest = "".join(f".Op Fl {flag.first}\n" for flag in chosen if not flag.is_letter)
    return f".Op Fl {letters}\n{rest}" if letters else rest


def layers(_: str, network: str) -> str:
    """Make the table of a network's layers."""
    command = [sys.executable, "-m", "overfeat_tools", "layer", "--list", "--net", network]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=MAN.parent).stdout
    rows, total = [], 0
    for line in listed.splitlines()[1:]:
        number, kind, *shape, parameters, what = re.split(r" {2,}", line.strip())
        total += int(parameters)
        kind = f"{kind} {what}" if kind in ("convolve", "maxpool") else kind
        rows.append(f".It {number} Ta {kind} Ta {'x'.join(shape)} Ta {parameters if int(parameters) else ''}".rstrip())
    widths = '"Layer" "convolve 11x11, stride 4" "1024x15x15" "145920872"'
    head = f".Bl -column {widths} -offset indent\n.It Em Layer Ta Em Kind Ta Em Output Ta Em Parameters\n"
    return head + "\n".join(rows) + f"\n.It all Ta Ta Ta {total}\n.El\n"


def made(program: str, what: str) -> str:
    """Make a region of a page."""
    kind, *arguments = what.split()
    makers = {"name": name, "options": options, "synopsis": synopsis, "layers": layers}
    if kind in makers:
        return makers[kind](program, *arguments)
    return (MAN / "shared" / f"{kind}.mdoc").read_text("utf-8")


def main() -> None:
    """Rewrite the pages, or name those that are stale."""
    checking = "--check" in sys.argv
    stale = []
    for page in sorted(MAN.glob("*.[1-9]")):
        text = page.read_text("utf-8")
        fresh = REGION.sub(lambda found, page=page: found[1] + made(page.stem, found[2]) + found[3], text)  # type: ignore[misc]
        if fresh != text:
            stale.append(page.name)
            if not checking:
                page.write_text(fresh, "utf-8")
    if stale and checking:
        sys.exit(f"these pages are out of date, run `make man`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
