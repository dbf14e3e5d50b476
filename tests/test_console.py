import copy
import json

import numpy as np
import pytest
import torch

from diffmix.console import Console, Controls, track_loudness
from diffmix.errors import AudioError, SettingsError
from diffmix.graph import render
from diffmix.kernels.backend import backend
from diffmix.metrics import residual_db
from diffmix.processors import Processor
from diffmix.settings import Settings

RATE = 44100


def tracks(batch: int, n: int, channels: int, length: int = 3000, seed: int = 0) -> torch.Tensor:
    return 0.2 * torch.randn(batch, n, channels, length, generator=torch.Generator().manual_seed(seed))


def sampled(console: Console, batch: int, n: int, seed: int = 1) -> Controls:
    return console.sample(batch, n, torch.Generator().manual_seed(seed))


def test_the_console_is_its_parts_one_by_one() -> None:
    """An independent walk over the strips, in numpy, plugin by plugin, gives the same mix."""
    console = Console(RATE)
    mono, stereo = tracks(1, 2, 1), tracks(1, 1, 2)
    u = sampled(console, 1, 3)._replace(master=console.master_spec.default()[None])
    mix = console((mono, stereo), u)
    names = ["a", "b", "c"]
    settings = console.settings(u, names, [1, 1, 2])
    audio = {"a": mono[0, 0], "b": mono[0, 1], "c": stereo[0, 0]}

    def through(stages: dict[str, Processor], knobs: dict, y: np.ndarray) -> np.ndarray:
        for name, effect in stages.items():
            values = {knob: torch.tensor([value]) for knob, value in knobs[name].items()}
            y = effect.process(torch.from_numpy(y)[None], **values)[0].numpy()
        return y

    played, sent = [], []
    for name, x in audio.items():
        knobs = settings["tracks"][name]
        place = {"pan": console.pan} if len(x) == 1 else {"image": console.image}
        played.append(through({**console.strip, "fader": console.fader, **place}, knobs, x.numpy()))
        sent.append(played[-1] * np.float32(10 ** (knobs["send"]["gain_db"] / 20)))
    wet = through(console.buses["reverb"], settings["buses"]["reverb"], sum(sent))
    whole = through(console.master, settings["master"], sum(played) + wet)
    # the strips are equal; only their sum rounds in another order (hence the neutral master: a narrow low filter in
    # float32 would turn those last bits into -95 dB, as Pedalboard's does)
    assert residual_db(mix[0], torch.from_numpy(whole)) < -130


def test_renderers_are_made_once_and_stay_with_their_console() -> None:
    console = Console(RATE)
    desk = console.wired([1, 2])
    assert desk.part(desk.ends) is desk.part(tuple(desk.ends))
    low, high = (desk.part(desk.ends, values={"master.gain.gain_db": gain}) for gain in (-1.0, 1.0))
    assert [r.graph["master.gain"].values["gain_db"] for r in (low, high)] == [-1, 1]
    other = copy.deepcopy(console)
    assert other.wired([1, 2]) is not desk
    assert console.wired([1, 2]) is desk
    assert other.track_spec.params["fader.gain_db"] is console.track_spec.params["fader.gain_db"]  # nothing changes it


def test_the_portable_path_is_the_same_console() -> None:
    """What runs on other devices, here on the CPU in float64: the same mix and the same gradients."""
    console = Console(RATE)
    pair = tracks(1, 2, 1).double(), tracks(1, 1, 2).double()
    found = []
    for name in ("auto", "torch"):
        u = Controls(*(part.double().requires_grad_() for part in sampled(console, 1, 3)))
        with backend(name):
            y = console(pair, u)
            y.square().mean().backward()
        found.append((y.detach(), *(part.grad for part in u)))
    for compiled, portable in zip(*found, strict=True):
        assert torch.allclose(portable, compiled, rtol=1e-6, atol=1e-9 * float(compiled.abs().max()))


def test_padding_adds_nothing() -> None:
    console = Console(RATE)
    x, u = tracks(2, 3, 1), sampled(console, 2, 3)
    padded = torch.cat([x, torch.full((2, 2, 1, 3000), 0.7)], 1)
    v = u._replace(tracks=torch.cat([u.tracks, torch.rand(2, 2, u.tracks.shape[-1])], 1))
    mask = torch.tensor([[1.0, 1, 1, 0, 0]]).expand(2, -1)
    # the sum over five terms may round elsewhere than that over three
    assert torch.allclose(console(padded, v, mask), console(x, u), rtol=0, atol=1e-6)


