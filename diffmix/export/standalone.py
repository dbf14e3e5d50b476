"""Play a diffmix preset with Pedalboard: `python preset.py STEMS_FOLDER OUT.wav`.

Needs preset.json beside this file and the packages numpy, pedalboard and soundfile; diffmix itself is not needed.
Edit the numbers in preset.json and run it again. From Python: `render(preset, boards(preset), stems)`.
"""

import argparse
import base64
import binascii
import json
import math
import os
import sys
from pathlib import Path

import numpy as np


def live(plugin, sample_rate):
    """A `pedalboard` plugin of a preset's entry; those inside a Chain or a Mix are made the same way."""
    import pedalboard

    kind = getattr(pedalboard, plugin["type"])
    if "plugins" in plugin:
        return kind([live(inner, sample_rate) for inner in plugin["plugins"]])
    arguments = dict(plugin["params"])
    if "mode" in arguments:
        arguments["mode"] = getattr(kind.Mode, arguments["mode"])
    if "quality" in arguments:
        arguments["quality"] = getattr(pedalboard.Resample.Quality, arguments["quality"])
    if "impulse_response" in arguments:
        arguments["impulse_response_filename"] = samples(arguments.pop("impulse_response"))
        arguments["sample_rate"] = sample_rate
    return kind(**arguments)


def boards(preset):
    """One live `pedalboard.Pedalboard` per node, by the node's name."""
    import pedalboard

    rate = preset["sample_rate"]
    return {node["name"]: pedalboard.Pedalboard([live(p, rate) for p in node["plugins"]]) for node in preset["nodes"]}


def samples(audio):
    """Audio (C, T) as a preset holds it: the bytes of little-endian float32, channel after channel, in base64."""
    data = np.frombuffer(base64.b64decode(audio["float32"]), "<f4")
    return data.reshape(audio["channels"], -1)


def gain(db):
    """Decibels to a linear factor in float32, as Pedalboard computes it: silence at -100 dB and below."""
    return np.float32(10) ** (np.float32(0.05) * np.float32(db)) if db > -100 else np.float32(0)


def render(preset, boards, stems):
    """Mix stems, by name each (C, T) float32 at the preset's sample rate, to (2, T) float32.

    Each node sums what is sent to it, runs its plugins and applies its matrix: out[o] = sum_i matrix[o][i] x[i].
    """
    sums: dict[str, np.ndarray] = {}
    for node in preset["nodes"]:
        name = node["name"]
        x = np.asarray(stems[name], np.float32) if "source" in node else sums.pop(name)
        y = boards[name](x, preset["sample_rate"])
        if "matrix" in node:
            matrix = np.asarray(node["matrix"], np.float32)
            y = sum(matrix[:, [i]] * channel for i, channel in enumerate(y))
        if name == preset["output"]:
            return y
        for target in preset["nodes"]:
            for edge in target["inputs"]:
                if edge["from"] == name:
                    sums[target["name"]] = sums.get(target["name"], 0) + gain(edge["gain_db"]) * y


# What Pedalboard accepts and plays without becoming unstable, by plugin and parameter: (lowest, highest, unit), or the
# choices there are, or AUDIO. A Chain or a Mix has no parameters, but plugins.

