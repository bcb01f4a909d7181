"""The documents say what the programs do, where `man/build.py` can't see to it."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import overfeat_tools
from overfeat_tools import errors
from overfeat_tools.networks.network import PACKED_LIMIT_BYTES
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.networks.weights import file_bytes

ROOT = Path(__file__).resolve().parent.parent
MAN = ROOT / "man"
README = (ROOT / "README.md").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROGRAMS = list(PROJECT["project"]["scripts"])
PAGES = {page.stem: page.read_text("utf-8") for page in sorted(MAN.glob("*.[1-9]"))}
OVERVIEW = PAGES["overfeat_tools"]
MARKDOWN = {page.name: page.read_text("utf-8") for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
DOCUMENTS = {**MARKDOWN, "CHANGELOG": CHANGELOG, **PAGES}

FLAG = re.compile(r"(?<![^\s`('\"])--?[A-Za-z][\w-]*")
SIGNALS = {"130", "141"}  # what a shell makes of SIGINT and SIGPIPE

_spec = importlib.util.spec_from_file_location("build", MAN / "build.py")
assert _spec
assert _spec.loader
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)


def flags(program: str) -> set[str]:
    """Give all spellings of a program's options."""
    own, shared = build.flags(program)
    return {"-h", "--help", *(spelling for flag in own + shared for spelling in flag.spellings)}


def section(page: str, title: str) -> str:
    """Give the source of one section of a page."""
    found = re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", page, re.DOTALL | re.MULTILINE)
    assert found, f"no section {title}"
    return found[1]


def displays(page: str) -> list[str]:
    """List the literal displays of a page as a reader sees them."""
    plain = {r"\(aq": "'", r"\(ti": "~", r"\(ha": "^", r"\(ga": "`", r"\-": "-", r"\&": "", r"\e": "\\"}
    sources = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", page, re.DOTALL | re.MULTILINE)
    return [re.sub(r"\\\(..|\\[-&e]", lambda escape: plain[escape[0]], source) for source in sources]


def blocks(language: str) -> list[tuple[str, str]]:
    """List the examples in Markdown, each with its document."""
    form = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [(name, block) for name, page in MARKDOWN.items() for block in form.findall(page)]


def scripts() -> list[tuple[str, str]]:
    """List all shell examples, each with its document."""
    found = blocks("sh")
    for name, page in PAGES.items():
        found += [(name, block) for block in displays(page) if not block.startswith(("import ", "pip "))]
    return found


