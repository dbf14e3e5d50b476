"""Write the pictures of docs/graphs: a console, a multiband compressor, a mix that ducks, an echo with feedback.

`python scripts/graph_pages.py` writes everything; `--check` only says what is not as it would be written.
"""

import argparse
import re
import sys
from pathlib import Path

from diffmix.graph import Graph, show, to_dot, to_mermaid, to_svg

DOCS = Path(__file__).resolve().parent.parent / "docs" / "graphs"

TRACKS: dict[str, tuple[float, dict[str, float], tuple[float, float], float, float, float | None]] = {
    "kick": (30, {"peak1_gain_db": 3, "peak2_gain_db": -5}, (-18, 4), -4, 0, None),
    "snare": (90, {"peak1_gain_db": 2, "peak4_gain_db": 3}, (-20, 4), -6.5, -0.05, -18),
    "hats": (300, {"high_shelf_gain_db": 2}, (-24, 2), -14, 0.4, None),
    "bass": (35, {"peak2_gain_db": -3, "peak3_gain_db": 2}, (-26, 6), -5, 0, None),
    "guitar": (100, {"peak2_gain_db": -4, "peak4_gain_db": 2}, (-22, 2), -11, -0.6, -20),
    "keys": (120, {"peak1_gain_db": -3}, (-20, 2), -12, 0.55, -16),
    "vox": (80, {"peak2_gain_db": -3, "peak4_gain_db": 4, "high_shelf_gain_db": 3}, (-28, 3), -3, 0, -12),
    "choir": (150, {"peak2_gain_db": -4, "high_shelf_gain_db": 4}, (-30, 4), -15, -0.25, -8),
}
"""High-pass in Hz, equaliser, threshold and ratio, fader in dB, pan, send to the reverb in dB."""


def console() -> Graph:
    """Eight strips, a reverb that some of them share, and a master chain."""
    graph = Graph()
    for track in TRACKS:
        graph = graph.add(track, "In", channels=1)
    graph = graph.add("verb", "Reverb", {"room_size": 0.8, "wet_level": 1, "dry_level": 0}).add("bus", "Sum")
    for track, (cut, eq, (threshold, ratio), fader, pan, send) in TRACKS.items():
        graph = (
            graph.add(f"{track}.hpf", "HighpassFilter", {"cutoff_frequency_hz": cut})
            .add(f"{track}.eq", "ParametricEQ", eq)
            .add(f"{track}.comp", "Compressor", {"threshold_db": threshold, "ratio": ratio, "attack_ms": 5})
            .add(f"{track}.fader", "Gain", {"gain_db": fader})
            .add(f"{track}.pan", "Pan", {"pan": pan})
            .chained(track, *(f"{track}.{stage}" for stage in ("hpf", "eq", "comp", "fader", "pan")), "bus")
        )
        if send is not None:
            graph = graph.connect(f"{track}.pan", "verb", send)
    return (
        graph.connect("verb", "bus")
        .add("master.eq", "ParametricEQ", {"low_shelf_gain_db": 1, "high_shelf_gain_db": 1.5})
        .add("master.comp", "Compressor", {"threshold_db": -10, "ratio": 2, "attack_ms": 30})
        .add("master.gain", "Gain", {"gain_db": 3})
        .add("out", "Out")
        .chained("bus", "master.eq", "master.comp", "master.gain", "out")
    )


def multiband() -> Graph:
    """Three bands by two crossovers, each compressed, and summed."""
    graph = (
        Graph()
        .add("mix", "In")
        .add("split 1", "Crossover", {"cutoff_frequency_hz": 180})
        .add("split 2", "Crossover", {"cutoff_frequency_hz": 3000})
        .add("sum", "Sum")
        .add("out", "Out")
    )
    for band, threshold, ratio in (("low", -26, 4), ("mid", -24, 2), ("high", -32, 3)):
        values = {"threshold_db": threshold, "ratio": ratio, "makeup_db": 3}
        graph = graph.add(f"{band} comp", "KneeCompressor", values)
    graph = graph.chained("mix", "split 1", "low comp", "sum").connect("split 1:high", "split 2")
    graph = graph.connect("split 2:low", "mid comp").connect("split 2:high", "high comp")
    return graph.connect("mid comp", "sum").connect("high comp", "sum", -1).connect("sum", "out")


