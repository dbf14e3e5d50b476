"""The command ``diffmix``."""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffmix import __version__
from diffmix._paths import example_dir
from diffmix.errors import DiffmixError, SettingsError

if TYPE_CHECKING:
    from diffmix.mix import Mix

PACKAGES = (
    "torch",
    "torchaudio",
    "numpy",
    "scipy",
    "numba",
    "dasp_pytorch",
    "pedalboard",
    "pyloudnorm",
    "auraloss",
    "hydra",
    "yaml",
    "lightning",
    "soundfile",
    "safetensors",
    "matplotlib",
    "rich",
)


# The threads of torch's OpenMP spin while they wait; beside other work on the machine that costs up to ten times more
# than they save. Read when torch is loaded, so it stands before any import of it, and only in programs of ours.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a user's mistake ends in one sentence on standard error and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except DiffmixError as error:
        print(f"diffmix: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("diffmix: stopped", file=sys.stderr)
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "diffmix", description="Automatic mixing with settings you can read, change and take along."
    )
    parser.add_argument("--version", action="version", version=f"diffmix {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    def output(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the results go")

    def console(sub: argparse.ArgumentParser) -> None:
        text = "another console: a layout as in conf/console/*.yaml, or a mix's console.json"
        sub.add_argument("--console", type=Path, metavar="FILE", help=text)

    sub = command("automix", _automix, "Mix a folder of stems.")
    sub.add_argument("stems", nargs="+", type=Path, help="a folder of audio files, or the files")
    output(sub)
    sub.add_argument("--loudness", type=float, default=-16.0, metavar="LUFS", help="loudness of the mix (default -16)")
    sub.add_argument("--ceiling", type=float, default=-1.0, metavar="DBTP", help="highest true peak (default -1)")
    sub.add_argument("--sample-rate", type=int, metavar="HZ", help="default: what most files have")
    text = "a model of your own (RUN/model of a training), or 'rules': by the tracks' names, without a network"
    sub.add_argument("--model", metavar="FOLDER", help=text)
    text = "what a track is, where its name does not say it, e.g. 'Audio 7=lead_vocal'"
    sub.add_argument("--role", action="append", default=[], metavar="TRACK=ROLE", help=text)
    sub.add_argument("--reference", type=Path, metavar="FILE", help="a song that the mix is to sound like")
    text = "hold a knob, e.g. 'vox.pan=0', 'drums.gain=-3', 'bass.eq' (changes nothing); tracks, roles and patterns"
    sub.add_argument("--lock", action="append", default=[], metavar="KNOB[=VALUE]", help=text)
    text = "keep a knob in a range, e.g. 'drums.gain=±2', '*.pan=-0.5..0.5'"
    sub.add_argument("--bound", action="append", default=[], metavar="KNOB=RANGE", help=text)
    text = "the kinds of knobs that may be touched: gain, pan, width, eq, comp, send"
    sub.add_argument("--only", default="", metavar="KINDS", help=text)
    text = "words: wider, narrower, drier, wetter, brighter, darker, denser, open, vocal+2, bass-1"
    sub.add_argument("--style", default="", metavar="WORDS", help=text)
    text = "several mixes in styles far apart, in the folders 1, 2, ... (default 1: one mix)"
    sub.add_argument("--variants", type=int, default=1, metavar="N", help=text)
    text = "steps of gradient descent on the knobs, from where the model puts them (default 0)"
    sub.add_argument("--refine", type=int, default=0, metavar="STEPS", help=text)
    sub.add_argument("--seed", type=int, default=0, help="of whatever is drawn (default 0)")
    sub.add_argument("--no-stems", action="store_true", help="do not write the tracks after processing")

    sub = command("render", _render, "Mix stems under given settings, for example an edited settings.json.")
    sub.add_argument("stems", nargs="+", type=Path, help="a folder of audio files, or the files")
    sub.add_argument("settings", type=Path, help="a settings.json")
    output(sub)
    sub.add_argument("--mute", action="append", default=[], metavar="TRACK", help="leave tracks out, e.g. 'drum*'")
    sub.add_argument("--solo", action="append", default=[], metavar="TRACK", help="the only tracks that are heard")
    console(sub)

    sub = command("master", _master, "Master a finished mix: equaliser, dynamics and limiter towards a target.")
    sub.add_argument("mix", type=Path, help="an audio file")
    output(sub)
    text = "auto, a genre (pop, rock, ...; several with commas), a recording, or a loudness such as -14 (default auto)"
    sub.add_argument("--target", default="auto", metavar="TARGET", help=text)
    text = "loudness of the master (default: that of a recording as target, else -14)"
    sub.add_argument("--loudness", type=float, metavar="LUFS", help=text)
    sub.add_argument("--ceiling", type=float, default=-1.0, metavar="DBTP", help="highest true peak (default -1)")
    sub.add_argument("--amount", type=float, default=1.0, metavar="0..1", help="how far to go (default 1)")
    text = "hold a knob, e.g. 'compressor', 'eq.peak1_gain_db=-2' (without a value it changes nothing)"
    sub.add_argument("--lock", action="append", default=[], metavar="KNOB[=VALUE]", help=text)
    sub.add_argument("--bound", action="append", default=[], metavar="KNOB=RANGE", help="keep it so, e.g. 'eq=±2'")
    sub.add_argument("--only", default="", metavar="STAGES", help="of eq, dynamics, limiter; with commas")

    text = "Make a recording sound as another one does: tone, dynamics, drive, width, space and loudness."
    sub = command("transfer", _transfer, text)
    sub.add_argument("input", type=Path, help="an audio file; a folder of stems is mixed like the reference")
    text = "recordings to sound like, or a style.json, which is done again"
    sub.add_argument("reference", nargs="+", type=Path, help=text)
    output(sub)
    text = "how far to go, 0..1, or by aspect, e.g. tone=0.5,loudness=0 (default 1)"
    sub.add_argument("--amount", default="1", metavar="AMOUNT", help=text)
    text = "of tone, dynamics, drive, width, space, loudness; with commas"
    sub.add_argument("--only", default="", metavar="ASPECTS", help=text)
    sub.add_argument("--weights", default="", metavar="A,B", help="how much each of several references counts")
    text = "hold a knob, e.g. 'compressor', 'eq.peak1_gain_db=-2' (without a value it changes nothing)"
    sub.add_argument("--lock", action="append", default=[], metavar="KNOB[=VALUE]", help=text)
    sub.add_argument("--bound", action="append", default=[], metavar="KNOB=RANGE", help="keep it so, e.g. 'eq=±6'")
    text = "auto, same-source (another take or mix of the same piece) or different-source (default auto)"
    sub.add_argument("--mode", default="auto", metavar="MODE", help=text)
    text = "how sure to be before anything is done: default, cautious, bold, or the largest ratio of distances"
    sub.add_argument("--gate", default="default", metavar="GATE", help=text)
    sub.add_argument("--quality", default="balanced", metavar="QUALITY", help="fast, balanced or best")
    sub.add_argument("--ceiling", type=float, default=-1.0, metavar="DBTP", help="highest true peak (default -1)")
    sub.add_argument("--candidates", type=int, default=1, metavar="N", help="several results, far apart (default 1)")
    sub.add_argument("--seed", type=int, default=0, help="of whatever is drawn (default 0)")

    sub = command("fit", _fit, "Set the console's knobs so that stems sound like a given mix.")
    sub.add_argument("stems", nargs="+", type=Path, help="a folder of audio files, or the files")
    sub.add_argument("target", type=Path, help="the mix to come near")
    output(sub)
    sub.add_argument("--steps", type=int, default=200, help="of gradient descent (default 200)")
    sub.add_argument("--start", type=Path, metavar="JSON", help="settings to start from")
    sub.add_argument("--lock", action="append", default=[], metavar="KNOB", help="leave a knob alone, e.g. 'vox.pan.*'")
    text = "keep a knob in a range, or at a value, e.g. 'vox.pan=-0.2..0.2', '*.eq.*gain_db=-3..3'"
    sub.add_argument("--bound", action="append", default=[], metavar="KNOB=LOW..HIGH", help=text)
    console(sub)

    sub = command(
        "graph",
        _graph,
        "Show a graph of effects, written as text or JSON; play stems through it.",
    )
    sub.add_argument("graph", type=Path, help="a file that holds it")
    sub.add_argument("stems", nargs="*", type=Path, help="a folder of audio files, or the files, named as its sources")
    sub.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="where audio, pictures and preset go")

    sub = command(
        "sweep",
        _sweep,
        "Play sounds through an effect at random settings, or on a grid: a data set of dry and wet sound. "
        "A sweep that was stopped goes on when the same command is given again.",
    )
    sub.add_argument("plugin", metavar="PLUGIN", help="a .vst3, or an effect by name, e.g. Compressor")
    sub.add_argument("dry", type=Path, metavar="DRY", help="an audio file, or a folder of them")
    output(sub)
    many = sub.add_mutually_exclusive_group()
    many.add_argument("--count", type=int, help="how many random settings (default 100)")
    many.add_argument("--grid", type=int, metavar="N", help="for each file N values of one or two --parameters")
    sub.add_argument("--seed", type=int, default=0, help="of the settings (default 0)")
    sub.add_argument("--parameters", metavar="A,B", help="which to move (default all); the others keep their defaults")
    sub.add_argument("--jobs", type=int, default=2, help="how many at once (default 2)")

    sub = command("demo", _demo, "Train on generated songs, mix a real multitrack with the result, and show it.")
    sub.add_argument("-o", "--output", type=Path, default=Path("out/demo"), metavar="FOLDER", help="default out/demo")
    sub.add_argument("overrides", nargs="*", help="passed to the training, e.g. trainer.max_steps=50")

    command("doctor", _doctor, "Check that everything diffmix needs can be imported.")
    return parser


