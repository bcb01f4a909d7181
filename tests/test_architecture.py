"""The house stands as planned: imports go one way, and every outside library has one door."""

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

# What each module may import of the package; all lie on its own floor or below.
ALLOWED = {
    "__init__": set(),
    "errors": set(),
    "places": set(),
    "backend.compiler": {"__init__", "places"},
    "backend.arrays": {"backend.compiler"},
    "backend.cpu": {"backend.arrays", "backend.compiler"},
    "backend.cuda": {"backend.arrays", "errors"},
    "backend": {"backend.arrays", "backend.compiler", "backend.cpu", "backend.cuda", "errors"},
    "convolution.loops": set(),
    "convolution.loops.routine": {"backend"},
    "convolution.loops.product": {"backend", "convolution.loops.routine"},
    "convolution.loops.dots": {"backend", "convolution.loops.routine"},
    "convolution.loops.finish": {"backend", "convolution.loops.routine"},
    "convolution.loops.tiles": {"backend", "convolution.loops.routine"},
    "convolution.loops.fourier": {"backend", "convolution.loops.routine", "convolution.loops.tiles"},
    "convolution.geometry": {"backend"},
    "convolution.panels": {"backend", "convolution.geometry", "convolution.loops.product"},
    "convolution.ending": {"backend", "convolution.geometry", "convolution.loops.finish"},
    "convolution.direct": {"backend", "convolution.ending", "convolution.geometry", "convolution.panels"},
    "convolution.bases": {
        "backend", "convolution.cooktoom", "convolution.geometry", "convolution.loops.fourier",
        "convolution.loops.tiles",
    },
    "convolution.fused": {
        "backend", "convolution.bases", "convolution.ending", "convolution.geometry", "convolution.panels",
        "convolution.tiles",
    },
    "convolution.tiles": {"backend", "convolution.geometry"},
    "convolution.product": {"backend", "convolution.geometry"},
    "convolution.pooling": {"backend"},
    "convolution.gemm": {
        "backend", "convolution.geometry", "convolution.loops.dots", "convolution.panels", "convolution.product",
    },
    "convolution.rows": {"backend", "convolution.geometry", "convolution.pooling"},
    "convolution.fourier": {"backend", "convolution.geometry", "convolution.tiles", "convolution.transform"},
    "convolution.cooktoom": {"backend", "convolution.geometry", "convolution.tiles", "convolution.transform"},
    "convolution.transform": {
        "backend", "convolution.geometry", "convolution.pooling", "convolution.product", "convolution.tiles",
    },
    "convolution.plan": {
        "convolution.bases", "convolution.cooktoom", "convolution.direct", "convolution.fused", "convolution.gemm",
        "convolution.geometry", "convolution.loops.product", "convolution.tiles",
    },
    "convolution": {
        "backend", "convolution.cooktoom", "convolution.direct", "convolution.ending", "convolution.fourier",
        "convolution.fused", "convolution.gemm", "convolution.geometry", "convolution.panels", "convolution.plan",
        "convolution.pooling", "convolution.rows", "convolution.tiles", "convolution.transform",
    },
    "convolution.fit": {"backend", "convolution", "convolution.geometry", "convolution.plan"},
    "rates": {"backend", "convolution", "convolution.fit", "places"},
    "layers": {"backend", "convolution"},
    "weights": {"backend", "errors"},
    "network": {"backend", "errors", "layers", "weights"},
    "classes": {"errors"},
    "output": {"backend", "classes"},
    "pnm": {"backend", "errors"},
    "image": {"backend", "errors", "pnm"},
    "stream": {"backend", "errors", "image", "pnm"},
    "pipeline": {"backend", "errors", "network", "stream"},
    "transport": {"__init__", "errors"},
    "progress": set(),
    "sources": {"errors", "transport"},
    "manifest": {"errors"},
    "inspection": {"errors", "weights"},
    "archive": {"errors", "inspection"},
    "store": {"errors", "manifest"},
    "fetch": {"archive", "errors", "progress", "store", "transport"},
    "download": {
        "archive", "errors", "fetch", "inspection", "manifest", "progress", "sources", "store", "transport",
    },
    "cli": {"__init__", "errors"},
    "commands": set(),
    "commands.session": {"backend", "cli", "errors", "image", "network", "output", "pipeline", "rates", "stream"},
    "commands.classify": {"classes", "cli", "commands.session", "output"},
    "commands.download": {
        "cli", "download", "errors", "inspection", "manifest", "network", "output", "progress", "sources", "store",
        "weights",
    },
    "commands.features": {"cli", "commands.session"},
    "commands.layer": {"cli", "commands.session", "errors", "network", "output"},
}  # fmt: skip

