"""Where the configuration lies: beside the package in a checkout, inside it when installed."""

from pathlib import Path


def conf_dir() -> str:
    """Absolute path of the Hydra configuration, for ``hydra.main(config_path=conf_dir())``.

    A wheel holds it as ``diffmix/_conf``; a checkout, and so an editable installation, as ``conf/`` beside the package.
    """
    here = Path(__file__).resolve().parent
    candidates = [here / "_conf", here.parent / "conf"]
    for folder in candidates:
        if (folder / "train.yaml").is_file():
            return str(folder)
    raise FileNotFoundError(f"no train.yaml in {candidates[0]} or {candidates[1]}: the installation is incomplete")


def example_dir() -> Path:
    """The bundled real multitrack: ``diffmix/_example`` in a wheel, ``recipes/automix/example`` in a checkout."""
    here = Path(__file__).resolve().parent
    candidates = [here / "_example", here.parent / "recipes" / "automix" / "example"]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no example in {candidates[0]} or {candidates[1]}: the installation is incomplete")
