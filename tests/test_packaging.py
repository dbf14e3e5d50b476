"""What an installation gives: a light import without a network, and a wheel with everything in it."""

import re
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = (
    "torch", "numpy", "numba", "scipy", "lightning", "hydra", "omegaconf", "matplotlib", "pedalboard", "soundfile",
    "torchaudio", "pyloudnorm", "auraloss", "dasp_pytorch", "rich",
)  # fmt: skip


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def fresh_import() -> subprocess.CompletedProcess[str]:
    """The package and its commands in a new interpreter without sockets, their import times on stderr."""
    code = f"""
import importlib, os, socket, sys
def refuse(*args, **kwargs):
    raise OSError("no network at import")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
told = "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS"
for module in "diffmix.cli", "diffmix.train":
    [os.environ.pop(name, None) for name in told]
    importlib.import_module(module)
    print(module, *map(os.environ.get, told), *(name for name in {HEAVY!r} if name in sys.modules))
"""
    return python("-X", "importtime", "-c", code)


def test_import_pulls_in_nothing_heavy(fresh_import: subprocess.CompletedProcess[str]) -> None:
    """What idle threads of torch and numpy do has to be told before these are loaded."""
    assert fresh_import.stdout.splitlines() == ["diffmix.cli PASSIVE 1", "diffmix.train PASSIVE 1"]


def test_import_costs_little(fresh_import: subprocess.CompletedProcess[str]) -> None:
    rows = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+diffmix(?:\.\S+)?$", fresh_import.stderr, re.MULTILINE)
    assert rows
    assert sum(map(int, rows)) < 200_000, "microseconds of diffmix's own modules"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The files of a wheel built from this checkout: name and size."""
    folder = tmp_path_factory.mktemp("wheel")
    python("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: entry.file_size for entry in archive.infolist()}


def bare(requirement: str) -> str:
    """``torch>=2.11`` to ``torch``."""
    return re.split(r"[^\w-]", requirement)[0]


def tracked(folder: str) -> list[str]:
    """Files under a folder of the checkout that a wheel should carry."""
    paths = (ROOT / folder).rglob("*")
    return [p.relative_to(ROOT).as_posix() for p in paths if p.is_file() and "__pycache__" not in p.parts]


def test_the_wheel_carries_the_package_its_configuration_and_the_example(wheel: dict[str, int]) -> None:
    wanted = tracked("diffmix")
    for folder, inside in (("conf", "_conf"), ("recipes/automix/example", "_example")):
        wanted += [f"diffmix/{inside}/{name.removeprefix(f'{folder}/')}" for name in tracked(folder)]
    assert "diffmix/_conf/train.yaml" in wanted
    assert set(wanted) <= set(wheel)


def test_the_wheel_carries_the_marker_of_types_the_licence_and_nothing_else(wheel: dict[str, int]) -> None:
    assert "diffmix/py.typed" in wheel
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in wheel)
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"diffmix"}


def test_the_version_is_the_same_everywhere() -> None:
    import diffmix

    assert diffmix.__version__ == PROJECT["version"]


def test_doctor_checks_every_dependency() -> None:
    from diffmix.cli.doctor import PACKAGES

    renamed = {"hydra_core": "hydra", "pyyaml": "yaml"}
    required = [bare(line).replace("-", "_") for line in PROJECT["dependencies"]]
    assert sorted(PACKAGES) == sorted(renamed.get(name, name) for name in required)


def test_the_constraints_are_exact_and_name_no_place() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    assert all(re.match(r"[\w.-]+==[\w.+]+( ;|$)", line) for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    wanted = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    assert {bare(line) for line in wanted} <= pinned