def test_order_does_not_matter() -> None:
    console = Console(RATE)
    x, u = tracks(1, 5, 1), sampled(console, 1, 5)._replace(master=console.master_spec.default()[None])
    order = torch.tensor([3, 1, 4, 0, 2])
    again = console(x[:, order], u._replace(tracks=u.tracks[:, order]))
    assert residual_db(again, console(x, u)) < -130


def test_default_leaves_tracks_alone() -> None:
    console = Console(RATE)
    x = tracks(1, 1, 2, 20000)
    u = console.default(1, 1)
    values = console.values(u)
    assert values.tracks["send.gain_db"].item() == -60
    y = console.mix(x, values)
    # only the high-pass at its lowest, 10 Hz, and the closed send are heard
    assert 10 * torch.log10((y - x[:, 0]).square().sum() / x.square().sum()) < -24


def test_settings_round_trip_exactly() -> None:
    console = Console(RATE)
    x, u = tracks(1, 3, 1), sampled(console, 1, 3)
    settings = console.settings(u)
    again = console.settings(console.encode(settings))
    for (path, a), (_, b) in zip(settings.flat(), again.flat(), strict=True):
        assert b == pytest.approx(a, rel=2e-6, abs=2e-5), path
    # the physical values themselves do not pass through [0, 1] and are exact
    assert torch.equal(console.mix(x, console.numbers(settings)), console(x, u))


def test_gradients_reach_every_knob() -> None:
    console = Console(RATE)
    mono, stereo = tracks(1, 2, 1) * 3, tracks(1, 1, 2) * 3
    u = Controls(*((0.5 + 0.4 * part).requires_grad_() for part in sampled(console, 1, 3)))
    y = console((mono, stereo), u)
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
    for part, spec in zip(u, console.specs.values(), strict=True):
        gradient = part.grad.flatten(0, -2).abs().amax(0)
        dead = [n for n, g, (_, p) in zip(spec.names, gradient, spec, strict=True) if g == 0 and p.low < p.high]
        assert not dead


def test_trims_bring_tracks_to_the_working_level() -> None:
    console = Console(RATE)
    x = tracks(1, 2, 1, RATE) * torch.tensor([1.0, 0.01])[None, :, None, None]
    x = torch.cat([x, torch.zeros(1, 1, 1, RATE)], 1)
    loudness = track_loudness(x, RATE)
    u = console.trimmed(console.default(1, 3), loudness)
    trim_db = console.values(u).tracks["trim.gain_db"]
    assert torch.allclose((loudness + trim_db)[0, :2], torch.tensor(-23.0), atol=1e-3)
    assert trim_db[0, 2].abs() < 1e-4


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"echo": {"gain_db": (0, 1)}}, "no console stage 'echo'"),
        ({"fader": {"gain_db": (0, 99)}}, r"console stage fader: gain_db: 0\.\.99 is not inside"),
    ],
)
def test_ranges_are_checked(ranges: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Console(RATE, ranges)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tracks": {"vox": {"fader": {"gain_db": 90.0}}}}, r"track vox: fader.gain_db = 90 dB, allowed -48\.\.12 dB"),
        ({"tracks": {"vox": {"fader": 3.0}}}, "track vox: fader is 3.0, a stage with knobs is expected"),
        ({"tracks": {"vox": {"chorus": {"rate_hz": 1.0}}}}, r"track vox: no parameter 'chorus.rate_hz'"),
        ({"tracks": {"vox": {"pan": {"depth": 1.0}}}}, r"no parameter 'pan.depth'; there are: pan.pan$"),
        ({"buses": {"delay": {}}}, "no bus 'delay'; this console has: reverb"),
        ({"mastering": {}}, "'mastering' is none of them"),
        (
            {"tracks": {"vox": {"fader": {"gain_db": "loud"}}}},
            "track vox: fader.gain_db is 'loud', a number is expected",
        ),
        ({"tracks": {"vox": 3}}, "track vox is 3; names"),
        ({"tracks": None}, "tracks is None; names"),
        ({"buses": [1]}, r"buses is \[1\]; names"),
        ({"master": 3}, "master is 3; names"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Console(RATE).check(Settings(settings))


def test_what_does_not_fit_together_is_refused() -> None:
    console, x = Console(RATE), tracks(2, 3, 1)
    controls = console.sample(2, 3, torch.Generator().manual_seed(0))
    with pytest.raises(SettingsError, match=r"the mask is \(2, 4\), allowed is \(B, 3\)"):
        console(x, controls, torch.ones(2, 4))
    with pytest.raises(SettingsError, match="settings came for 3 tracks, audio for 2"):
        console(x[:, :2], controls)
    for parts in (controls.tracks, controls[:2], controls._asdict()):
        with pytest.raises(SettingsError, match=r"controls are \w+, allowed are Controls\(tracks"):
            console(x, parts)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="1 names and 0 channels came for 3 tracks"):
        console.settings(controls, ["vox"])
    with pytest.raises(SettingsError, match=r"tracks are \['vox'\]; channels \(1 or 2\) by name"):
        console.to_graph(["vox"])  # type: ignore[arg-type]
    for wrong, came in (
        (x[:, :, 0], r"\(2, 3, 3000\)"),
        ({"vox": x}, "dict"),
        ([x, "vox"], "str"),
        (x.expand(-1, -1, 3, -1), r"\(2, 3, 3, 3"),
    ):
        with pytest.raises(AudioError, match=f"tracks are {came}.* allowed are tensors"):
            console(wrong, controls)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="at least one track"):
        console(x[:, :0], console.sample(2, 0, torch.Generator()))
    with pytest.raises(AudioError, match=r"is \(0, 3, 1, .*at least one sample"):
        console(x[:0], console.sample(0, 3, torch.Generator()))


