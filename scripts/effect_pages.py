"""Write a page per effect into docs/effects from its declaration, with a picture, and a gallery of all pictures.

`python scripts/effect_pages.py` writes everything; `--check` only says whether the texts are as they would be written.
"""

import argparse
import inspect
import sys
from pathlib import Path

import diffmix.plugins  # noqa: F401 - registers Pedalboard's own
from diffmix.errors import PresetError
from diffmix.plots import style
from diffmix.portraits import pictures, portrait
from diffmix.processors import REGISTRY, BlackBox, Processor

DOCS = Path(__file__).resolve().parent.parent / "docs" / "effects"
RATE = 44100

BOOST = {"cutoff_frequency_hz": 1000.0, "gain_db": 9.0}
SQUEEZE = {"threshold_db": -30.0, "ratio": 4.0}
TELLING: dict[str, dict[str, float]] = {
    "PeakFilter": BOOST,
    "LowShelfFilter": BOOST,
    "HighShelfFilter": BOOST,
    "HighpassFilter": {"cutoff_frequency_hz": 200.0},
    "LowpassFilter": {"cutoff_frequency_hz": 2000.0},
    "ParametricEQ": {"low_shelf_gain_db": 6.0, "peak2_gain_db": -8.0, "peak4_gain_db": 5.0, "high_shelf_gain_db": -4.0},
    "GraphicEQ": {"gain_63hz_db": 6.0, "gain_400hz_db": -9.0, "gain_500hz_db": -9.0, "gain_4000hz_db": 8.0},
    "ResonantFilter": {"q": 4.0},
    "LadderFilter": {"cutoff_hz": 1000.0, "resonance": 0.6, "drive": 3.0},
    "Compressor": {**SQUEEZE, "attack_ms": 50.0, "release_ms": 400.0},
    "Compander": SQUEEZE,
    "KneeCompressor": {**SQUEEZE, "knee_db": 12.0},
    "MultibandCompressor": {"high_threshold_db": -30.0, "high_ratio": 4.0},
    "DeEsser": {"frequency_hz": 2000.0, "threshold_db": -40.0},
    "Expander": {"threshold_db": -20.0, "ratio": 3.0},
    "KneeGate": {"threshold_db": -20.0, "range_db": 40.0},
    "NoiseGate": {"threshold_db": -30.0, "ratio": 4.0},
    "Limiter": {"threshold_db": -20.0},
    "BrickwallLimiter": {"ceiling_db": -20.0},
    "TruePeakLimiter": {"ceiling_db": -12.0},
    "TransientShaper": {"attack_db": 9.0, "sustain_db": -6.0},
    "Bitcrush": {"bit_depth": 3.0},
    "Distortion": {"drive_db": 12.0},
    "Waveshaper": {"asymmetry": 0.4, "hardness": 0.5},
    "Gain": {"gain_db": 6.0},
    "Delay": {"delay_seconds": 0.25, "feedback": 0.6},
    "FilteredDelay": {"delay_seconds": 0.25, "feedback": 0.7, "mix": 0.5},
    "PingPongDelay": {"delay_seconds": 0.25, "feedback": 0.7, "mix": 0.5},
    "Chorus": {"rate_hz": 1.5, "depth": 0.3, "feedback": 0.5},
    "Phaser": {"rate_hz": 1.0, "feedback": 0.7},
    "Flanger": {"delay_ms": 2.0, "feedback": 0.6},
    "ModulatedPhaser": {"feedback": 0.6},
    "RoomReverb": {"mix": 1.0},
    "NoiseReverb": {"mix": 1.0},
    "FeedbackDelayNetwork": {"mix": 1.0},
    "LFO": {"rate_hz": 2.0},
    "PitchShift": {"semitones": 7.0},
}
"""Settings for the picture where the defaults show nothing."""


def number(value: float) -> str:
    """A limit as a person writes it."""
    return f"{value:g}"


def page(kind: type[Processor]) -> str:
    """The text of an effect's page: what it is, its ports, its parameters, how it leaves for other tools."""
    lines = [f"# {kind.__name__}", "", inspect.getdoc(kind) or "", ""]
    if pictures(kind):
        lines += [f"![{kind.__name__}]({kind.__name__}.svg)", ""]
        shown = ", ".join(f"`{n}={v:g}`" for n, v in telling(kind).items() if v != kind.declared[n].default)
        lines += [f"*Shown with {shown}.*" if shown else "*Shown at its defaults.*", ""]
    lines += ["| parameter | range | default | scale | moves | |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{name}` | {p.range_text()} | {p.default:g} | {p.scale} | {'yes' if p.modulatable else ''} | {p.doc} |"
        for name, p in kind.declared.items()
    ] or ["| none | | | | | |"]
    if options := choices(kind):
        lines += ["", f"Choices at construction: {', '.join(f'`{option}`' for option in options)}."]
    ports = [
        f"in `{p.name}` ({p.kind}, {p.channels or 'any'} channels{', optional' if p.optional else ''})"
        for p in kind.inlets
    ]
    ports += [f"out `{p.name}` ({p.kind}, {p.channels or 'any'} channels)" for p in kind.outlets]
    lines += ["", "Ports: " + "; ".join(ports) + "."]
    lines += ["", f"Pedalboard: {exported(kind)}"]
    if kind.surrogate:
        names = ", ".join(f"`{name}`" for name in sorted(kind.surrogate))
        lines += ["", f"Surrogate gradients: {names}."]
    if not kind.streams:
        lines += ["", "Needs the whole signal: does not run in chunks."]
    file = kind.__module__.replace(".", "/") + ".py"
    lines += ["", f"Source: [{file}](../../{file})."]
    return "\n".join(lines).rstrip() + "\n"


