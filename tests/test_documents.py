"""The documents say what the programs do: options, statuses, names, examples, tables.

What a program says of itself (`-h`) and what the package defines is the measure; the manual pages,
README.md and CHANGELOG are compared with it.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

import overfeat_tools
from overfeat_tools import cli, errors
from overfeat_tools.networks.network import PACKED_LIMIT_BYTES
from overfeat_tools.networks.tables import describe
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.networks.weights import file_bytes

ROOT = Path(__file__).resolve().parent.parent
MAN = ROOT / "man"
README = (ROOT / "README.md").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROGRAMS: dict[str, str] = PROJECT["project"]["scripts"]
PAGES = {page.stem: page.read_text("utf-8") for page in sorted(MAN.glob("*.[1-9]"))}
OVERVIEW = PAGES["overfeat_tools"]
DOCUMENTS = {"README.md": README, "CHANGELOG": CHANGELOG, **PAGES}

# Named by documents, written on another branch; to be emptied when it is there.

FLAG = re.compile(r"(?<![^\s`('\"])--?[A-Za-z][\w-]*")
TAGS = {name: page for name, page in PAGES.items() if name in PROGRAMS}


@dataclass(frozen=True)
class Option:
    """An option as a program's help or a page shows it: its spellings, and all that is said of it."""

    flags: frozenset[str]
    text: str


@functools.cache
def help_of(program: str) -> str:
    """Give what `program -h` prints."""
    module = PROGRAMS[program].partition(":")[0]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, "-h"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def program_options(program: str) -> list[Option]:
    """List the options in a program's help."""
    _, _, listing = help_of(program).partition("\nOptions:\n")
    options = []
    for entry in re.split(r"\n(?=  -)", "\n" + listing)[1:]:
        spellings = re.split(r" {2,}|\n", entry.strip(), maxsplit=1)[0]
        options.append(Option(frozenset(FLAG.findall(spellings)), " ".join(entry.split())))
    return options


def section(page: str, title: str) -> str:
    """Give the source of one section of a page."""
    found = re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", page, re.DOTALL | re.MULTILINE)
    assert found, f"no section {title}"
    return found[1]


def flags_of(line: str) -> list[str]:
    """List the flags in a macro line: what stands behind each Fl, up to the next macro."""
    flags, reading = [], False
    for word in line.removeprefix(".").split():
        if word == "Fl":
            reading = True
        elif re.fullmatch(r"[A-Z][a-z]", word):
            reading = False
        elif reading and word not in {",", "|"}:
            flags.append("-" + word)
    return flags


def page_options(page: str) -> list[Option]:
    """List the options in a page's section OPTIONS."""
    entries = re.split(r"^\.It (?=Fl )", section(page, "OPTIONS"), flags=re.MULTILINE)[1:]
    return [Option(frozenset(flags_of(entry.partition("\n")[0])), entry) for entry in entries]


def displays(page: str) -> list[str]:
    """List the literal displays of a page as a reader sees them."""
    plain = {r"\(aq": "'", r"\(ti": "~", r"\(ha": "^", r"\(ga": "`", r"\-": "-", r"\&": "", r"\e": "\\"}
    sources = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", page, re.DOTALL | re.MULTILINE)
    return [re.sub(r"\\\(..|\\[-&e]", lambda escape: plain[escape[0]], source) for source in sources]


def scripts() -> list[tuple[str, str]]:
    """List all shell examples, each with its document."""
    found = [("README.md", block) for block in re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)]
    for name, page in PAGES.items():
        found += [(name, block) for block in displays(page) if not block.startswith("import ")]
    return found


def calls(text: str) -> list[tuple[str, set[str]]]:
    """List the calls of our programs in a piece of shell: name and flags."""
    text = text.replace("\\\n", " ")
    return [(name, set(FLAG.findall(rest))) for name, rest in re.findall(r"\b(of-[a-z]+)\b([^|;&)#`\n<>]*)", text)]


def statuses() -> dict[int, str]:
    """Map every exit status that the package defines to the name that defines it."""
    found = {0: "success"}
    for name, thing in vars(errors).items():
        if isinstance(thing, type) and issubclass(thing, errors.OverfeatError):
            found.setdefault(thing.exit_status, name)
    found |= {value: name for name, value in vars(cli).items() if name.startswith("STATUS_")}
    return found


