"""The layers, held: every import in diffmix/, inside functions too, points downwards and stays in its home."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "diffmix"

LAYERS = (
    {"errors", "types", "progress", "descent", "keeping", "_paths", "lettering"},
    {"kernels", "files"},
    {"settings"},
    {"params"},
    {"losses", "metrics", "intent"},
    {"processors"},
    {"graph"},
    {"console", "estimators", "data", "export", "plugins", "plots", "portraits"},
    {"systems", "mix", "daw", "daw_return", "playback", "stems", "wishes", "explain", "report", "sweep", "balance"},
    {"transferring"},
    {"automixing", "refine", "mastering", "estimation", "api", "train", "eval", "cli", "__main__"},
    {"__init__"},
)
SIDEWAYS = {
    ("balance", "mix"),
    ("balance", "playback"),
    ("mix", "playback"),
    ("mix", "stems"),
    ("stems", "playback"),
    ("mix", "daw"),
    ("mix", "daw_return"),
    ("daw_return", "daw"),
    ("mix", "report"),
    ("explain", "playback"),
    ("report", "explain"),
    ("report", "playback"),
    ("systems", "balance"),
    ("systems", "playback"),
    ("systems", "mix"),
    ("systems", "transferring"),
    ("transferring", "api"),
    ("transferring", "automixing"),
    ("transferring", "mastering"),
    ("transferring", "refine"),
    ("portraits", "plots"),
    ("data", "export"),
    ("export", "plugins"),
    ("metrics", "losses"),
    ("api", "automixing"),
    ("api", "refine"),
    ("cli", "mastering"),
    ("cli", "transferring"),
    ("cli", "api"),
    ("cli", "automixing"),
    ("cli", "__init__"),
    ("cli", "estimation"),
    ("cli", "train"),
    ("cli", "eval"),
    ("__main__", "cli"),
}

# Where a package may be imported at all. ``export.standalone`` is written beside a preset and runs without diffmix.
HOMES = {
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "auraloss": {"losses"},
    "dasp_pytorch": {"processors.dasp"},
    "pedalboard": {"export", "plugins"},
    "soundfile": {"data.audio", "export.standalone"},
    "matplotlib": {"plots", "report", "lettering"},
    "transformers": {"transferring.describing"},
    "lightning": {"systems", "train"},
    "hydra": {"train", "eval", "cli", "__main__"},
    "omegaconf": {"train", "eval", "cli", "__main__"},
    "yaml": {"console", "data.datasets"},
    "argparse": {"train", "eval", "cli", "__main__", "export.standalone"},
}
KERNELS_MAY_IMPORT = {"torch", "numpy", "numba", "llvmlite", *sys.stdlib_module_names}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "_conf" not in path.parts
}


def rank(unit: str) -> int:
    return next((i for i, layer in enumerate(LAYERS) if unit in layer), -1)


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs: the body of ``if TYPE_CHECKING:`` does not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from nodes(node)


def imports(module: str, source: str) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import; ``from a import b`` counts as ``a.b``."""
    package = ["diffmix", *module.split(".")[:-1]]
    for node in nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((node.lineno, name.value) for name in node.args[:1] if isinstance(name, ast.Constant))


def faults(module: str, source: str) -> list[str]:
    """What breaks the table in one module, as ``module:line: reason``."""
    unit, found = module.split(".")[0], []
    for line, name in imports(module, source):
        top, *rest = name.split(".")
        if top == "diffmix":
            other = rest[0] if rest and (rest[0] in MODULES or f"{rest[0]}.__init__" in MODULES) else "__init__"
            if other != unit and not (rank(other) < rank(unit) or (unit, other) in SIDEWAYS):
                found.append(f"{module}:{line}: {unit} imports {other}, which is not below it")
        elif unit == "kernels" and top not in KERNELS_MAY_IMPORT:
            found.append(f"{module}:{line}: kernels import torch, numpy, numba and its llvmlite only, not {top}")
        elif top in HOMES and not any(f"{module}.".startswith(f"{home}.") for home in HOMES[top]):
            found.append(f"{module}:{line}: {top} is imported only in {', '.join(sorted(HOMES[top])) or 'tests'}")
    return found


@pytest.mark.parametrize("unit", sorted({module.split(".")[0] for module in MODULES}))
def test_imports_point_downwards_and_stay_in_their_home(unit: str) -> None:
    assert rank(unit) >= 0, f"{unit} has no layer; add it to LAYERS"
    own = {module: path for module, path in MODULES.items() if module.split(".")[0] == unit}
    assert [fault for m, path in own.items() for fault in faults(m, path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("kernels.iir", "def f():\n    from diffmix.params import Param"),
        ("kernels.iir", "import scipy.signal"),
        ("processors.eq", "from diffmix import console"),
        ("processors.eq", "from .. import plots"),
        ("console", "from diffmix import automix"),
        ("console", "from diffmix.data import audio"),
        ("data.multitrack", "def f():\n    import soundfile"),
        ("losses.stft", "import importlib\nimportlib.import_module('lightning')"),
    ],
)
def test_the_check_sees_a_wrong_import(module: str, source: str) -> None:
    assert faults(module, source)


def test_the_check_lets_types_and_lower_layers_pass() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from diffmix.api import Result\nimport numpy"
    assert faults("kernels.iir", source) == []
    assert faults("processors.eq", "from ..kernels.biquad import peak\nfrom . import base") == []