AUDIO = "audio"
Limit = tuple[float, float, str] | list[str] | str
DB, MS, HZ, PART = (-200, 200, "dB"), (0, 100_000, "ms"), (0.01, 1_000_000, "Hz"), (0, 1, "")
RATIO, Q = (1, 1_000_000, ":1"), (0.0001, 1_000_000, "")
SINC = "WindowedSinc"
QUALITY = [
    "ZeroOrderHold",
    "Linear",
    "CatmullRom",
    "Lagrange",
    SINC,
    *(f"{SINC}{n}" for n in (256, 128, 64, 32, 16, 8)),
]
EQ: dict[str, Limit] = {"cutoff_frequency_hz": HZ, "gain_db": DB, "q": Q}
LFO: dict[str, Limit] = {"rate_hz": (0, 100, "Hz"), "depth": PART}
LIMITS: dict[str, dict[str, Limit]] = {
    "Gain": {"gain_db": DB},
    "Invert": {},
    "PeakFilter": EQ,
    "LowShelfFilter": EQ,
    "HighShelfFilter": EQ,
    "LowpassFilter": {"cutoff_frequency_hz": HZ},
    "HighpassFilter": {"cutoff_frequency_hz": HZ},
    "Compressor": {"threshold_db": DB, "ratio": RATIO, "attack_ms": MS, "release_ms": MS},
    "NoiseGate": {"threshold_db": DB, "ratio": RATIO, "attack_ms": MS, "release_ms": MS},
    "Limiter": {"threshold_db": DB, "release_ms": MS},
    "Clipping": {"threshold_db": DB},
    "Distortion": {"drive_db": DB},
    "Bitcrush": {"bit_depth": (0, 32, "bits")},
    "Delay": {"delay_seconds": (0, 30, "s"), "feedback": PART, "mix": PART},
    "Chorus": {**LFO, "centre_delay_ms": (1, 100, "ms"), "feedback": (-0.99, 0.99, ""), "mix": PART},
    "Phaser": {**LFO, "centre_frequency_hz": (20, 20_000, "Hz"), "feedback": (-0.99, 0.99, ""), "mix": PART},
    "LadderFilter": {
        "mode": ["LPF12", "HPF12", "BPF12", "LPF24", "HPF24", "BPF24"],
        "cutoff_hz": HZ,
        "resonance": PART,
        "drive": (1, 1_000, ""),
    },
    "BrickwallLimiter": {"ceiling_db": DB, "release_ms": (0.001, 100_000, "ms"), "lookahead_ms": (0.001, 100, "ms")},
    "Convolution": {"impulse_response": AUDIO, "mix": PART},
    "PitchShift": {"semitones": (-72, 72, "semitones")},
    "Resample": {"target_sample_rate": (100, 768_000, "Hz"), "quality": QUALITY},
    "GSMFullRateCompressor": {"quality": QUALITY},
    "MP3Compressor": {"vbr_quality": (0, 9.9, "")},
    "Reverb": dict.fromkeys(("room_size", "damping", "wet_level", "dry_level", "width", "freeze_mode"), PART),
}
NESTS = ("Chain", "Mix")
SEND, FACTOR, RATE = (-1_000, 200, "dB"), (-1_000, 1_000, ""), (4_000, 768_000, "Hz")
START, TAIL = (0, 86_400, "s"), (0, 86_400, "s")


def highest(plugin, parameter, sample_rate):
    """The upper limit; the first-order filters, unlike the others, blow up towards half the sample rate."""
    unstable = plugin in ("LowpassFilter", "HighpassFilter") and parameter == "cutoff_frequency_hz"
    return 0.49 * sample_rate if unstable else LIMITS[plugin][parameter][1]


class Mistake(ValueError):
    """Something that whoever runs or edits a preset can put right, in one sentence."""


KINDS = {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}


def fields(where, value, required, optional=()):
    """Check that value is an object with these fields, each of the kind given."""
    if not isinstance(value, dict):
        raise Mistake(f"{where} is {value!r}; allowed is an object.")
    known = {**required, **dict(optional)}
    for key in value:
        if key not in known:
            raise Mistake(f"{where} has an unknown field {key!r}; allowed are {', '.join(known) or 'none'}.")
    for key, kind in known.items():
        if key not in value and key in required:
            raise Mistake(f"{where} has no {key!r}.")
        if key in value:
            accepted = (int, float) if kind is float else kind
            if isinstance(value[key], bool) or not isinstance(value[key], accepted):
                raise Mistake(f"{where}: {key} is {value[key]!r}; allowed is {KINDS[kind]}.")


