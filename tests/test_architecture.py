"""Programs start lean, files are small, and one module talks to the user.

Which room may import which is a contract in pyproject.toml, checked by `make lint`.
"""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(importlib.util.find_spec("overfeat_tools").origin or "").parent  # type: ignore[union-attr]
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "tools"}
MOST_LINES = 300


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Give the full names of what a file imports; at top level: only what importing it runs."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(tree.body if top_level else ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name.removeprefix("overfeat_tools.") in MODULES else str(node.module))
    return found


@pytest.mark.parametrize("module", ["classify", "export", "features", "layer", "webcam"])
def test_commands_start_lean(module: str) -> None:
    """Help, version and usage errors need no arrays."""
    light = {"overfeat_tools", "overfeat_tools.cli", "overfeat_tools.errors"}
    assert {name for name in imports(MODULES[f"commands.{module}"], top_level=True) if "." in name} <= light
    program = (
        f"import sys; from overfeat_tools.commands import {module} as c; sys.argv[1:] = ['-h']\n"
        "try:\n    c.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'numpy', 'cupy', 'llvmlite', 'pyfftw', 'scipy', 'PIL', 'imageio', 'threadpoolctl', 'rich'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(', '.join(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "work", "arguments"),
    [
        ("classify", "run.Run.over", ["--net", "tiny"]),
        ("features", "run.Run.over", ["--net", "tiny"]),
        ("layer", "run.Run.over", ["--net", "tiny", "-L", "3"]),
        ("download", "c._list", ["--list"]),
        ("download", "c._verify", ["--verify"]),
        ("download", "c._get", []),
    ],
)
def test_commands_work_with_garbage_collected(module: str, work: str, arguments: list[str]) -> None:
    """It is not while they start; a long run would keep whatever failed on the way."""
    program = (
        f"import gc, sys; from overfeat_tools import __main__; from overfeat_tools.commands import run, {module} as c\n"
        f"sys.argv[1:] = {arguments}\n"
        "def work(*_, **__): print(gc.isenabled()); return 0\n"
        f"{work} = work\n"
        f"__main__.run({module!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_files_are_small_and_named_for_what_they_do(module: str) -> None:
    assert not VAGUE & set(module.split("."))
    lines = MODULES[module].read_text("utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert lines[0].startswith(('"""', 'r"""')), "a module begins with what it is for"


def test_only_the_shell_talks_to_the_user() -> None:
    """`print` and `sys.exit` stand in `cli` alone, and where a program begins."""
    for module, path in MODULES.items():
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        spoken = {ast.unparse(call.func) for call in calls} & {"print", "sys.exit", "exit", "sys.stderr.write"}
        assert not spoken or module.startswith("cli.") or module == "__main__"
