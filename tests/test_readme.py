"""What the README shows, works: its Python runs as one script, its commands are understood, and those of the recipes.

``<!-- no-test -->`` on the line before a block leaves it out.
"""

import re
import shlex
from collections.abc import Iterator
from itertools import dropwhile, groupby
from pathlib import Path

import pytest
import torch

from diffmix.data.audio import read, write_wav

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = [str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("recipes/*/README.md"))]
PAGES = ["README.md", *(pytest.param(page, marks=pytest.mark.slow) for page in RECIPES)]
BLOCK = re.compile(r"(<!-- no-test -->\s*\n)?^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(language: str, page: str = README) -> list[str]:
    return [text for skip, found, text in BLOCK.findall(page) if found == language and not skip]


def commands(page: str = README) -> Iterator[list[str]]:
    """Every command of the bash blocks as words: continued lines joined, comments and environment left out."""
    for line in "\n".join(blocks("bash", page)).replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        for chained, group in groupby(words, lambda word: word in ("&&", "|", ";")):
            command = list(dropwhile(lambda word: "=" in word, group))
            if command and not chained:
                yield [Path(command[0]).name, *command[1:]]


def arguments_of(module: str, words: list[str]) -> list[str] | None:
    """The arguments of ``python -m MODULE ...`` or of the installed command of that name, else None."""
    if words[0].startswith("python") and words[1:3] == ["-m", module]:
        return words[3:]
    return words[1:] if words[0] == module else None


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A folder with what the README's paths name: a second of the example's stems, and a mix of them."""
    stems = tmp_path / "path" / "to" / "stems"
    stems.mkdir(parents=True)
    mixed = torch.zeros(2, 1)
    for source in sorted((ROOT / "recipes" / "automix" / "example").glob("*.flac")):
        audio, sample_rate = read(source)
        stem = audio[:, 3 * sample_rate : 4 * sample_rate]
        write_wav(stems / f"{source.stem}.wav", stem, sample_rate)
        mixed = mixed + stem
    for name in ("reference_mix", "song", "another", "reference"):
        write_wav(tmp_path / f"{name}.wav", 0.5 * mixed / mixed.abs().max(), sample_rate)
    return tmp_path


@pytest.mark.usefixtures("sketched", "declaring")
@pytest.mark.filterwarnings("ignore:unclosed file")  # what a script leaves to its end
def test_the_python_of_the_readme_runs(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(session)
    assert blocks("python")
    exec(compile("\n".join(blocks("python")), "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_are_understood(page: str) -> None:
    from diffmix.cli import parser

    text = (ROOT / page).read_text(encoding="utf-8")
    found = [a for words in commands(text) if (a := arguments_of("diffmix", words)) is not None]
    assert found or text != README
    for arguments in found:
        if not {"-h", "--help", "--version"} & set(arguments):
            parser().parse_args(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_the_trainings_of_a_page_compose(page: str) -> None:
    from hydra import compose, initialize_config_dir

    from diffmix._paths import conf_dir

    found = commands((ROOT / page).read_text(encoding="utf-8"))
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        for arguments in filter(None, (arguments_of("diffmix.train", words) for words in found)):
            overrides = [word for word in arguments if not word.startswith("-") and "=" in word]
            if {"-m", "--multirun"} & set(arguments):
                overrides = [word.split(",")[0] for word in overrides]  # one of a sweep's choices
            compose("train", overrides)


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for words in commands() if words[0] == "make" for word in words[1:] if "=" not in word]
    missing = [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]
    assert not missing


def test_the_files_that_pages_link_to_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / name for name in RECIPES), *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page, link)
