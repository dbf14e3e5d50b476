"""What a person sees of a command: how far it is, what came out, and where it lies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffmix.files import left_behind, spare
from diffmix.progress import progress

if TYPE_CHECKING:
    from diffmix.mix import Mix
    from diffmix.playback import Progress


def saved(
    title: str, make: "Callable[[Progress], Any]", folder: Path, sound: str, recordings: Sequence[Path]
) -> tuple[Any, dict[str, Path]]:
    """Make a result under a bar of progress and write it; returns it and its files.

    What `Mix.save` would refuse of a folder for the result's ``sound`` is refused before the work begins.
    """
    spare(folder, [sound], recordings)
    with progress(title, 100) as advance:
        made = make(lambda what, done: advance(round(90 * done), what))
        advance(90, "writing")
        files = made.save(folder)
        advance(100, "")
    return made, files


def show(text: str, files: Mapping[str, Path]) -> None:
    """A text, and where everything is."""
    print(text)
    for file in files.values():
        print(file)


def show_mix(mix: "Mix", files: Mapping[str, Path]) -> None:
    """One table of numbers, the notes, and where everything is."""
    stems = [file for file in files.values() if file.parent.name == "stems"]
    show(_table(mix), {name: file for name, file in files.items() if file not in stems})
    if "mix.dawproject" in files:
        from diffmix.daw import uncarried

        print(*(f"note: {note}" for note in uncarried(mix)), sep="\n")
    if stems:
        returns = "".join(f", {bus}" for bus in mix.console.buses)
        count = len(mix.multitrack.tracks)
        print(f"{stems[0].parent} ({count} track{'s' if count > 1 else ''} after processing{returns})")


def show_left(folder: Path, files: Iterable[Path], recordings: Iterable[str]) -> None:
    """What lies in the folder of the results from an earlier run, lest it be taken for one of them."""
    if left := left_behind(folder, files, recordings):
        print(f"note: of an earlier run are still there: {', '.join(map(str, left))}")


def _table(mix: "Mix") -> str:
    """A mix in lines: a row for each track, as it reaches the master, and group, the level of the whole, the notes."""
    from rich.cells import cell_len, set_cell_size  # letters of some scripts are two columns wide

    from diffmix.lettering import shortened
    from diffmix.plots import rows

    report, stages = mix.report, mix.console.strip
    strips = [(shortened(name, 40), strip) for name, strip in rows(report)]
    width = max(cell_len(name) for name in ("track", *(name for name, _ in strips)))
    ratios = [s for s, effect in stages.items() if hasattr(effect, "curve_db") and "ratio" in effect.spec.names]
    heads = ["LUFS in", "LUFS out", "fader", "pan", "width", *report["sends"]]
    heads += ["ratio"] if len(ratios) == 1 else ratios
    room = [max(least, len(head)) for least, head in zip([8, 8, 7, 6, 6, *[7] * len(heads)], heads, strict=False)]
    lines = [f"{'track':<{width}}  " + " ".join(f"{head:>{n}}" for head, n in zip(heads, room, strict=True))]
    for name, strip in strips:
        of_group = "tracks" in strip
        cells = ["" if of_group else f"{strip[f'loudness_{when}_lufs']:.1f}" for when in ("before", "after")]
        cells += [f"{strip['fader_db']:+z.1f}", f"{strip['pan']:+z.2f}"]
        cells += ["" if strip["width"] is None else f"{strip['width']:.2f}"]
        cells += [f"{strip[f'{send}_db']:+.1f}" for send in report["sends"]]
        if not of_group:
            knobs = strip["compressor"]
            cells += [f"{knobs.get('ratio', knobs.get(f'{stage}.ratio')):.1f}:1" for stage in ratios]
        about = f"  group of {', '.join(strip['tracks']) or 'no track'}" if of_group else ""
        row = " ".join(f"{cell:>{n}}" for cell, n in zip(cells, room, strict=False))
        lines.append(f"{set_cell_size(name, width)}  {row}{about}")
    for title, key in (("mix", "mix"), ("plain sum", "unmixed")):
        level = report[key]
        about = f"{level['loudness_lufs']:>8.1f} LUFS, true peak {level['true_peak_db']:.1f} dBTP"
        gain_db = report["master"]["gain_db"] if key == "mix" else None
        about += "" if gain_db is None else f", {gain_db:+z.1f} dB by the master's gain"
        lines.append(f"{title:<{width}}  {about}")
    return "\n".join([*lines, *(f"note: {note}" for note in report["notes"])])
