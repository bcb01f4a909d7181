"""What processors are given to do: instructions of the kernels' inner loops, for each multiplication and addition.

    benchmarks/instructions.py [PROCESSOR ...]

By default for all that are listed below.  Nothing is run.  LLVM compiles the kernels for processors of each kind,
whatever this one is, and what it wrote is counted: in each kernel the loop with most multiplications.  "On the stack"
are moves of vectors that were not kept in registers.
"""

import re
import sys
from collections.abc import Iterator

from llvmlite import binding

from overfeat_tools.backend import Compiled, Compiler
from overfeat_tools.backend.compiler import Build
from overfeat_tools.convolution import cook_toom
from overfeat_tools.convolution.kernels import gemv, matmul, matrix_transform

# Target, processor, features, floats of a vector, vector registers.
PROCESSORS = {
    "AVX-512 (Skylake)": ("x86_64-linux-gnu", "skylake-avx512", "-prefer-256-bit", 16, 32),
    "AVX2 (Haswell)": ("x86_64-linux-gnu", "haswell", "-prefer-256-bit", 8, 16),
    "NEON (Neoverse N1)": ("aarch64-linux-gnu", "neoverse-n1", "", 4, 32),
    "NEON (Neoverse V1)": ("aarch64-linux-gnu", "neoverse-v1", "", 4, 32),
    "NEON (Apple M1)": ("arm64-apple-darwin", "apple-m1", "", 4, 32),
}

_MULTIPLICATION = re.compile(r"fml[as]\b|fmul\s+v|vmulps|vfn?m(add|sub)\d+ps")
_ON_STACK = re.compile(r"(?=.*(\[sp\b|%rsp))(?=.*(\b[qv]\d|%[xyz]mm))")
_LABEL, _BRANCH = re.compile(r"[\w.]+:"), re.compile(r"(b|b\.\w+|cbn?z|tbn?z|j\w+)\s")


class CrossCompiler(Compiler):
    """Compiles for another processor, to assembly."""

    def __init__(self, triple: str, processor: str, features: str, lanes: int, registers: int) -> None:
        super().__init__(lanes, registers)
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
        self._machine = binding.Target.from_triple(triple).create_target_machine(processor, features, opt=2)

    def function(self, name: str, source: bytes, build: Build) -> Compiled:  # noqa: ARG002 -- nothing is kept
        """Compile a function, to text only."""
        module = self.ir.Module()
        written = binding.parse_assembly(build(module, name) or str(module))
        passes, pass_builder = self._passes()
        passes.run(written, pass_builder)
        self.functions = functions(self._machine.emit_assembly(written))
        return Compiled(0)


def functions(assembly: str) -> dict[str, list[str]]:
    """Give the lines of each function, labels included."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in map(str.strip, assembly.splitlines()):
        name = _LABEL.match(line)
        if name and not name[0].startswith((".", "L", "l")):
            lines = found[name[0].strip("_:")] = []
        elif line and (name or line[0] not in ".#;/"):
            lines.append(line)
    return found


def inner_loop(lines: list[str]) -> list[str]:
    """Give the instructions, between labels and branches, with most multiplications among them."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        if _LABEL.match(line):
            blocks.append([])
            continue
        blocks[-1].append(line)
        if _BRANCH.match(line):
            blocks.append([])
    return max(blocks, key=multiplications)


def multiplications(lines: list[str]) -> int:
    """Count the vectors that are multiplied."""
    return sum(bool(_MULTIPLICATION.match(line)) for line in lines)


def on_stack(lines: list[str]) -> int:
    """Count the instructions that move vectors from or to the stack."""
    return sum(bool(_ON_STACK.match(line)) for line in lines)


def kernels(compiler: CrossCompiler) -> Iterator[tuple[str, list[str]]]:
    """Give the inner loops of the kernels that take nearly all the time."""
    most = matmul.block_columns(compiler)
    matmul.matmul_kernel(compiler, matmul.panel_width(compiler))
    yield f"product, {most} columns", inner_loop(compiler.functions[f"microkernel_{most}"])
    matmul.complex_matmul_kernel(compiler)
    yield f"complex product, {most} columns", inner_loop(compiler.functions[f"microkernel_{most}"])
    gemv.gemv_kernel(compiler, 1)
    yield "product with one column", inner_loop(*compiler.functions.values())
    evaluate, _, interpolate = cook_toom.matrices(6, 3)
    matrix_transform.forward_kernel(compiler, (evaluate, evaluate))
    yield "Cook-Toom tile of 6x6", inner_loop(*compiler.functions.values())
    matrix_transform.inverse_kernel(compiler, (interpolate, interpolate), 1)
    yield "its 4x4 outputs", inner_loop(*compiler.functions.values())


def main() -> None:
    """Print a table for each kind of processor."""
    print(f"LLVM {'.'.join(map(str, binding.llvm_version_info))}; instructions of the inner loop")
    for name in sys.argv[1:] or PROCESSORS:
        compiler = CrossCompiler(*PROCESSORS[name])
        print(f"\n{name}, vectors of {compiler.lanes}")
        print("kernel                         instructions  multiplications  for each  for each float  on the stack")
        for kernel, lines in kernels(compiler):
            count, each = multiplications(lines), len(lines) / multiplications(lines)
            print(
                f"{kernel:30} {len(lines):12} {count:16} {each:9.2f} {each / compiler.lanes:15.3f} {on_stack(lines):13}"
            )


if __name__ == "__main__":
    main()
