"""The commands' outer shell: options defined once, exceptions turned into one line and a status.

A command is a function whose parameters are options, or dataclasses of options shared by several
commands.  `entry` makes its program: parse, run, and end with the right status whatever happens.
"""

import contextlib
import dataclasses
import gc
import inspect
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal, NoReturn

import typer

from overfeat_tools import __version__
from overfeat_tools.errors import OverfeatError, UsageError

STATUS_INTERRUPTED = 130  # 128 + SIGINT
STATUS_CLOSED_PIPE = 141  # 128 + SIGPIPE
_CLOSED_OUTPUT = "standard output is closed"

NetworkName = Literal["tiny", "fast", "accurate"]
Device = Literal["auto", "cpu", "cuda"]
Method = Literal["auto", "gemm", "fft", "cook-toom"]


Folder = Annotated[
    str | None,
    typer.Option(
        "-d", metavar="DIR", help="Folder with the weights. [default: $OVERFEAT_DATA, else the user's data folder]"
    ),
]


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """Which network to run, and how: the options of every command that runs one."""

    net: Annotated[NetworkName | None, typer.Option("--net", help="Network. [default: fast]", show_default=False)] = (
        None
    )
    accurate: Annotated[bool, typer.Option("-l", help="The same as --net accurate.")] = False
    folder: Folder = None
    device: Annotated[Device, typer.Option("--device", help="Where to compute.")] = "auto"
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, max=1024, help="Threads. [default: all processors]")
    ] = None
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, max=4096, help="Most pictures computed at a time.")
    ] = 64
    method: Annotated[Method, typer.Option("--method", help="How to convolve.")] = "auto"
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first picture that can't be used.")] = False
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Tell on stderr what was planned, and the time taken.")
    ] = False

    @property
    def name(self) -> str:
        """The network asked for."""
        if self.accurate and self.net not in (None, "accurate"):
            message = f"-l means --net accurate; it can't go with --net {self.net}"
            raise UsageError(message)
        return "accurate" if self.accurate else self.net or "fast"


Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE",
        help="Pictures in any common format, or PNM streams; none or - is standard input.",
        show_default=False,
    ),
]

Count = Annotated[int, typer.Option("-n", metavar="N", min=1, help="Classes to print for each picture.")]
ClassFormat = Annotated[Literal["text", "tsv", "json"], typer.Option("--format", help="What to print.")]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="S|none",
        help="Scale the shorter side to S, then cut the centre square; none: only cut. [default: the network's input]",
        show_default=False,
    ),
]
ExactDecode = Annotated[
    bool, typer.Option("--exact-decode", help="Decode large JPEG files whole, not at a reduced size.")
]
Layer = Annotated[int | None, typer.Option("-L", metavar="N", min=0, help="The layer to print.", show_default=False)]
ListLayers = Annotated[bool, typer.Option("--list", help="Print the table of layers instead.")]
InputSize = Annotated[
    str | None,
    typer.Option(
        "--input", metavar="HxW", help="Picture size for --list. [default: the network's input]", show_default=False
    ),
]
MapFormat = Annotated[Literal["text", "npy"], typer.Option("--format", help="What to print.")]