def test_pages_are_fresh() -> None:
    """Options, shared text and tables are what the programs and `man/shared` have."""
    checked = subprocess.run([sys.executable, MAN / "build.py", "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_pages_are_clean() -> None:
    checked = subprocess.run(["/bin/sh", MAN / "lint.sh"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_program_has_a_page_and_it_is_installed() -> None:
    assert set(PAGES) == {*PROGRAMS, "overfeat_tools"}
    patterns = [pattern for group in PROJECT["tool"]["setuptools"]["data-files"].values() for pattern in group]
    installed = {path.stem for pattern in patterns for path in ROOT.glob(pattern)}
    assert set(PAGES) <= installed
    assert set(PROGRAMS) <= set(re.findall(r"^\| `(of-[a-z]+)` \|", README, re.MULTILINE))


@pytest.mark.parametrize("program", PROGRAMS)
def test_page_of_a_program(program: str) -> None:
    """What is generated is asked for; the synopsis has every option, in one form or another."""
    page = PAGES[program]
    assert f".Dt {program.upper()} 1\n" in page
    assert '.\\" begin options\n' in section(page, "OPTIONS")
    words = re.findall(r"\bFl (\S+)", section(page, "SYNOPSIS"))
    shown = {f"-{word}" for word in words} | {f"-{letter}" for word in words if word[0] != "-" for letter in word}
    own, shared = build.flags(program)
    assert [flag.spellings for flag in own + shared if not shown & set(flag.spellings)] == []
    versions = re.findall(r"overfeat_tools (\d+\.\d+\.\d+)", section(page, "HISTORY"))
    assert versions
    assert all(re.search(rf"^{re.escape(version)}\b", CHANGELOG, re.MULTILINE) for version in versions)


def test_exit_statuses() -> None:
    """The overview and the README list all, a page what its program can end with."""
    known = sorted({"0", *(str(kind.exit_status) for kind in vars(errors).values() if hasattr(kind, "exit_status"))})
    row = re.compile(r"^\.It (\d+)$", re.MULTILINE)
    listed = {name: row.findall(section(page, "EXIT STATUS")) for name, page in PAGES.items()}
    assert listed["overfeat_tools"] == known
    assert [row for row in re.findall(r"^\| (\d+) \|", README, re.MULTILINE) if row not in SIGNALS] == known
    for name, statuses in listed.items():
        assert statuses == sorted(set(statuses) & {*known, *SIGNALS}, key=int), name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_programs_named_exist(document: str) -> None:
    """Whatever is called of-... in a document is a program; cross references have a page."""
    text = DOCUMENTS[document]
    assert set(re.findall(r"(?<![\w/.-])of-[a-z]+\b", text)) <= set(PROGRAMS)
    assert set(re.findall(r"^\.Xr (of-\w+|overfeat_tools) ", text, re.MULTILINE)) <= set(PAGES)


def test_examples_use_options_that_exist() -> None:
    calls = [(name, code) for name, page in MARKDOWN.items() for code in re.findall(r"`(of-[^`]+)`", page)]
    calls += [(name, code) for name, block in blocks("") for code in re.findall(r"^\$ (.*)", block, re.MULTILINE)]
    seen = 0
    for document, text in [*scripts(), *calls]:
        found = re.findall(r"\b(of-[a-z]+)\b([^|;&)#`\n<>]*)", text.replace("\\\n", " "))
        for program, arguments in found:
            assert set(FLAG.findall(arguments)) <= flags(program), f"{document}: {program}"
            seen += 1
    assert seen >= len(PROGRAMS)
    inline = [code for page in MARKDOWN.values() for code in re.findall(r"(?<!`)`(-[^`]+)`", page)]
    mentioned = {flag for code in inline for flag in FLAG.findall(code)}
    assert mentioned <= set().union(*map(flags, PROGRAMS))


@pytest.mark.parametrize(("document", "script"), scripts())
def test_examples_are_shell(document: str, script: str) -> None:
    checked = subprocess.run(["/bin/sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"{document}: {checked.stderr}"


def test_python_examples_are_python() -> None:
    examples = [block for _, block in blocks("python")]
    examples += [block for page in PAGES.values() for block in displays(page) if block.startswith("import ")]
    for example in examples:
        compile(example, "example", "exec")


def test_python_in_markdown_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is said to run as it is runs, and prints what is said."""
    examples = [(name, block) for name, block in blocks("python") if '"tiny"' in block]
    monkeypatch.chdir(ROOT)
    for name, example in examples:
        if all(map(importlib.util.find_spec, re.findall(r"^(?:from|import) (torch|sklearn)\b", example, re.MULTILINE))):
            exec(compile(example, name, "exec"), {})  # noqa: S102 -- our own
            printed = capsys.readouterr().out.splitlines()
            for said in re.findall(r"print\(.*\)  # (.*)", example):
                assert said in printed
            if "classify" in example:
                assert printed[0].startswith("star 0.9")


def test_links_lead_somewhere() -> None:
    """Files are there, and have the headings that are linked to."""
    for name, page in MARKDOWN.items():
        here = ROOT / name if name == "README.md" else ROOT / "docs" / name
        text = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
        for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
            file = (here.parent / target) if target else here
            assert file.is_file(), f"{name}: {target}"
            headings = re.findall(r"^#+ (.*)", file.read_text("utf-8"), re.MULTILINE)
            found = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
            assert not heading or heading in found, f"{name}: #{heading}"


def test_lines_of_markdown_fit() -> None:
    assert [line for page in MARKDOWN.values() for line in page.splitlines() if len(line) > 120] == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert "test" in named
    assert named <= targets


@pytest.mark.parametrize("network", ["fast", "accurate"])
def test_sizes_of_weight_files(network: str) -> None:
    topology = TOPOLOGIES[network]
    size = file_bytes(topology.kernel_shapes)
    assert f"`{topology.weight_file}` (`{network}`, {size:,} bytes)" in README
    for page in PAGES.values():
        for found in re.findall(rf"{topology.weight_file}.*?(\d{{9}}) bytes", page, re.DOTALL):
            assert int(found) == size


def test_memory_for_prepared_kernels() -> None:
    found = re.findall(r"The default is (\d+), or an eighth", (MAN / "shared" / "environment.mdoc").read_text("utf-8"))
    assert found == [str(PACKED_LIMIT_BYTES >> 20)]


def test_changelog_begins_with_this_version() -> None:
    assert CHANGELOG.split()[0] == overfeat_tools.__version__


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_paths_of_a_machine(document: str) -> None:
    paths = r"(?<![\w.~-])/(?:work|tmp|root|home|Users|mnt|opt|var)\b|\blocalhost\b|\b\d+\.\d+\.\d+\.\d+\b"
    assert re.findall(paths, DOCUMENTS[document]) == []