def within(where, value, low, high, unit):
    """Check that a number lies between two limits (and is one: NaN lies nowhere)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise Mistake(f"{where} is {value!r}; allowed is {low:,.9g} to {high:,.9g} {unit}".rstrip() + ".")


def check(preset):
    """Raise Mistake, naming the node and the parameter and what is allowed, unless the preset can be played."""
    if not isinstance(preset, dict) or preset.get("format") != "diffmix-preset":
        raise Mistake("This is not a diffmix preset: its format is not 'diffmix-preset'.")
    if preset.get("version") != 1:
        raise Mistake(f"The preset has version {preset.get('version')!r}; this reader knows version 1.")
    texts = dict.fromkeys(("format", "generator", "pedalboard", "output"), str)
    fields("The preset", preset, {**texts, "version": int, "sample_rate": int, "nodes": list}, {"tail_s": float})
    within("The preset: tail_s", preset.get("tail_s", 0), *TAIL)
    within("The preset: sample_rate", preset["sample_rate"], *RATE)
    channels: dict[str, int] = {}
    for node in preset["nodes"]:
        where = f"Node {node.get('name')!r}" if isinstance(node, dict) else "A node"
        fields(where, node, {"name": str, "inputs": list, "plugins": list}, {"source": dict, "matrix": list})
        if node["name"] in channels:
            raise Mistake(f"{where} appears twice; allowed is one node of each name.")
        count = check_inlet(where, node, channels)
        for i, plugin in enumerate(node["plugins"], 1):
            check_plugin(f"{where}, plugin {i}", plugin, preset["sample_rate"])
        channels[node["name"]] = check_matrix(where, node["matrix"], count) if "matrix" in node else count
    if channels.get(preset["output"]) != 2:
        raise Mistake(f"The output {preset['output']!r} is not a node with two channels.")


def check_inlet(where, node, channels):
    """Check the source or the inputs of a node, which come from earlier nodes; returns its number of channels."""
    if ("source" in node) == bool(node["inputs"]):
        raise Mistake(f"{where} has {'both a source and' if node['inputs'] else 'neither a source nor'} inputs.")
    if "source" in node:
        source, where = node["source"], f"{where}, source"
        fields(where, source, {"files": list, "channels": int}, {"start_s": float})
        within(f"{where}: start_s", source.get("start_s", 0), *START)
        within(f"{where}: channels", source["channels"], 1, 2, "")
        within(f"{where}: the number of files", len(source["files"]), 1, 2, "")
        for file in source["files"]:
            if not isinstance(file, str) or os.path.isabs(file) or ".." in Path(file).parts or not file:
                raise Mistake(f"{where}: {file!r} is not the name of a file inside the folder of stems.")
        return source["channels"]
    for edge in node["inputs"]:
        fields(f"{where}, an input", edge, {"from": str, "gain_db": float})
        if edge["from"] not in channels:
            raise Mistake(f"{where} has an input from {edge['from']!r}, which is not an earlier node.")
        within(f"{where}: gain_db from {edge['from']!r}", edge["gain_db"], *SEND)
    counts = {channels[edge["from"]] for edge in node["inputs"]}
    if len(counts) > 1:
        raise Mistake(f"{where} has inputs of one and of two channels; allowed is one of these.")
    return counts.pop()


def check_plugin(where, plugin, sample_rate):
    """Check that a plugin is one of LIMITS, with all its parameters inside the limits, or a nest of such."""
    if isinstance(plugin, dict) and plugin.get("type") in NESTS:
        fields(where, plugin, {"type": str, "plugins": list})
        for i, inner in enumerate(plugin["plugins"], 1):
            check_plugin(f"{where} ({plugin['type']}), plugin {i}", inner, sample_rate)
        return
    fields(where, plugin, {"type": str, "params": dict})
    kind, values = plugin["type"], plugin["params"]
    if kind not in LIMITS:
        raise Mistake(f"{where}: {kind!r} is unknown; allowed are {', '.join([*LIMITS, *NESTS])}.")
    where = f"{where} ({kind})"
    kinds = {
        key: dict if limit == AUDIO else str if isinstance(limit, list) else float
        for key, limit in LIMITS[kind].items()
    }
    fields(where, values, kinds)
    for key, limit in LIMITS[kind].items():
        if limit == AUDIO:
            check_audio(f"{where}: {key}", values[key])
        elif isinstance(limit, list):
            if values[key] not in limit:
                raise Mistake(f"{where}: {key} is {values[key]!r}; allowed are {', '.join(limit)}.")
        else:
            within(f"{where}: {key}", values[key], limit[0], highest(kind, key, sample_rate), limit[2])


def check_audio(where, audio):
    """Check that audio is one or two channels of finite samples in base64."""
    fields(where, audio, {"channels": int, "float32": str})
    within(f"{where}: channels", audio["channels"], 1, 2, "")
    try:
        data = samples(audio)
    except (binascii.Error, ValueError) as error:
        raise Mistake(f"{where} cannot be decoded: {error}.") from None
    if not data.size or not np.isfinite(data).all():
        raise Mistake(f"{where} has no samples, or some that are not numbers.")


def check_matrix(where, matrix, count):
    """Check the shape and the numbers of a matrix that takes count channels; returns its number of rows."""
    if not 1 <= len(matrix) <= 2 or any(not isinstance(row, list) or len(row) != count for row in matrix):
        raise Mistake(f"{where}: the matrix is {matrix!r}; allowed are 1 or 2 rows of {count} numbers each.")
    for value in (value for row in matrix for value in row):
        within(f"{where}: a number of the matrix", value, *FACTOR)
    return len(matrix)


# Files


def parse(text, name):
    """The preset in JSON, text or bytes, checked."""
    try:
        preset = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Mistake(f"{name} is not JSON: {error}.") from None
    check(preset)
    return preset


ODDEST = 5_000  # of a ratio, the larger number: the filter has as many samples as its square, at most
BLOCK = 1 << 19  # samples under the filter at a time


def resample(x, old, new):
    """Audio (C, T) from one integer rate to another by a Kaiser-windowed sinc (J. O. Smith, 1984).

    y[m] = sum_k x[k] h(k / old - m / new), h(t) = base/old sinc(base t) kaiser(base t / zeros), |base t| < zeros.
    The filter in steps of 2^-27, whose sizes sum to less than 3, and the samples in 24 bits add up without rounding, in
    whatever order a machine takes them; what samples hold beyond that is added apart.
    """
    common = math.gcd(old, new)
    if max(old, new) // common > ODDEST:
        raise Mistake(f"resampling from {old} to {new} Hz is not possible: their ratio is too odd.")
    times = -(-64 // (new // common))  # simple ratios are written as wide ones, whose products are faster
    old, new = old // common * times, new // common * times
    zeros, beta, base = 64, 14.769656459379492, 0.9475937167399596 * min(old, new)
    reach = math.ceil(zeros * old / base)
    t = np.arange(-reach, reach + old)[:, None] / old - np.arange(new) / new
    window = np.i0(beta * np.sqrt(np.clip(1 - (base * t / zeros) ** 2, 0, 1))) / np.i0(beta)
    kernel = rounded(base / old * np.sinc(base * t) * window * (abs(base * t) < zeros), 27)
    y = np.empty((len(x), x.shape[1] // old + 1, new), x.dtype)
    step = max(1, BLOCK // len(kernel))
    for number, out in enumerate(y):
        padded = np.pad(x[number], (reach, reach + old))
        bits = 24 - math.frexp(abs(padded).max())[1]
        for start in range(0, len(out), step):
            heard = padded[start * old : (start + step) * old + 2 * reach].astype(np.float64)
            whole = rounded(heard, bits)
            sums = frames(whole, len(kernel), old) @ kernel
            if (whole != heard).any():
                sums += frames(heard - whole, len(kernel), old) @ kernel
            out[start : start + step] = sums[: len(out) - start]
    return y.reshape(len(x), -1)[:, : -(-x.shape[1] * new // old)]


def rounded(x, bits):
    """Numbers to the nearest multiples of 2^-bits."""
    return np.ldexp(np.rint(np.ldexp(x, bits)), -bits)


def frames(x, length, step):
    """Pieces of x (T,), each as long, from every step on: (F, length)."""
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(x, length)[::step])


def read(folder, node, sample_rate):
    """The audio of a source node, (C, T) float32, from the song's start; two files are its left and right channels."""
    import soundfile

    parts = []
    for file in node["source"]["files"]:
        path = Path(folder, file)
        if not path.is_file():
            raise Mistake(f"Node {node['name']!r} needs the file {file}, which is not in {folder}.")
        try:
            with soundfile.SoundFile(path) as sound:
                audio, rate = sound.read(dtype="float32", always_2d=True), sound.samplerate
        except (soundfile.SoundFileError, OSError) as error:
            raise Mistake(f"{path} cannot be read as audio: {error}.") from None
        parts.append((audio.T, rate))
    where, channels = f"Node {node['name']!r}, {path.name}", node["source"]["channels"]
    if len({rate for _, rate in parts}) > 1:
        raise Mistake(f"{where}: the sample rates of its two files differ, {parts[0][1]} and {parts[1][1]} Hz.")
    longest = max(audio.shape[1] for audio, _ in parts)
    x = np.concatenate([pad(mono(x, where) if len(parts) == 2 else x, longest) for x, _ in parts])
    if channels == 1:
        x = mono(x, where)
    if len(x) != channels:
        raise Mistake(f"{where}: the number of channels is {len(x)}; the preset needs {channels}.")
    x = np.pad(x, ((0, 0), (round(node["source"].get("start_s", 0) * rate), 0)))
    return resample(x, rate, sample_rate) if rate != sample_rate else x


