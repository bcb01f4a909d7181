"""Write the files that complete options, their values and files in bash, zsh and fish, from the options' declarations.

    python man/completions.py             rewrites completions/
    python man/completions.py --check     only names the files that would change, and fails if there are any

They are static: a shell that asked the program would wait for Python at each Tab.
"""

import dataclasses
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args, get_type_hints

from build import Flag, flags, module_of

from overfeat_tools import cli
from overfeat_tools.download.sources import published_files

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = list(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"])
ORIGIN = "Completion for {}; made by man/completions.py from the options' declarations."


@dataclasses.dataclass
class Value:
    """What an option or an operand takes: words, the name of a file or a folder, or what can't be completed."""

    name: str
    words: Sequence[str]
    files: bool = False
    folders: bool = False

    @classmethod
    def of(cls, words: Sequence[str]) -> "Value":
        """Read the words that are declared: small ones are typed as they are, the others say what to put there."""
        small = [word for word in words if word.islower()]
        name = next((word for word in words if word not in small), "value")
        return cls(name, small, files="FILE" in words, folders="DIR" in words and "FILE" not in words)


@dataclasses.dataclass
class Switch:
    """An option as the shells see it."""

    spellings: Sequence[str]
    help: str
    value: Value | None = None
    repeats: bool = False


def switches(program: str) -> list[Switch]:
    """List the options of a program."""
    own, shared = flags(program)
    return [*map(_switch, own + shared), Switch(("-h", "--help"), "Show a short help and exit")]


def _switch(flag: Flag) -> Switch:
    summary = re.sub(r"\s*\[default:.*?\]", "", flag.help).rstrip(".")
    return Switch(flag.spellings, summary, None if flag.takes_none else Value.of(flag.words), flag.repeats)


def operand(program: str) -> Value | None:
    """Give what a program takes besides options, if it takes anything."""
    hints = get_type_hints(module_of(program).Options, include_extras=True)
    arguments = (each for hint in hints.values() for each in get_args(hint) if isinstance(each, cli.Argument))
    if (declared := next(arguments, None)) is None:
        return None
    networks = [file.network for file in published_files(None)] if declared.metavar == "NET" else []
    return Value.of([str(declared.metavar), *networks])


def bash(program: str) -> str:
    """Make the file for bash, whose own completion of files and folders is asked for where it is wanted."""
    function = "_" + program.replace("-", "_")
    known = switches(program)
    cases = [f"    {'|'.join(one.spellings)}) {_in_bash(one.value)} ;;" for one in known if one.value]
    spellings = Value("", [spelling for one in known for spelling in one.spellings])
    return f"""# {ORIGIN.format(program)}
{function}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} option=${{COMP_WORDS[COMP_CWORD - 1]}} before
    # Bash takes --option=value apart at the equals sign.
    if [[ $word == = ]]; then
        word=
    elif [[ $option == = ]]; then
        option=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for before in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
        [[ $before == -- ]] && option=--
    done
    case $option in
{chr(10).join(cases)}
    *)
        if [[ $word == -* && $option != -- ]]; then
            {_in_bash(spellings)}
        else
            {_in_bash(operand(program))}
        fi
        ;;
    esac
}}
complete -F {function} {program}
"""


def _in_bash(value: Value | None) -> str:
    if value is None:
        return ":"
    words = f"COMPREPLY=($(compgen -W '{' '.join(value.words)}' -- \"$word\"))" if value.words else ""
    places = "compopt -o default" if value.files else "compopt -o dirnames" if value.folders else ""
    return "; ".join(filter(None, [words, places])) or ":"


def zsh(program: str) -> str:
    """Make the file for zsh."""
    specs = [_in_zsh(one, spelling) for one in switches(program) for spelling in one.spellings]
    taken = operand(program)
    lines = " \\\n".join(f"  '{spec}'" for spec in [*specs, *([f"*{_action(taken)}"] if taken else [])])
    return f"#compdef {program}\n# {ORIGIN.format(program)}\n_arguments -s -S \\\n{lines}\n"


def _in_zsh(switch: Switch, spelling: str) -> str:
    final = not {"--help", "--version"}.isdisjoint(switch.spellings)
    before = "*" if switch.repeats else f"({'- *' if final else ' '.join(switch.spellings)})"
    joint = "" if switch.value is None else "=" if spelling.startswith("--") else "+"
    summary = re.sub(r"([\[\]\\])", r"\\\1", switch.help).replace("'", r"'\''")
    return f"{before}{spelling}{joint}[{summary}]{_action(switch.value) if switch.value else ''}"


def _action(value: Value) -> str:
    places = "_files" if value.files else "_directories" if value.folders else ""
    words = f"({' '.join(value.words)})" if value.words else ""
    both = f'{{_alternative "v:value:{words}" "p:file:{places}"}}'
    return f":{value.name}:{both if words and places else words or places or ' '}"


def fish(program: str) -> str:
    """Make the file for fish."""
    lines = [f"# {ORIGIN.format(program)}"]
    for one in switches(program):
        spellings = " ".join(f"-l {each[2:]}" if each[:2] == "--" else f"-s {each[1:]}" for each in one.spellings)
        value = ("-r " if one.value.files else "-x ") + _in_fish(one.value) if one.value else ""
        summary = one.help.replace("\\", r"\\").replace("'", r"\'")
        lines.append(f"complete -c {program} {spellings} {value}-d '{summary}'")
    taken = operand(program)
    lines.append(f"complete -c {program} {'' if taken and taken.files else '-f '}{_in_fish(taken) if taken else ''}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _in_fish(value: Value) -> str:
    words = "(__fish_complete_directories)" if value.folders else " ".join(value.words)
    return ("-F " if value.files else "") + (f"-a '{words}' " if words else "")


SHELLS: dict[str, tuple[str, Callable[[str], str]]] = {
    "bash": ("{}", bash),
    "zsh": ("_{}", zsh),
    "fish": ("{}.fish", fish),
}


def main() -> None:
    """Rewrite the files, or name those that are stale."""
    checking = "--check" in sys.argv
    stale = []
    for shell, (name, make) in SHELLS.items():
        for program in PROGRAMS:
            path, fresh = ROOT / "completions" / shell / name.format(program), make(program)
            if not path.exists() or path.read_text("utf-8") != fresh:
                stale.append(path.name)
                if not checking:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(fresh, "utf-8")
    if stale and checking:
        sys.exit(f"these completions are out of date, run `make man`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