OWN = "diffmix.processors.", "diffmix.plugins."
COMMON = ("self", "sample_rate", "ranges", "precision")


def choices(kind: type[Processor]) -> list[str]:
    """What is chosen at construction; ``**options`` are those of the class above."""
    found: dict[str, str] = {}
    for owner in kind.__mro__:
        if "__init__" in vars(owner):
            parameters = list(inspect.signature(owner.__init__).parameters.values())
            named = (p for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in (*COMMON, *found))
            found |= {p.name: str(p).replace("'", "") for p in named}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return list(found.values())


def exported(kind: type[Processor]) -> str:
    """How the effect is carried into Pedalboard."""
    if issubclass(kind, BlackBox):
        return f"is `pedalboard.{kind.__name__}` itself, its gradients estimated."
    if kind.pedalboard:
        return f"twin of `pedalboard.{kind.__name__}`, sample for sample on the CPU."
    if kind.uncarried:
        return f"cannot be carried: {kind.uncarried.removesuffix('.')}."
    try:
        names = [name for name, _ in kind(RATE).plugins(defaults(kind))]
    except PresetError as error:
        return f"at some settings; at its defaults: {error}"
    counted = ", ".join(f"{names.count(n)} {n}" for n in dict.fromkeys(names))
    return f"as {counted}." if names else "as a matrix of the preset."


def defaults(kind: type[Processor]) -> dict[str, float]:
    """The declared defaults."""
    return {name: p.default for name, p in kind.declared.items()}


def telling(kind: type[Processor]) -> dict[str, float]:
    """The settings of the picture."""
    return defaults(kind) | TELLING.get(kind.__name__, {})


def effects() -> dict[str, type[Processor]]:
    """Every effect of diffmix itself and every plugin of Pedalboard, by name."""
    return {n: kind for n, kind in sorted(REGISTRY.items()) if kind.__module__.startswith(OWN)}


def first_line(kind: type[Processor]) -> str:
    """What the effect is, in a sentence."""
    return (inspect.getdoc(kind) or "").splitlines()[0]


def beside(kind: type[Processor]) -> str:
    """What it is beside Pedalboard's."""
    if not kind.pedalboard:
        return ""
    return "itself" if issubclass(kind, BlackBox) else "twin"


def texts() -> dict[Path, str]:
    """All pages, and the index."""
    kinds = effects()
    pages = {DOCS / f"{name}.md": page(kind) for name, kind in kinds.items()}
    rows = [f"| [{name}]({name}.md) | {first_line(kind)} | {beside(kind)} |" for name, kind in kinds.items()]
    head = ["# Effects", "", "Made from their declarations by `python scripts/effect_pages.py`; do not edit.", ""]
    index = [*head, "![All of them](gallery.png)", "", "| effect | | Pedalboard |", "|---|---|---|", *rows]
    return pages | {DOCS / "README.md": "\n".join(index) + "\n"}


def draw() -> None:
    """Every effect's picture, and the gallery of them."""
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    kinds = {name: kind for name, kind in effects().items() if pictures(kind)}
    for name, kind in kinds.items():
        figure = portrait(kind(RATE), telling(kind))
        with style():
            figure.savefig(DOCS / f"{name}.svg", metadata={"Date": None})
            figure.suptitle(name, fontsize=11)
            figure.savefig(DOCS / f".{name}.png", dpi=60)
        print(name)
    columns = 4
    rows = -(-len(kinds) // columns)
    gallery = Figure(figsize=(4.4 * columns, 1.7 * rows))
    for i, name in enumerate(kinds):
        axes = gallery.add_axes(((i % columns) / columns, 1 - (i // columns + 1) / rows, 1 / columns, 1 / rows))
        axes.imshow(imread(DOCS / f".{name}.png"))
        axes.axis("off")
        (DOCS / f".{name}.png").unlink()
    gallery.savefig(DOCS / "gallery.png", dpi=80)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        stale = [p.name for p, text in texts().items() if not p.is_file() or p.read_text(encoding="utf-8") != text]
        stale += [p.name for p in DOCS.glob("*.md") if p not in texts()]
        print("\n".join(stale))
        return int(bool(stale))
    DOCS.mkdir(parents=True, exist_ok=True)
    for old in [*DOCS.glob("*.md"), *DOCS.glob("*.svg")]:
        old.unlink()
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
    draw()
    return 0


if __name__ == "__main__":
    sys.exit(main())
