"""How options are declared: once, with a line for the help and a paragraph for the manual page.

`man/build.py` makes the pages of the paragraphs.
"""

from typing import Any

from typer.models import ArgumentInfo, OptionInfo

from overfeat_tools.errors import UsageError


class Option(OptionInfo):
    """Annotates a field that is an option.

    Parameters
    ----------
    *flags : str
        Its spellings.
    help : str
        Its line in the help.
    manual : str
        Its paragraph in the manual page, in the language of mdoc(7), where {default}, {min} and {max} stand for values.
    **settings
        What else `typer.Option` takes.
    """

    def __init__(self, *flags: str, help: str, manual: str, **settings: Any) -> None:  # noqa: A002, ANN401 -- typer's
        super().__init__(default=..., param_decls=flags, help=help, **settings)
        self.manual = manual


class Argument(ArgumentInfo):
    """Annotates a field that is an argument; see `typer.Argument`."""

    def __init__(self, metavar: str, help: str) -> None:  # noqa: A002 -- typer's name
        super().__init__(default=..., metavar=metavar, help=help)


def whole_number(text: str, expected: str, least: int = 0) -> int:
    """Read a number of at most nine digits.

    Raises
    ------
    UsageError
        It is something else than `expected`.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):  # noqa: PLR2004 -- Python refuses very long ones
        raise UsageError(f"{expected} expected")
    return int(text)