def _stems(paths: list[Path]) -> Any:
    return paths[0] if len(paths) == 1 else paths


def _automix(options: argparse.Namespace) -> None:
    from diffmix import api

    count = options.variants
    asked: dict[str, Any] = {
        "sample_rate": options.sample_rate,
        "loudness_lufs": options.loudness,
        "ceiling_db": options.ceiling,
        "model": options.model or api.MODEL,
        "roles": dict(_role(text) for text in options.role),
        "reference": options.reference,
        "lock": options.lock,
        "bound": options.bound,
        "only": options.only,
        "style": options.style or None,
        "seed": options.seed,
        "refine": options.refine,
    }
    made: list[tuple[Mix, dict[str, Path]]] = []
    with _stages(f"Mixing {', '.join(map(str, options.stems))}", 100) as advance:
        mixes = api.automix_variants(
            _stems(options.stems), count, **asked, progress=lambda what, done: advance(round(80 * done), what)
        )
        for number, mix in enumerate(mixes, 1):
            advance(80 * number // count, "writing")
            folder = options.output if count == 1 else options.output / str(number)
            files = mix.save(folder, stems=not options.no_stems)
            made.append((mix, files))
        advance(100, "")
    for number, (mix, files) in enumerate(made, 1):
        if count > 1:
            print(f"{'' if number == 1 else chr(10)}{number}: {mix.style or 'as usual'}")
        _show(mix, files)


def _master(options: argparse.Namespace) -> None:
    from diffmix.mastering import master
    from diffmix.mastering.report import summary

    with _stages(f"Mastering {options.mix}", 100) as advance:
        made = master(
            options.mix,
            options.target,
            loudness_lufs=options.loudness,
            ceiling_db=options.ceiling,
            amount=options.amount,
            lock=options.lock,
            bound=options.bound,
            only=options.only,
            progress=lambda what, done: advance(round(90 * done), what),
        )
        advance(90, "writing")
        files = made.save(options.output)
        advance(100, "")
    print(summary(made.report))
    for file in files.values():
        print(file)


def _transfer(options: argparse.Namespace) -> None:
    from diffmix.transferring import Transfer, transfer
    from diffmix.transferring.report import summary

    with _stages(f"Transferring to {options.input}", 100) as advance:
        made = transfer(
            options.input,
            options.reference[0] if len(options.reference) == 1 else options.reference,
            weights=[_float(text, "--weights") for text in options.weights.split(",") if text.strip()] or None,
            amount=_amount(options.amount),
            only=options.only,
            lock=options.lock,
            bound=options.bound,
            mode=options.mode,
            gate=options.gate if options.gate.isalpha() else _float(options.gate, "--gate"),
            quality=options.quality,
            ceiling_db=options.ceiling,
            candidates=options.candidates,
            seed=options.seed,
            progress=lambda what, done: advance(round(90 * done), what),
        )
        advance(90, "writing")
        files = made.save(options.output)
        advance(100, "")
    if not isinstance(made, Transfer):
        _show(made, files)
        return
    print(summary(made.report))
    for file in files.values():
        print(file)


def _amount(text: str) -> float | dict[str, float]:
    """``0.5``, or ``tone=0.5,loudness=0``."""
    if "=" not in text:
        return _float(text, "--amount")
    pairs = [part.partition("=") for part in text.split(",")]
    return {name.strip().casefold(): _float(value, "--amount") for name, _, value in pairs}


def _float(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{where}: {text.strip()!r} is no number") from None


def _role(text: str) -> tuple[str, str]:
    track, _, role = text.rpartition("=")
    if not track:
        raise SettingsError(f"--role {text}: TRACK=ROLE is expected, e.g. 'Audio 7=lead_vocal'")
    return track, role.strip()


def _render(options: argparse.Namespace) -> None:
    from diffmix import api

    layout = _layout(options.console)
    mix = api.render(_stems(options.stems), options.settings, layout, mute=options.mute, solo=options.solo)
    _show(mix, mix.save(options.output))


def _layout(path: Path | None) -> dict[str, Any] | None:
    """A console's layout from a file; its sample rate is the stems'."""
    if path is None:
        return None
    from omegaconf import OmegaConf

    layout: Any
    try:
        layout = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as error:  # OmegaConf's and PyYAML's errors have no base of their own
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise SettingsError(f"{path} cannot be read as a console: {reason}") from None
    if not isinstance(layout, dict):
        raise SettingsError(f"{path} holds no console: strip, sends, buses, groups and master are expected")
    return {str(name): part for name, part in layout.items() if name != "sample_rate"}


def _bound(text: str) -> tuple[str, tuple[float, float]]:
    """``KNOB=LOW..HIGH`` or ``KNOB=VALUE``."""
    knob, _, limits = text.rpartition("=")
    low, _, high = limits.partition("..")
    try:
        found = float(low), float(high or low)
    except ValueError:
        knob = ""
    if not knob:
        raise SettingsError(f"--bound {text}: KNOB=LOW..HIGH or KNOB=VALUE is expected, e.g. vox.pan=-0.2..0.2")
    return knob, found


def _fit(options: argparse.Namespace) -> None:
    from diffmix import api
    from diffmix.settings import Settings

    start = Settings.from_json(options.start) if options.start else None
    limits, layout = dict(map(_bound, options.bound)), _layout(options.console)
    with _stages("Fitting", options.steps) as advance:
        mix = api.fit(
            _stems(options.stems),
            options.target,
            layout,
            start=start,
            lock=options.lock,
            limits=limits,
            steps=options.steps,
            progress=lambda step, loss: advance(step, f"distance {loss:.3f}"),
        )
    _show(mix, mix.save(options.output))


def _graph(options: argparse.Namespace) -> None:
    import torch

    from diffmix import api
    from diffmix.data.audio import write_wav
    from diffmix.errors import OutputError, PresetError
    from diffmix.export import preset, preset_of
    from diffmix.files import write_text
    from diffmix.graph import Graph, show, to_mermaid, to_svg

    graph = Graph.read(options.graph)
    graph.check()
    print(show(graph))
    if options.output is None:
        if options.stems:
            raise OutputError("-o FOLDER is needed: it says where the audio goes")
        return
    played, rate = api.play(graph, _stems(options.stems)) if options.stems else ({}, 0)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {options.output}: {error.strerror or error}") from None
    files = {"graph.json": graph.to_json(), "graph.txt": str(graph)}
    files |= {"graph.svg": to_svg(graph), "graph.mmd": to_mermaid(graph)}
    for name, text in files.items():
        write_text(options.output / name, text)
    written = [options.output / name for name in files]
    for name, audio in played.items():
        written.append(options.output / f"{name.replace('/', '_')}.wav")
        write_wav(written[-1], torch.from_numpy(audio), rate)
    if played:
        try:
            made = preset_of(graph, rate)
        except PresetError as error:
            print(f"note: no preset for Pedalboard: {error}")
        else:
            written += [options.output / "preset.json", options.output / "preset.py"]
            preset.save(made, written[-2])
            preset.write_player(written[-1])
    for file in written:
        print(file)


def _sweep(options: argparse.Namespace) -> None:
    from diffmix.sweep import sweep

    count = 100 if options.count is None and options.grid is None else options.count
    with _stages("Sweeping", 100) as advance:
        manifest = sweep(
            options.plugin,
            options.dry,
            options.output,
            count=count,
            grid=options.grid,
            seed=options.seed,
            parameters=options.parameters.split(",") if options.parameters else None,
            jobs=options.jobs,
            progress=lambda done, total, note: advance(100 * done // total, f"{done} of {total}, {note}"),
        )
    print(manifest)


def _demo(options: argparse.Namespace) -> None:
    begun = time.monotonic()
    run = options.output / "training"
    command = [
        sys.executable,
        "-m",
        "diffmix.train",
        "recipe=automix",
        "trainer.max_steps=240",
        "resume=auto",
        f"output={run}",
        *options.overrides,
    ]
    print("$ python " + " ".join(command[1:]), file=sys.stderr, flush=True)
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)
    trained = time.monotonic()
    from diffmix import api
    from diffmix.train import table

    stems = example_dir()
    with _stages("Mixing a real song", 3) as advance:
        mix = api.automix(stems, model=run / "model")
        advance(1, "writing")
        files = mix.save(options.output)
        advance(2, "playing the preset in Pedalboard")
        parity = preset_residual_db(mix)
        advance(3, "")
    mixed = time.monotonic()
    _show(mix, files)
    print(f"\nPlay it without diffmix: python {files['preset.py']} {stems} again.wav\n")
    print(table(json.loads((run / "scores.json").read_text(encoding="utf-8"))))
    heard = "the same samples" if parity == -math.inf else f"a residual of {parity:.0f} dB"
    print(f"preset.json in Pedalboard: {heard}; training {trained - begun:.0f} s, mixing {mixed - trained:.0f} s")


def preset_residual_db(mix: "Mix") -> float:
    """Energy of the difference between a mix and its preset played by Pedalboard, relative to the mix, in dB."""
    import torch

    from diffmix.metrics import residual_db

    stems = {t.name: t.audio.numpy() for t in mix.multitrack.tracks}
    played = mix.to_pedalboard().render(stems)
    return residual_db(torch.from_numpy(played), torch.from_numpy(mix.audio))


def _doctor(options: argparse.Namespace) -> None:
    from importlib import import_module
    from importlib.metadata import version

    names = {"hydra": "hydra-core", "dasp_pytorch": "dasp-pytorch", "yaml": "pyyaml"}
    broken = 0
    print(f"diffmix {__version__}, Python {sys.version.split()[0]}")
    for package in PACKAGES:
        try:
            import_module(package)
            print(f"  {package:<14} {version(names.get(package, package))}")
        except Exception as error:
            broken += 1
            print(f"  {package:<14} cannot be imported: {error}")
    if broken:
        raise DiffmixError(f"{broken} of {len(PACKAGES)} packages cannot be imported; pip install diffmix again")


def _stages(title: str, total: int) -> Any:
    from diffmix.progress import progress

    return progress(title, total)


def _show(mix: "Mix", files: dict[str, Path]) -> None:
    """One table of numbers, the notes, and where everything is."""
    from diffmix.plots import rows

    report, stages = mix.report, mix.console.strip
    strips = rows(report)
    width = max(len(name) for name in ("track", *(name for name, _ in strips)))
    ratios = [s for s, effect in stages.items() if hasattr(effect, "curve_db") and "ratio" in effect.spec.names]
    heads = ["LUFS in", "in mix", "fader", "pan", "width", *report["sends"]]
    heads += ["ratio"] if len(ratios) == 1 else ratios
    room = [max(least, len(head)) for least, head in zip([8, 8, 7, 6, 6, *[7] * len(heads)], heads, strict=False)]
    print(f"{'track':<{width}}  " + " ".join(f"{head:>{n}}" for head, n in zip(heads, room, strict=True)))
    for name, strip in strips:
        of_group = "tracks" in strip
        cells = ["" if of_group else f"{strip[f'loudness_{when}_lufs']:.1f}" for when in ("before", "after")]
        cells += [f"{strip['fader_db']:+.1f}", f"{strip['pan']:+.2f}"]
        cells += ["" if strip["width"] is None else f"{strip['width']:.2f}"]
        cells += [f"{strip[f'{send}_db']:+.1f}" for send in report["sends"]]
        if not of_group:
            knobs = strip["compressor"]
            cells += [f"{knobs.get('ratio', knobs.get(f'{stage}.ratio')):.1f}:1" for stage in ratios]
        about = f"  group of {', '.join(strip['tracks']) or 'no track'}" if of_group else ""
        print(f"{name:<{width}}  " + " ".join(f"{cell:>{n}}" for cell, n in zip(cells, room, strict=False)) + about)
    for title, key in (("mix", "mix"), ("plain sum", "unmixed")):
        level = report[key]
        print(f"{title:<{width}}  {level['loudness_lufs']:>8.1f} LUFS, true peak {level['true_peak_db']:.1f} dBTP")
    for note in report["notes"]:
        print(f"note: {note}")
    stems = [file for file in files.values() if file.parent.name == "stems"]
    for file in files.values():
        if file not in stems:
            print(file)
    if stems:
        print(f"{stems[0].parent} ({len(stems)} tracks after processing)")