def test_names_of_bus_and_master_give_way_to_tracks() -> None:
    graph = Console(RATE).to_graph({"reverb": 1, "master": 1, "vox.eq": 1, "vox": 1, "a:b": 1, "a_b": 1, "kick>": 2})
    sources = [node.name for node in graph if node.kind == "In"]
    assert sources == ["reverb", "master", "vox.eq", "vox_", "a_b_", "a_b", "kick_"]
    assert [node.name for node in graph if node.kind == "Sum"] == ["reverb_", "master_"]
    assert graph["vox_.eq"].kind == "ParametricEQ"


GROUPED = {
    "strip": {"trim": "Gain", "gate": {"kind": "KneeGate", "lookahead_ms": 1}, "eq": "ParametricEQ"},
    "sends": {"send": "reverb", "echo": "delay"},
    "buses": {"reverb": {"highpass": "HighpassFilter", "reverb": "Reverb"}, "delay": {"delay": "Delay"}},
    "groups": {"drums": {"tracks": ["kick*", "*hat*"], "stages": {"compressor": "KneeCompressor"}}},
    "master": {"gain": "Gain"},
}
NAMES, CHANNELS = ["bass", "Kick in", "vox", "keys", "hats"], [1, 1, 1, 2, 2]


def grouped() -> tuple[Console, tuple[torch.Tensor, torch.Tensor], Controls, dict[str | tuple[str, ...], torch.Tensor]]:
    console = Console(RATE, **GROUPED)
    pair = tracks(2, 3, 1), tracks(2, 2, 2)
    return console, pair, sampled(console, 2, 5), {tuple(NAMES[:3]): pair[0], tuple(NAMES[3:]): pair[1]}


@pytest.mark.parametrize("layout", [{}, GROUPED], ids=["default", "grouped"])
def test_its_graph_renders_the_same_bits(layout: dict) -> None:
    console = Console(RATE, **layout)
    pair, u = (tracks(1, 3, 1), tracks(1, 2, 2)), sampled(console, 1, 5)
    graph = console.to_graph(dict(zip(NAMES, CHANNELS, strict=True)), console.settings(u, NAMES, CHANNELS))
    y = render(graph, {tuple(NAMES[:3]): pair[0], tuple(NAMES[3:]): pair[1]}, RATE)
    assert torch.equal(y, console(pair, u, names=NAMES))
    assert y.abs().max() > 0.01