def page_statuses(page: str) -> list[int]:
    return [int(number) for number in re.findall(r"^\.It (\d+)$", section(page, "EXIT STATUS"), re.MULTILINE)]


def test_every_program_has_a_page() -> None:
    assert set(PROGRAMS) <= set(PAGES)


def test_every_page_is_of_a_program_or_the_overview() -> None:
    assert set(PAGES) <= {*PROGRAMS, "overfeat_tools"}


def test_pages_are_installed() -> None:
    patterns = [pattern for group in PROJECT["tool"]["setuptools"]["data-files"].values() for pattern in group]
    installed = {path.name for pattern in patterns for path in ROOT.glob(pattern)}
    assert {path.name for path in MAN.glob("*.[1-9]")} <= installed


@pytest.mark.parametrize("program", TAGS)
def test_options_are_the_programs(program: str) -> None:
    """Each option is documented with all its spellings, and none that does not exist."""
    ours = [sorted(option.flags) for option in page_options(PAGES[program])]
    assert sorted(ours) == sorted(sorted(option.flags) for option in program_options(program))


@pytest.mark.parametrize("program", TAGS)
def test_choices_defaults_and_bounds_are_the_programs(program: str) -> None:
    """What the help puts in brackets stands in the page too."""
    documented = {option.flags: option.text for option in page_options(PAGES[program])}
    for option in program_options(program):
        text = documented[option.flags]
        words = set(re.findall(r"[\w-]+", text))
        choices = re.search(r"<([\w-]+(?:\|[\w-]+)+)>", option.text)
        if choices:
            heading = text.partition("\n")[0].partition(" Cm ")[2]
            assert heading.split(" | ") == choices[1].split("|"), sorted(option.flags)
        for default in re.findall(r"\[default: ([\w.-]+)(?=[;\]])", option.text):
            assert default in words, f"{sorted(option.flags)}: default {default}"
        for bound in re.findall(r"(\d+)(?=<=x)|(?<==)(\d+)(?=[\];])", option.text):
            assert "".join(bound) in words, f"{sorted(option.flags)}: bound {bound}"


@pytest.mark.parametrize("program", TAGS)
def test_synopsis_shows_every_option(program: str) -> None:
    shown: set[str] = set()
    for line in section(PAGES[program], "SYNOPSIS").splitlines():
        for flag in flags_of(line):
            shown |= {flag} if flag.startswith("--") else {f"-{letter}" for letter in flag[1:]}
    options = program_options(program)
    assert shown <= {flag for option in options for flag in option.flags}
    assert [sorted(option.flags) for option in options if not option.flags & shown] == []


@pytest.mark.parametrize("program", TAGS)
def test_name_line(program: str) -> None:
    """The page bears the program's name, and its description begins the help."""
    page = PAGES[program]
    assert f".Dt {program.upper()} 1\n" in page
    assert f".Nm {program}\n" in section(page, "NAME")
    description = section(page, "NAME").partition(".Nd ")[2].strip()
    _, first, *_ = help_of(program).split("\n\n")
    assert re.match(re.escape(description) + r"[.,:;]", " ".join(first.split()), re.IGNORECASE)


def test_statuses_of_the_overview_and_the_readme() -> None:
    """Both list all statuses, each once, in order."""
    assert page_statuses(OVERVIEW) == sorted(statuses())
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)] == sorted(statuses())


@pytest.mark.parametrize("program", TAGS)
def test_statuses_of_a_page(program: str) -> None:
    """A program that runs a network can end with any status but that of a failed download."""
    listed = page_statuses(PAGES[program])
    expected = sorted(set(statuses()) - {errors.DownloadError.exit_status})
    if any("--batch" in option.flags for option in program_options(program)):
        assert listed == expected
    else:
        assert listed == sorted(set(listed) & set(statuses()))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_programs_named_exist(document: str) -> None:
    """Whatever is called of-... in a document is a program; cross references have a page."""
    text = DOCUMENTS[document]
    named = set(re.findall(r"(?<![\w/.-])of-[a-z]+\b", text))
    assert named <= set(PROGRAMS)
    assert set(re.findall(r"^\.Xr (of-\w+|overfeat_tools) ", text, re.MULTILINE)) <= set(PAGES)


