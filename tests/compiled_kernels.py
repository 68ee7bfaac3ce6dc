"""The Triton kernels compiled for a card that need not be there: run as a program, for
`tests/unit/test_gpu_kernels.py`.

    python tests/compiled_kernels.py 80 90     compiles for compute capabilities 8.0 and 9.0;
                                               prints, for each of them and each kernel,
                                               registers and bytes spilled, as json
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from scdlab.nn.ops.gpu import kernels
from scdlab.nn.ops.gpu.dispatch import tile

INDICES = {"start", "source", "edge", "node", "i", "j", "begin", "order"}
SIZES = {"P", "cells", "shares"}
D, HEADS = 128, 8
FEATURES = dict(zip("ED", tile(D), strict=True))
CELL = {"E": FEATURES["E"] // 2, "D": FEATURES["D"]}
SPLINE = {"TAPS": 4, "d": D}
FORMS = {  # x is None in the first
    "cfconv": {"FORM": 0, "X": 3, "heads": 1, "x": None},
    "attention": {"FORM": 1, "X": 1, "heads": HEADS},
    "vectors": {"FORM": 2, "X": 1, "heads": 1},
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("cfconv_sum", {**SPLINE, **FEATURES, "X": 1}),
    ("cfconv_sum", {**FEATURES, "X": 3, "TAPS": 1, "d": D, "node": None, "B": None}),
    ("attention_sum", {**SPLINE, **FEATURES, "heads": HEADS, "FLIP": 1}),
    ("vectors_vectors", {**SPLINE, **FEATURES}),
    ("vectors_scalars", {**SPLINE, **FEATURES}),
    ("vectors_pairs", {**SPLINE, **FEATURES}),
    (
        "logits",
        {"TAPS": 4, "width": D // HEADS, "heads": HEADS, "E": tile(16)[0], "D": tile(16)[1]},
    ),
    *[("pair_dot", {**SPLINE, **FEATURES, **form}) for form in FORMS.values()],
    *[("own_rows", {"d": D, **FEATURES, **form, "B": None}) for form in FORMS.values()],
    *[("table_cells", {"d": D, **CELL, **form}) for form in FORMS.values()],
]


def source(kernel: Any, constants: dict[str, Any]) -> ASTSource:
    """A kernel with the types of its arguments, as a launch on a GPU gives them."""
    types = {}
    for name in kernel.arg_names:
        if name in constants:
            types[name] = "constexpr"
        elif name in SIZES:
            types[name] = "i32"
        else:
            types[name] = "*i64" if name in INDICES else "*fp32"
    aligned = [["tt.divisibility", 16]]
    attrs = {(k,): aligned for k, name in enumerate(types) if types[name].startswith("*")}
    return ASTSource(kernel, types, constants, attrs)


def use(cubin: bytes) -> tuple[int, int]:
    """Registers of a thread, and bytes that it spills."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ((registers, stack),) = re.findall(r"REG:(\d+) STACK:(\d+)", text)
    return int(registers), int(stack)


def main() -> None:
    found: dict[str, list[list[Any]]] = {}
    for capability in sys.argv[1:]:
        target = GPUTarget("cuda", int(capability), 32)
        found[capability] = []
        for name, constants in CASES:
            compiled = triton.compile(source(getattr(kernels, name), constants), target=target)
            found[capability].append([name, *use(compiled.asm["cubin"])])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
