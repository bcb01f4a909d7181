"""How the words behind options become values.

typer would have pydantic read them, which takes longer to load than a small picture takes to classify.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from typer import Context
from typer.core import TyperCommand

from overfeat_tools.cli.declaration import Option
from overfeat_tools.errors import UsageError

Reader = Callable[[str], object]

# Python refuses to read very long numbers, and nobody means them.
_MOST_DIGITS = 18


def read_values(command: TyperCommand, options: type) -> None:
    """Let a command read the words behind its options as the annotations of the dataclass `options` say."""
    if asked_for_help := command.get_help_option(Context(command, **command.context_settings)):
        asked_for_help.default = False  # nothing, its own default, is what would have to be read
    hints = get_type_hints(options, include_extras=True)
    for parameter in command.params:
        kind, declared = get_args(hints[str(parameter.name)])
        if kind is not bool and not parameter.required:
            parameter.process_value = _processing(_reader(kind, declared, parameter.opts[0]))  # type: ignore[method-assign, assignment]


def _processing(read: Reader) -> Callable[[Any, Any], Any]:
    """Give a function of click's context and what it found: a word or several, or a default."""

    def process(_: object, found: object) -> object:
        if isinstance(found, (tuple, list)):
            return [read(word) for word in found]
        return read(found) if isinstance(found, str) else found

    return process


def _reader(kind: object, declared: object, flag: str) -> Reader:
    """Give a function that reads a word, or refuses it."""
    kinds = kind, *get_args(kind)
    choices = next((get_args(one) for one in kinds if get_origin(one) is Literal), ())
    number = next((one for one in (int, float) if one in kinds), None)
    if not isinstance(declared, Option) or not (choices or number):
        return str
    least, most = declared.min, declared.max
    if choices:
        expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
    else:
        bounds = "" if least is None else f" from {least} on" if most is None else f" from {least} to {most}"
        expected = f"a {'whole ' if number is int else ''}number{bounds}"

    def read(word: str) -> object:
        if choices and word in choices:
            return word
        if number and word.isascii() and len(word) <= _MOST_DIGITS and "_" not in word:
            try:
                value = number(word)
            except ValueError:
                pass
            else:
                if (least is None or value >= least) and (most is None or value <= most):
                    return value
        raise UsageError(f"{flag} {word}: {expected} expected")

    return read