def test_groups_are_named_by_patterns_and_hear_their_tracks() -> None:
    console, pair, u, _ = grouped()
    assert [console.group_of(name) for name in NAMES] == ["", "drums", "", "", "drums"]
    values = console.values(u)
    values.bus["drums.fader.gain_db"] = torch.full((2,), -48.0)
    for bus in ("send", "echo"):
        values.bus[f"drums.{bus}.gain_db"] = values.tracks[f"{bus}.gain_db"] = torch.full((2, 5), -60.0)
    values.bus["drums.send.gain_db"] = values.bus["drums.echo.gain_db"] = torch.full((2,), -60.0)
    without = console.mix(pair, values, torch.tensor([[1.0, 0, 1, 1, 0]]).expand(2, -1), NAMES)
    assert residual_db(console.mix(pair, values, names=NAMES), without) < -30  # a closed group fader
    assert residual_db(console.mix(pair, values), without) > -3  # without names they go to the master


def test_mute_and_solo() -> None:
    console, pair, u, sources = grouped()
    one = Controls(u.tracks[:1], u.bus[:1], u.master[:1])
    of = dict(zip(NAMES, CHANNELS, strict=True))
    settings, heard = console.settings(u, NAMES, CHANNELS), {k: x[:1] for k, x in sources.items()}
    mask = torch.tensor([[1.0, 0, 1, 1, 0]])
    muted = console.mix((pair[0][:1], pair[1][:1]), console.values(one), mask, NAMES)
    assert torch.equal(render(console.to_graph(of, settings, mute=["Kick in", "hats"]), heard, RATE), muted)
    assert torch.equal(render(console.to_graph(of, settings, solo=["bass", "vox", "keys"]), heard, RATE), muted)
    assert console.silent(["vox*", "vox2", "Vox"], mute="vox*") == {"vox*"}  # a name stands for itself
    assert console.silent(["vox 1", "Vox 2", "kick"], solo="VOX*", mute=["vox 2"]) == {"Vox 2", "kick"}
    with pytest.raises(SettingsError, match="no track is called 'drms'"):
        console.to_graph(of, mute=["drms"])
    with pytest.raises(SettingsError, match="every track is muted"):
        console.to_graph(of, mute=["*"])


def test_limits_remap_the_range_of_single_tracks() -> None:
    console = Console(RATE, **GROUPED)
    limits = {"vox.pan.pan": 0, "*.eq.*gain_db": (-2, 2), "drums.fader.gain_db": (-1, 1), "master.gain.gain_db": 3}
    specs = console.limited(NAMES, limits)
    for u in (torch.zeros, torch.ones):
        controls = Controls(
            u(1, 5, console.track_spec.size), u(1, console.bus_spec.size), u(1, console.master_spec.size)
        )
        values, end = console.values(controls, specs), 1.0 if u is torch.ones else -1.0
        assert values.tracks["pan.pan"].tolist() == [[end, end, 0, end, end]]
        assert values.tracks["eq.peak2_gain_db"].tolist() == [[2 * end] * 5]
        assert values.bus["drums.fader.gain_db"].tolist() == [end]
        assert values.master["gain.gain_db"].tolist() == [3]
    middle = console.default(1, 5, specs)
    assert console.values(middle, specs).tracks["eq.peak2_gain_db"].abs().max() < 1e-6
    settings = console.settings(console.default(1, 5), NAMES)
    settings["master"]["gain"]["gain_db"] = 3.0
    again = console.values(console.encode(settings, specs), specs)
    assert torch.allclose(again.tracks["fader.gain_db"], torch.zeros(1, 5), atol=1e-5)
    short = console.values(controls, console.limited(NAMES, {"vox.pan": (-0.5, 0.5), "master.gain": 2}))
    assert short.tracks["pan.pan"].tolist() == [[1, 1, 0.5, 1, 1]]
    assert short.master["gain.gain_db"].tolist() == [2]
    with pytest.raises(SettingsError, match=r"track vox: pan.pan = 0.4, allowed 0..0"):
        console.check(Settings(tracks={"vox": {"pan": {"pan": 0.4}}}), {"vox.pan.pan": 0})
    graph = console.to_graph(dict(zip(NAMES, CHANNELS, strict=True)), limits=limits)
    assert graph["vox.pan"].ranges == {"pan": (0, 0)}
    assert graph["bass.eq"].ranges["peak1_gain_db"] == (-2, 2)
    with pytest.raises(SettingsError, match=r"no knob matches 'vox.panpot'; knobs are named like 'bass.trim.gain_db'"):
        console.limited(NAMES, {"vox.panpot": 0})
    with pytest.raises(SettingsError, match=r"vox.pan.pan: -2\.\.0 is not inside"):
        console.limited(NAMES, {"vox.pan.pan": (-2, 0)})