# The modules that may import an outside library; numpy is common speech from the backend upwards.
DOORS = {
    "typer": {"cli"},
    "pyfftw": {"backend.cpu"},
    "llvmlite": {"backend.compiler"},
    "threadpoolctl": {"backend.cpu"},
    "cupy": {"backend.cuda"},
    "cupyx": {"backend.cuda"},
    "imageio": {"image"},
    "PIL": {"image"},
    "httpx": {"transport"},
    "rich": {"progress"},
}
NUMPY = {
    "backend.arrays", "backend.cpu", "backend.cuda", "convolution", "convolution.bases", "convolution.cooktoom",
    "convolution.direct", "convolution.ending", "convolution.fit", "convolution.fourier", "convolution.fused",
    "convolution.gemm", "convolution.loops.tiles", "convolution.panels", "convolution.plan", "convolution.pooling",
    "convolution.rows", "convolution.transform", "image", "inspection", "layers", "network", "output", "pipeline",
    "pnm", "weights",
}  # fmt: skip
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "tools"}
MOST_LINES = 400


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


def own(names: set[str]) -> set[str]:
    """Keep the names within the package, short; the package itself is `__init__`."""
    inside = {name for name in names if name.split(".")[0] == "overfeat_tools"}
    return {name.partition(".")[2] or "__init__" for name in inside}


def test_every_module_has_its_place() -> None:
    """A new module is entered here, and thought about."""
    assert set(MODULES) == set(ALLOWED)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    assert own(imports(MODULES[module])) <= ALLOWED.get(module, set())


def test_the_table_has_no_circles() -> None:
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {module for module, below in ALLOWED.items() if module not in done and below <= done}
        assert ready, f"a circle among {set(ALLOWED) - done}"
        done |= ready


@pytest.mark.parametrize("module", MODULES)
def test_every_library_has_one_door(module: str) -> None:
    outside = {name.split(".")[0] for name in imports(MODULES[module])} - {"overfeat_tools"}
    outside -= sys.stdlib_module_names
    allowed = {library for library, doors in DOORS.items() if module in doors} | (
        {"numpy"} if module in NUMPY else set()
    )
    assert outside <= allowed


@pytest.mark.parametrize("module", ["classify", "features", "layer"])
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
        ("classify", "pipeline.Run.over", ["--net", "tiny"]),
        ("features", "pipeline.Run.over", ["--net", "tiny"]),
        ("layer", "pipeline.Run.over", ["--net", "tiny", "-L", "3"]),
        ("download", "c._list", ["--list"]),
        ("download", "c._verify", ["--verify"]),
        ("download", "c._get", []),
    ],
)
def test_commands_work_with_garbage_collected(module: str, work: str, arguments: list[str]) -> None:
    """It is not while they start; a long run would keep whatever failed on the way."""
    program = (
        f"import gc, sys; from overfeat_tools import pipeline; from overfeat_tools.commands import {module} as c\n"
        f"sys.argv[1:] = {arguments}\n"
        "def work(*_, **__): print(gc.isenabled()); return 0\n"
        f"{work} = work\n"
        "c.main()"
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
    """`print` and `sys.exit` stand in `cli.py` alone."""
    for module, path in MODULES.items():
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        spoken = {ast.unparse(call.func) for call in calls} & {"print", "sys.exit", "exit", "sys.stderr.write"}
        assert not spoken or module == "cli"