def ducking() -> Graph:
    """The kick ducks the bass and the pad by side chains; an oscillator moves the pad."""
    return (
        Graph()
        .add("kick", "In", channels=1)
        .add("bass", "In", channels=1)
        .add("pad", "In", channels=1)
        .add("kick.eq", "PeakFilter", {"cutoff_frequency_hz": 60, "gain_db": 4})
        .add("bass.comp", "KneeCompressor", {"threshold_db": -30, "ratio": 6, "release_ms": 180})
        .add("pad.hpf", "HighpassFilter", {"cutoff_frequency_hz": 200})
        .add("pad.comp", "KneeCompressor", {"threshold_db": -34, "ratio": 4, "release_ms": 250})
        .add("centre", "Pan")
        .add("pad.pan", "Pan")
        .add("lfo", "LFO", {"rate_hz": 0.4}, channels=1)
        .add("bus", "Sum")
        .add("out", "Out")
        .chained("kick", "kick.eq", "centre", "bus", "out")
        .chained("bass", "bass.comp", "centre")
        .chained("pad", "pad.hpf", "pad.comp", "pad.pan", "bus")
        .connect("kick", "bass.comp:side_chain")
        .connect("kick", "pad.comp:side_chain")
        .connect("lfo", "pad.pan:pan", amount=0.6)
    )


def echo() -> Graph:
    """An echo by hand: what comes back is darker and dirtier each time; its sides are filtered alone."""
    return (
        Graph()
        .add("vox", "In")
        .add("loop", "Sum")
        .add("damp", "LowpassFilter", {"cutoff_frequency_hz": 3500})
        .add("tape", "Waveshaper", {"gain_db": 4})
        .add("echo", "Feedback", delay_ms=350)
        .add("split", "MidSideSplit")
        .add("no low sides", "HighpassFilter", {"cutoff_frequency_hz": 250})
        .add("merge", "MidSideMerge")
        .add("bus", "Sum")
        .add("out", "Out")
        .chained("vox", "bus", "out")
        .connect("vox", "loop", -6)
        .chained("loop", "damp", "tape", "echo")
        .connect("echo", "loop", -4)
        .connect("tape", "split")
        .connect("split:mid", "merge:mid")
        .connect("split:side", "no low sides")
        .connect("no low sides", "merge:side")
        .connect("merge", "bus", -9)
    )


EXAMPLES = {"console": console, "multiband": multiband, "ducking": ducking, "echo": echo}


def page() -> str:
    """The page that shows them all."""
    lines = ["# Graphs", "", "Made by `python scripts/graph_pages.py`; do not edit. Each is drawn by", ""]
    lines += [
        "```python",
        "from diffmix.graph import to_svg",
        "",
        'open("console.svg", "w").write(to_svg(graph))',
        "```",
    ]
    for name, make in EXAMPLES.items():
        graph = make()
        lines += ["", f"## {name.capitalize()}", "", make.__doc__ or "", "", f"![{name}]({name}.svg)", ""]
        lines += ["In a terminal, `print(show(graph))`:", "", "```text", show(graph).rstrip(), "```"]
    lines += ["", "## Mermaid and Graphviz", "", "`to_mermaid(graph)` of the multiband compressor:", ""]
    lines += ["```mermaid", to_mermaid(multiband()).rstrip(), "```", "", "and `to_dot(graph)`:", ""]
    return "\n".join([*lines, "```dot", to_dot(multiband()).rstrip(), "```"]) + "\n"


def files() -> dict[Path, str]:
    """What is written, by path."""
    return {DOCS / "README.md": page()} | {DOCS / f"{name}.svg": to_svg(make()) for name, make in EXAMPLES.items()}


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def same(one: str, two: str) -> bool:
    """Whether two texts differ at most by the last digit of a coordinate, which another processor may round."""
    numbers = [list(map(float, _NUMBER.findall(text))) for text in (one, two)]
    equal = _NUMBER.sub("", one) == _NUMBER.sub("", two)
    return equal and all(abs(a - b) < 0.11 for a, b in zip(*numbers, strict=True))


def stale() -> list[str]:
    """Names of files that are not as they would be written, or should not be there."""
    wanted = files()
    found = {path: path.read_text(encoding="utf-8") for path in DOCS.glob("*") if path.is_file()}
    changed = [path.name for path, text in wanted.items() if path not in found or not same(found[path], text)]
    return sorted(changed + [path.name for path in found if path not in wanted])


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        names = stale()
        print("\n".join(names))
        return int(bool(names))
    DOCS.mkdir(parents=True, exist_ok=True)
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
