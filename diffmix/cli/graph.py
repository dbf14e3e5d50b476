"""Show a graph of effects, written as text or JSON; play stems through it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from diffmix.cli import asking
from diffmix.errors import OutputError

if TYPE_CHECKING:
    import numpy as np

    from diffmix.data.multitrack import Multitrack
    from diffmix.graph import Graph


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked of it."""
    parser.add_argument("graph", type=asking.path, help="a file that holds it")
    text = "a folder of audio files, or the files, named as its sources"
    parser.add_argument("stems", nargs="*", type=asking.path, help=text)
    text = "where audio, pictures and preset go"
    parser.add_argument("-o", "--output", type=asking.path, metavar="FOLDER", help=text)


def run(options: argparse.Namespace) -> None:
    """Show, play and write."""
    import numpy as np
    import torch

    from diffmix.data.audio import FULL_SCALE, write_recording
    from diffmix.files import made_folder, write_text
    from diffmix.graph import Graph, show, to_mermaid, to_svg

    graph = Graph.read(options.graph)
    graph.check()
    print(show(graph))
    if options.output is None:
        if options.stems:
            raise OutputError("-o FOLDER is needed: it says where the audio goes")
        return
    files = {"graph.json": graph.to_json(), "graph.txt": str(graph)}
    files |= {"graph.svg": to_svg(graph), "graph.mmd": to_mermaid(graph)}
    if options.graph.resolve() in {(options.output / name).resolve() for name in files}:
        raise OutputError(f"{options.graph} is the graph itself, which would be written over: choose another folder")
    played, tracks = _played(graph, options.stems, options.output) if options.stems else ({}, None)
    made_folder(options.output)
    for name, text in files.items():
        write_text(options.output / name, text)
    written = [options.output / name for name in files]
    if tracks:
        for name, audio in played.items():
            written.append(options.output / _file(name))
            write_recording(written[-1], torch.from_numpy(audio), tracks.sample_rate)
            if np.abs(audio).max(initial=0) > FULL_SCALE:
                print(f"note: {name} passes 0 dBFS: its file is in floating point")
        written += _preset(graph, tracks, options.output)
        for note in tracks.notes:
            print(f"note: {note}")
    for file in written:
        print(file)


def _played(graph: "Graph", stems: list[Path], folder: Path) -> "tuple[dict[str, np.ndarray], Multitrack]":
    """What comes out of a graph, and its tracks. Raises OutputError if a file in the way is not one of its results."""
    from diffmix import api
    from diffmix.data.multitrack import load

    tracks = load(asking.stems_of(stems), keep=graph.sources)
    beside = {Path(file).resolve().parent for track in tracks.tracks for file in track.files}
    earlier = (folder / "graph.txt").exists()
    for file in (folder / _file(name) for name in graph.outputs):
        if file.exists() and (file.resolve().parent in beside or not earlier):
            where = "lies among the stems" if file.resolve().parent in beside else "is no result of diffmix"
            raise OutputError(f"{file} {where} and would be written over: choose another folder")
    return api.play(graph, tracks)[0], tracks


def _preset(graph: "Graph", tracks: "Multitrack", folder: Path) -> list[Path]:
    """Write the preset of a graph and its player, if there is one, and say so if not; that of an earlier graph goes."""
    from diffmix.errors import PresetError
    from diffmix.export import preset, preset_of

    files = [folder / "preset.json", folder / "preset.py"]
    try:
        heard = {track.name: (track.files, len(track.audio)) for track in tracks.tracks if track.name in graph.sources}
        made = preset_of(graph, tracks.sample_rate, heard)
        unheard = {track.name for track in tracks.tracks} - heard.keys()
        preset.place(made, {track.name: track.start_s for track in tracks.tracks}, tracks.rest_s(unheard))
    except PresetError as error:
        for file in files:
            file.unlink(missing_ok=True)
        print(f"note: no preset for Pedalboard: {error}")
        return []
    preset.save(made, files[0])
    preset.write_player(files[1])
    return files


def _file(output: str) -> str:
    """What an output's audio is called."""
    return f"{output.replace('/', '_')}.wav"