Networks = Annotated[
    list[str] | None,
    typer.Argument(metavar="NET", help="fast, accurate, or both. [default: both]", show_default=False),
]
WeightSource = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE|DIR|URL",
        help="An archive or weight file, a folder, or another server. [default: $OVERFEAT_URL, else those known]",
        show_default=False,
    ),
]
ListInstalled = Annotated[bool, typer.Option("--list", help="Show what is installed, and the sources known.")]
Verify = Annotated[bool, typer.Option("--verify", help="Check what is installed; fetch nothing.")]
Sha256 = Annotated[
    list[str] | None,
    typer.Option(
        "--sha256", metavar="HEX", help="Accept only weight files with this sum; may be repeated.", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask whether the licence suits.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Show errors only, and the licence.")]


def entry(name: str, command: Callable[..., int | None]) -> Callable[[], NoReturn]:
    """Make the main function of a program.

    Parameters
    ----------
    name : str
        The program's name, for its help and messages.
    command : callable
        Its parameters become options; its docstring the help; it returns an exit status or None.  It calls
        `started` before work of any length: until then no garbage is collected.
    """

    def main() -> NoReturn:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # libraries' warnings are not for the user of a program
        # What is made while a program starts is no garbage, and what is left at its end goes with the process: to
        # search it took a tenth of the time of one picture.
        gc.disable()
        status = _run(name, command, sys.argv[1:])
        # Whatever is left in Python's buffers has nowhere to go: say nothing more about it.
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except (OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        gc.freeze()
        sys.exit(status)

    return main


def started() -> None:
    """Tell that a program has brought together what it needs, and begins its work."""
    gc.freeze()
    gc.enable()


def _run(name: str, command: Callable[..., int | None], arguments: list[str]) -> int:
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.command(name)(_flattened(command))
    try:
        try:
            # Only parses: what is to be done comes back, to be done outside typer's own handlers.
            parsed = app(arguments, prog_name=name, standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
        except SystemExit:  # how typer answers a closed pipe under its help
            raise BrokenPipeError from None
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise _output_error(error) from error
        if not callable(parsed) and sys.stdout is None:
            say(name, _CLOSED_OUTPUT)
            return OverfeatError.exit_status
        status = parsed() if callable(parsed) else parsed
    except typer.TyperException as error:
        message = " ".join(error.format_message().replace("Value error, ", "").split())
        say(name, f"{message[:1].lower()}{message[1:].rstrip('.')}; see {name} -h")
        return UsageError.exit_status
    except (KeyboardInterrupt, typer.Abort):
        return STATUS_INTERRUPTED
    except BrokenPipeError:
        return STATUS_CLOSED_PIPE
    except OverfeatError as error:
        say(name, str(error))
        return error.exit_status
    return status or 0


def say(name: str, message: str) -> None:
    """Print one line on stderr; control characters in it are escaped."""
    line = "".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else repr(c)[1:-1] for c in message)
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"{name}: {line}", file=sys.stderr, flush=True)  # noqa: T201 -- this is where messages go


class Output:
    """Standard output, for bytes.

    Raises
    ------
    OverfeatError
        It is closed, or what was written could not be: BrokenPipeError alone passes through.
    """

    def __init__(self) -> None:
        if sys.stdout is None:
            raise OverfeatError(_CLOSED_OUTPUT)
        self._file = sys.stdout.buffer

    def write(self, *chunks: bytes) -> None:
        """Write bytes, perhaps later."""
        for chunk in chunks:
            self._checked(lambda chunk=chunk: self._file.write(chunk))  # type: ignore[misc]

    def flush(self) -> None:
        """Write what was put off."""
        self._checked(self._file.flush)

    def _checked(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _output_error(error) from error


def _output_error(error: OSError) -> OverfeatError:
    return OverfeatError(f"standard output: {(error.strerror or str(error)).lower()}")


def agreed(question: str) -> bool:
    """Ask on the terminal; where there is none, nobody can be asked: yes.

    Raises
    ------
    OverfeatError
        The terminal went away.
    """
    if sys.stdin is None or sys.stderr is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    try:
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 -- this is where messages go
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except (OSError, ValueError) as error:
        message = "the terminal went away"
        raise OverfeatError(message) from error


def input_files(files: list[str] | None) -> list[str]:
    """Give the files to read: standard input if none is named.

    Raises
    ------
    UsageError
        Standard input is a terminal: nothing will come.
    OverfeatError
        Standard input is closed.
    """
    chosen = files or ["-"]
    if "-" in chosen:
        if sys.stdin is None:
            message = "standard input is closed"
            raise OverfeatError(message)
        if not files and sys.stdin.isatty():
            raise _NothingToDoError
    return chosen


class _NothingToDoError(UsageError):
    """Nothing to do: the help is the best answer."""


def _flattened(command: Callable[..., int | None]) -> Callable[..., Callable[[], int | None]]:
    """Wrap a command for typer: dataclass parameters become their fields, calling is put off."""
    groups: dict[str, tuple[type, list[str]]] = {}
    parameters = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for parameter in inspect.signature(command).parameters.values():
        kind = parameter.annotation
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            fields = dataclasses.fields(kind)
            groups[parameter.name] = kind, [field.name for field in fields]
            parameters += [
                inspect.Parameter(field.name, parameter.KEYWORD_ONLY, annotation=field.type, default=field.default)
                for field in fields
            ]
        else:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
    parameters.append(
        inspect.Parameter(
            "version",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[
                bool,
                typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version),
            ],
        )
    )

    def wrapper(context: typer.Context, version: bool, **values: Any) -> Callable[[], int | None]:  # noqa: ANN401, ARG001, FBT001
        for group, (kind, names) in groups.items():
            values[group] = kind(**{field: values.pop(field) for field in names})

        def call() -> int | None:
            try:
                return command(**values)
            except _NothingToDoError:
                typer.echo(context.get_help(), err=True)
                return UsageError.exit_status

        return call

    wrapper.__doc__ = command.__doc__
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _version(context: typer.Context, value: bool) -> None:  # noqa: FBT001 -- typer calls it so
    if value:
        typer.echo(f"{context.info_name} {__version__}")
        raise typer.Exit
