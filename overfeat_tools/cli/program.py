"""Make a program of a command: parse its options, do it, and end with the right status or signal."""

import contextlib
import errno
import gc
import inspect
import io
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn, TypeVar, cast

import typer
import typer.main
from typer.core import TyperCommand

from overfeat_tools.cli.streams import NothingToDoError, check_output, say, show, take_stderr, write
from overfeat_tools.cli.values import read_values
from overfeat_tools.errors import OverfeatError, UsageError, reason

Options = TypeVar("Options")

# With fewer addresses (`ulimit -v`) libraries end the process or crash while they are loaded, OpenBLAS among them.
_LEAST_ADDRESSES = 160 << 20


def program(name: str, command: Callable[[Options], int], options: type[Options]) -> Callable[[], NoReturn]:
    """Make the main function of a program.

    Parameters
    ----------
    name : str
        The program's name, for its help and messages.
    command : callable
        Does the work and gives the exit status; its docstring is the help.  It calls `started` before work of any
        length.
    options : type
        A dataclass whose fields are annotated with an `Option` or `Argument` each.  To typer it is a function as any
        other: it reads the signature, and calls it with what was parsed.
    """

    def main() -> NoReturn:
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # libraries' warnings are not for the user of a program
        try:
            status = _run(name, command, options)
        except (KeyboardInterrupt, typer.Abort):
            _die_of(signal.SIGINT)
        except BrokenPipeError:
            _die_of(signal.SIGPIPE)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to tidy up
        gc.freeze()
        sys.exit(status)

    return main


def started() -> None:
    """Tell that a program has brought together what it needs, and begins its work.

    Until then Ctrl-C simply ends it (see `overfeat_tools.__main__`), and libraries may say why they can't be loaded.
    """
    import logging

    logging.disable()  # libraries' messages, as their warnings
    take_stderr()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.freeze()
    gc.enable()


def _parser(name: str, command: Callable[[Options], int], options: type[Options]) -> TyperCommand:
    """Make what parses a program's options; its own come first, then those that it shares."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.command(name, help=command.__doc__)(options)
    made = cast("TyperCommand", typer.main.get_command(app))
    read_values(made, options)
    order = {field: depth for depth, kind in enumerate(options.__mro__) for field in inspect.get_annotations(kind)}
    made.params.sort(key=lambda parameter: order[parameter.name])
    return made


def _run(name: str, command: Callable[[Options], int], options: type[Options]) -> int:
    failure: OverfeatError
    try:
        parse = _parser(name, command, options)
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            parsed = parse.main(sys.argv[1:], prog_name=name, standalone_mode=False)
        if isinstance(parsed, options):
            _check_addresses()
            status = command(parsed)
        else:  # the help or the version was asked for
            write(shown.getvalue().encode())
            status = 0
        check_output()
    except NothingToDoError as error:
        show(parse.get_help(parse.make_context(name, [])) + "\n")
        return error.exit_status
    except typer.TyperException as error:
        message = " ".join(error.format_message().split())
        failure = UsageError(f"{message[:1].lower()}{message[1:].rstrip('.')}; see {name} -h")
    except (MemoryError, OSError) as error:
        failure = _shortage(error)
    except ImportError as error:
        cause: BaseException = error
        while isinstance(cause.__context__, ImportError):
            cause = cause.__context__
        failure = OverfeatError(f"a library can't be loaded: {cause}")
    except OverfeatError as error:
        failure = error
    else:
        return status
    finally:
        show("")  # which erases a progress line
    say(name, str(failure))
    return failure.exit_status


def _shortage(error: MemoryError | OSError) -> OverfeatError:
    """Say what has run out; any other error of the system that nobody foresaw is a bug."""
    if isinstance(error, MemoryError):
        return OverfeatError("not enough memory")
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return OverfeatError(reason(error))
    raise error


def _check_addresses() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _LEAST_ADDRESSES:
        raise MemoryError


def _die_of(number: signal.Signals) -> NoReturn:
    """End as any program ends by this signal: a shell then stops its loop as well, and reports 128 + the number."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    sys.exit(128 + number)  # it is blocked
