"""Triton's kernels compiled for GPUs by a machine that has none: with the blocks and warps they run with."""

import importlib.util
import inspect
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pointmae_zoo.ops.triton import dispatch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: its kernels are not compiled"
)

ARCHITECTURES = [pytest.param(80, marks=pytest.mark.slow), 90]  # A100 and H100
OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")
TYPES = {
    **dict.fromkeys(("count", "samples", "rows", "columns", "k"), "i32"),
    **dict.fromkeys(("row_share", "column_share"), "fp32"),
    **dict.fromkeys(("to_a", "to_b"), "*i32"),
    **dict.fromkeys(("picked", "found"), "*i64"),
}


@pytest.fixture(autouse=True)
def compiled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))


def built(kernel: Any, meta: dict[str, Any], architecture: int, **fixed: Any) -> Any:
    """A kernel as its launch would compile it, for Triton 3.2 and newer."""
    import triton
    from triton.backends import compiler as backends
    from triton.compiler import ASTSource

    fixed |= {name: value for name, value in meta.items() if name not in OPTIONS}
    types = {name: "constexpr" if name in fixed else TYPES.get(name, "*fp32") for name in kernel.arg_names}
    # Tensors begin at multiples of 16 bytes, and a launch tells the compiler so.
    aligned = [place for place, kind in enumerate(types.values()) if kind.startswith("*")]
    if "constexprs" in inspect.signature(ASTSource.__init__).parameters:
        attributes: Any = {(place,): [["tt.divisibility", 16]] for place in aligned}
        source = ASTSource(kernel, types, constexprs=fixed, attrs=attributes)
    else:
        attributes = backends.AttrsDescriptor.from_hints(dict.fromkeys(aligned, 16))
        types = {name: kind for name, kind in types.items() if kind != "constexpr"}
        source = ASTSource(kernel, types, constants=fixed, attrs=attributes)
    target = backends.GPUTarget("cuda", architecture, 32)
    return triton.compile(source, target=target, options={name: meta[name] for name in OPTIONS})


def disassembled(compiled: Any, folder: Path) -> str:
    """The machine's instructions, by the tool that comes with Triton."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    if not tool.exists():
        pytest.skip(f"this Triton has no {tool.name}")
    (folder / "kernel.cubin").write_bytes(compiled.asm["cubin"])
    return subprocess.run([tool, folder / "kernel.cubin"], capture_output=True, text=True, check=True).stdout


def checked(compiled: Any, folder: Path, spilled: int) -> None:
    """Its arithmetic rounds as plain torch's does, and at most ``spilled`` registers go to memory."""
    assert not re.findall(r"\b(?:fma|mad)\.\S*f32|\.ftz|\.approx", compiled.asm["ptx"])
    machine = disassembled(compiled, folder)
    assert re.search(r"\bFMUL\b", machine) and re.search(r"\bFADD\b", machine)
    assert not re.search(r"\bFFMA", machine)
    assert len(re.findall(r"\bSTL\b", machine)) <= spilled


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("count", "spilled"), [(100, 0), (2048, 0), (8192, 0), (dispatch.MOST_SAMPLED, 64)])
def test_sampling(architecture: int, count: int, spilled: int, tmp_path: Path) -> None:
    from pointmae_zoo.ops.triton import kernels

    meta = kernels.sample_meta(count)
    compiled = built(kernels.sample_kernel, meta, architecture, far=1e10, near_origin=1e-3)
    checked(compiled, tmp_path, spilled)
    # One instruction per warp for the largest distance, and one for the lowest index that has it.
    assert compiled.asm["ptx"].count("redux.sync.max.s32") and compiled.asm["ptx"].count("redux.sync.min.s32")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("k", [16, dispatch.MOST_NEIGHBORS])
def test_neighbors(architecture: int, k: int, tmp_path: Path) -> None:
    from pointmae_zoo.ops.triton import kernels

    checked(built(kernels.nearest_kernel, kernels.nearest_meta(k), architecture), tmp_path, 0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("sizes", [(16, 16), (64, 64), (1, 256)])
def test_chamfer(architecture: int, sizes: tuple[int, int], tmp_path: Path) -> None:
    from pointmae_zoo.ops.triton import kernels

    assert kernels.padded(sizes[0]) * kernels.padded(sizes[1]) <= dispatch.MOST_PAIRS
    for kernel in (kernels.chamfer_kernel, kernels.chamfer_gradient_kernel):
        checked(built(kernel, kernels.chamfer_meta(*sizes), architecture), tmp_path, 0)
