"""The shells complete what the programs declare: real shells are asked, on a terminal where they need one."""

import os
import pty
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import ROOT, environment
from tests.test_documents import PROGRAMS, PROJECT, flags
from tests.test_signals import read_until

COMPLETIONS = ROOT / "completions"
Ask = Callable[[str], list[str]]

# Both are told to put all that they would offer into the line, and the program that then runs is a function that shows
# its arguments.
SHOW = 'shown() { printf "\\nanswer"; printf "<%s>" "$@"; printf "\\nend\\n"; }\n'
BASH = """
PS1= PS2= HISTFILE=
bind '"\\C-xa": insert-completions'
for program in {programs}; do source "{folder}/bash/$program"; eval "$program() {{ shown \\"\\$@\\"; }}"; done
"""
ZSH = """
PS1= PS2= RPS1= HISTFILE= PROMPT_EOL_MARK=
unsetopt zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste
fpath=("{folder}/zsh" $fpath); autoload -Uz compinit; compinit -D -u
zle -C every complete-word _generic
zstyle ':completion:every:*' completer _all_matches _complete
zstyle ':completion:every:*' insert true
bindkey '^Xa' every
for program in {programs}; do eval "$program() {{ shown \\"\\$@\\"; }}"; done
"""
SHELLS = {"bash": (["bash", "--norc", "--noprofile", "-i"], BASH), "zsh": (["zsh", "-f", "-i"], ZSH)}


@contextmanager
def terminal(name: str, folder: Path) -> Iterator[Ask]:
    """Run a shell on a terminal; give a function that completes a line and gives its arguments."""
    command, setup = SHELLS[name]
    setup = SHOW + setup.format(programs=" ".join(PROGRAMS), folder=COMPLETIONS)
    (folder / "weights" / "setup").write_text(setup, "utf-8")
    leader, follower = pty.openpty()
    started = subprocess.Popen(
        command, cwd=folder, stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        env=environment(TERM="dumb", HOME=folder),
    )  # fmt: skip
    os.close(follower)

    def ask(line: str) -> list[str]:
        os.write(leader, f"{line}\x18a\n".encode())
        shown = read_until(leader, b"\r\nend\r\n").decode()
        return shown.rpartition("\nanswer<")[2].rpartition(">\r\nend")[0].split("><")

    with started:
        try:
            os.write(leader, f". weights/setup; {PROGRAMS[0]}\n".encode())
            read_until(leader, b"\r\nend\r\n")
            yield ask
        finally:
            started.kill()
            os.close(leader)


@contextmanager
def fish(folder: Path) -> Iterator[Ask]:
    """Give a function that asks fish, which needs no terminal."""

    def ask(line: str) -> list[str]:
        *before, _ = shlex.split(f"{line}''")
        script = f"source {COMPLETIONS}/fish/{before[0]}.fish; complete -C {shlex.quote(line)}"
        done = subprocess.run(
            [str(shutil.which("fish")), "--no-config", "-c", script], cwd=folder, env=environment(HOME=folder),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return before[1:] + [offer.partition("\t")[0] for offer in done.stdout.splitlines()]

    yield ask


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def ask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Give each shell that is installed, in a folder with two files and a folder."""
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp("completions")
    for name in ("one picture.ppm", "two.png"):
        (folder / name).touch()
    (folder / "weights").mkdir()
    with fish(folder) if request.param == "fish" else terminal(request.param, folder) as made:
        yield made


def test_completions_are_fresh() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "man" / "completions.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_completions_are_installed() -> None:
    for shell, name in (("bash", "{}"), ("zsh", "_{}"), ("fish", "{}.fish")):
        groups = PROJECT["tool"]["setuptools"]["data-files"]
        (patterns,) = (patterns for place, patterns in groups.items() if shell in place)
        installed = [path.relative_to(COMPLETIONS) for pattern in patterns for path in ROOT.glob(pattern)]
        assert sorted(installed) == sorted(Path(shell) / name.format(program) for program in PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option(ask: Ask, program: str) -> None:
    offered = set(ask(f"{program} -")) | set(ask(f"{program} --"))
    assert offered == flags(program)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("of-classify --net ", ["--net", "accurate", "fast", "tiny", "vgg11", "vgg16", "vgg19"]),
        ("of-classify --device c", ["--device", "cpu", "cuda"]),
        ("of-classify -v --format t", ["-v", "--format", "text", "tsv"]),
        ("of-features --format=n", ["--format=npy"]),
        ("of-layer -d ", ["-d", "weights/"]),
        ("of-classify -d w", ["-d", "weights/"]),
        ("of-classify ", ["one picture.ppm", "two.png", "weights/"]),
        ("of-classify -v --size 231 o", ["-v", "--size", "231", "one picture.ppm"]),
        ("of-classify -- t", ["--", "two.png"]),
        ("of-download ", ["accurate", "fast", "vgg11", "vgg16", "vgg19"]),
        ("of-download fast a", ["fast", "accurate"]),
        ("of-download --from t", ["--from", "two.png"]),
    ],
)
def test_values(ask: Ask, line: str, offered: list[str]) -> None:
    assert sorted(each.rstrip("/") for each in ask(line)) == sorted(each.rstrip("/") for each in offered)


@pytest.mark.parametrize("line", ["of-classify -n ", "of-classify --threads ", "of-download --sha256 "])
def test_nothing_is_offered_for_a_number(ask: Ask, line: str) -> None:
    assert [each for each in ask(line) if each] == line.split()[1:]