def mono(x, where):
    """The only channel of audio (C, T), or the first of identical ones, (1, T)."""
    if (x != x[0]).any():
        raise Mistake(f"{where}: {len(x)} channels that differ; the preset needs one.")
    return x[:1]


def pad(x, length):
    """Audio (C, T) with silence behind it, (C, length)."""
    return x if x.shape[1] == length else np.pad(x, ((0, 0), (0, length - x.shape[1])))


def write(path, audio, sample_rate):
    """Write (C, T) as a 24-bit WAV file, in blocks, and put it in place when it is complete."""
    import soundfile

    part = f"{path}.part"
    try:
        with soundfile.SoundFile(part, "w", sample_rate, len(audio), "PCM_24", format="WAV") as file:
            for start in range(0, audio.shape[1], 65_536):
                file.write(audio[:, start : start + 65_536].T)
        os.replace(part, path)
    except (soundfile.SoundFileError, OSError) as error:
        Path(part).unlink(missing_ok=True)
        raise Mistake(f"{path} cannot be written: {error}.") from None


def play(folder, output):
    """Render the preset beside this file from the stems in a folder."""
    here = Path(__file__).with_name("preset.json")
    if not here.is_file():
        raise Mistake(f"There is no preset.json beside {Path(__file__).name}.")
    preset = parse(here.read_bytes(), here.name)
    if not Path(folder).is_dir():
        raise Mistake(f"The folder of stems {folder} does not exist.")
    rate = preset["sample_rate"]
    stems = {node["name"]: read(folder, node, rate) for node in preset["nodes"] if "source" in node}
    longest = max(x.shape[1] for x in stems.values()) + round(preset.get("tail_s", 0) * rate)
    audio = render(preset, boards(preset), {name: pad(x, longest) for name, x in stems.items()})
    peak = 20 * math.log10(max(abs(audio).max(initial=0), 1e-10))
    if not peak <= 0:
        raise Mistake(f"The mix is not written: its peak is {peak:+.2f} dBFS, and at most 0 dBFS fits; lower a gain.")
    write(output, audio, rate)
    print(f"{output}: {audio.shape[1] / rate:.1f} s at {rate} Hz, peak {peak:.1f} dBFS")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stems", help="folder with the audio files that preset.json names")
    parser.add_argument("output", help="WAV file to write, 24 bit")
    arguments = parser.parse_args()
    try:
        play(arguments.stems, arguments.output)
    except (Mistake, ModuleNotFoundError, OSError) as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