def test_readme_shows_every_program() -> None:
    assert set(PROGRAMS) <= set(re.findall(r"^\| `(of-[a-z]+)` \|", README, re.MULTILINE))


def test_examples_use_options_that_exist() -> None:
    inline = [("README.md", code) for code in re.findall(r"`(of-[^`]+)`", README)]
    seen = 0
    for document, text in [*scripts(), *inline]:
        for program, flags in calls(text):
            if program not in PROGRAMS:
                continue  # test_programs_named_exist judges those
            known = {flag for option in program_options(program) for flag in option.flags}
            assert flags <= known, f"{document}: {program}"
            seen += 1
    assert seen >= len(PROGRAMS)


def test_readme_flags_exist() -> None:
    known = {flag for program in PROGRAMS for option in program_options(program) for flag in option.flags}
    mentioned = {flag for code in re.findall(r"(?<!`)`(-[^`]+)`", README) for flag in FLAG.findall(code)}
    assert mentioned <= known


@pytest.mark.parametrize(("document", "script"), scripts())
def test_examples_are_shell(document: str, script: str) -> None:
    checked = subprocess.run(["/bin/sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"{document}: {checked.stderr}"


def test_python_examples_are_python() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    blocks += [block for page in PAGES.values() for block in displays(page) if block.startswith("import ")]
    for block in blocks:
        compile(block, "example", "exec")


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert "test" in named
    assert named <= targets


def test_map_of_the_code() -> None:
    """Every module of the map in the README is there."""
    package = ROOT / "overfeat_tools"
    named = re.findall(r"^\| `([a-z]+(?:\.py|/))` \|", README, re.MULTILINE)
    assert "cli.py" in named
    assert [name for name in named if not (package / name).exists()] == []


@pytest.mark.parametrize("network", [name for name in TOPOLOGIES if name in {"fast", "accurate"}])
def test_facts_of_the_networks(network: str) -> None:
    """The overview's table of layers, and the sizes of the weight files wherever they stand."""
    topology = TOPOLOGIES[network]
    for number, kind, channels, height, width, parameters, _ in describe(topology, *[topology.input_size] * 2)[1:]:
        row = rf"^\.It {number} Ta {kind}\b.* Ta {channels}x{height}x{width} Ta ?{parameters or ''}$"
        assert re.search(row, OVERVIEW, re.MULTILINE), row
    size = file_bytes(topology.kernel_shapes)
    assert f"`{topology.weight_file}` (`{network}`, {size:,} bytes)" in README
    for page in PAGES.values():
        for found in re.findall(rf"{topology.weight_file}.*?(\d{{9}}) bytes", page, re.DOTALL):
            assert int(found) == size


def test_memory_for_prepared_kernels() -> None:
    """The default of $OVERFEAT_MEMORY, on every page that has the variable."""
    found = {name: re.findall(r"The most memory, in MiB, .*; (\d+) by default", page) for name, page in TAGS.items()}
    with_variable = {name for name, page in TAGS.items() if "OVERFEAT_MEMORY" in page}
    assert with_variable
    assert {name: numbers for name, numbers in found.items() if numbers} == {
        name: [str(PACKED_LIMIT_BYTES >> 20)] for name in with_variable
    }


def test_changelog_begins_with_this_version() -> None:
    assert re.match(r"\d+(\.\d+)+", CHANGELOG)
    assert CHANGELOG.split()[0] == overfeat_tools.__version__


def test_history_names_this_version() -> None:
    for program, page in TAGS.items():
        versions = re.findall(r"overfeat_tools (\d+\.\d+\.\d+)", section(page, "HISTORY"))
        assert versions, program
        assert all(re.search(rf"^{re.escape(version)}\b", CHANGELOG, re.MULTILINE) for version in versions)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_paths_of_a_machine(document: str) -> None:
    paths = r"(?<![\w.~-])/(?:work|tmp|root|home|Users|mnt|opt|var)\b|\blocalhost\b|\b\d+\.\d+\.\d+\.\d+\b"
    assert re.findall(paths, DOCUMENTS[document]) == []


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_pages_are_clean() -> None:
    checked = subprocess.run(["/bin/sh", MAN / "lint.sh"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