def test_a_console_is_remade_from_its_description() -> None:
    console = Console(RATE, {"eq": {"peak1_gain_db": (-6, 6)}}, **GROUPED)
    again = Console(RATE, **json.loads(json.dumps(console.description)))
    assert [spec.to_dict() for spec in again.specs.values()] == [spec.to_dict() for spec in console.specs.values()]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"sends": {"send": "hall"}}, "send 'send' goes to the bus 'hall'; there are: reverb"),
        ({"strip": {"trim": "Gian"}}, "console stage trim: there is no effect 'Gian'"),
        ({"strip": {"gate": {"kind": "KneeGate", "look": 1}}}, "console stage gate: .*'look'"),
        ({"groups": {"reverb": {}}}, "'reverb' is a bus and a group"),
        ({"groups": {"drums": {"track": []}}}, "group 'drums' has tracks and stages; 'track' is neither"),
        ({"groups": {"master": {}}}, "no bus or group can be called 'master'"),
        ({"strip": ["Gain"]}, r"strip is \['Gain'\]; names, and what each stands for, are expected"),
        ({"strip": {"trim": None}}, "console stage trim: there is no effect None"),
        ({"strip": {"a.b": "Gain"}}, "strip: 'a.b' is no name"),
        ({"strip": {"pan": "Gain"}}, "strip: no effect can be called 'pan', which stands behind the effects"),
        ({"strip": {"send": "Gain"}}, "strip: no effect can be called 'send'"),
        (
            {"strip": {"low": "Crossover"}},
            "console stage low: a Crossover is no effect with one way in and one way out",
        ),
        ({"strip": {"wide": "Imager"}}, "console stage wide: a Imager goes from 2 to 2 channels; here it gets 1 or 2"),
        ({"master": {"wobble": "LFO"}}, "console stage master.wobble: a LFO is no effect"),
        ({"sends": {"send": ["reverb"]}}, "send 'send' goes to the bus"),
        ({"sends": {"a": "reverb", "b": "reverb"}}, "the sends 'a' and 'b' go to one bus, 'reverb'"),
        ({"groups": {"drums": {"tracks": "kick*"}}}, r"group 'drums': tracks is 'kick\*', a list of patterns"),
        ({"groups": {"drums": {"stages": {"fader": "Gain"}}}}, "group 'drums': no effect can be called 'fader'"),
        ({"ranges": {"eq": 3}}, "ranges of eq is 3; names"),
        ({"stirp": {}}, "a console has no 'stirp'; it has: sample_rate, ranges, strip"),
    ],
)
def test_layouts_are_checked(layout: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Console.from_layout(layout, RATE)


def test_odd_layouts_render_as_their_graphs() -> None:
    layouts: list[dict] = [
        {"strip": {}, "sends": {}, "buses": {}, "master": {}},
        {"strip": {"flip": "Invert"}, "buses": {"reverb": {}}, "groups": {"out": {"tracks": ["*"], "stages": {}}}},
        {"sends": {"echo": "echo"}, "buses": {"echo": {"delay": "PingPongDelay"}}, "master": {"w": "Imager"}},
    ]
    for layout in layouts:
        console = Console(RATE, **layout)
        pair, u = (tracks(1, 3, 1), tracks(1, 2, 2)), sampled(console, 1, 5)
        settings = console.settings(u, NAMES, CHANNELS)
        graph = console.to_graph(dict(zip(NAMES, CHANNELS, strict=True)), settings)
        y = render(graph, {tuple(NAMES[:3]): pair[0], tuple(NAMES[3:]): pair[1]}, RATE)
        assert torch.equal(y, console(pair, u, names=NAMES))
        assert torch.equal(y, console.mix(pair, console.numbers(settings), names=NAMES))
        assert console.encode(settings).tracks.shape == u.tracks.shape


@pytest.mark.slow
def test_compiles_whole() -> None:
    console = Console(RATE)
    x, u = tracks(1, 3, 1), sampled(console, 1, 3)
    torch._dynamo.reset()
    y = console(x, u)  # the first call makes the graph, which is no work for a compiler
    compiled = torch.compile(console, fullgraph=True)
    assert torch.allclose(compiled(x, u), y, rtol=0, atol=1e-6)


def test_stages_are_processors() -> None:
    assert all(isinstance(stage, Processor) for stage in Console(RATE).strip.values())
