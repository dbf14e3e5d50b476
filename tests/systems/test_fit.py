from functools import partial

import pytest
import torch

import diffmix
from diffmix.console import Console
from diffmix.errors import AudioError, SettingsError
from diffmix.metrics import residual_db

RATE = 16000


def stems() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(RATE) / RATE
    beat = torch.randn(RATE, generator=generator) * torch.exp(-12 * (t % 0.25))
    tone = torch.sin(2 * torch.pi * 220 * t) * (0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * t))
    wide = torch.randn(2, RATE, generator=generator).cumsum(-1)
    return {"beat": 0.3 * beat, "tone": 0.3 * tone, "wide": 0.3 * wide / wide.abs().max()}


def wanted() -> diffmix.Settings:
    return diffmix.Settings(
        tracks={
            "beat": {"fader": {"gain_db": -3.0}, "pan": {"pan": -0.6}},
            "tone": {"fader": {"gain_db": 3.0}, "pan": {"pan": 0.4}},
            "wide": {"fader": {"gain_db": -8.0}, "image": {"width": 0.5}},
        }
    )


@pytest.mark.slow
def test_fit_recovers_levels_and_pans() -> None:
    target = diffmix.render(stems(), wanted(), sample_rate=RATE)
    unfitted = diffmix.render(stems(), diffmix.Settings(tracks={n: {} for n in stems()}), sample_rate=RATE)
    losses = []
    found = diffmix.fit(
        stems(),
        target.audio,
        sample_rate=RATE,
        steps=120,
        lock=["*.eq.*", "*.compressor.*", "*.highpass.*", "*.send.*", "*.trim.*", "reverb.*", "master.*"],
        progress=lambda step, loss: losses.append(loss),
    )
    assert len(losses) == 120
    assert losses[-1] < 0.1 * losses[0]
    tracks = found.settings["tracks"]
    assert tracks["beat"]["fader"]["gain_db"] == pytest.approx(-3, abs=0.3)
    assert tracks["tone"]["fader"]["gain_db"] == pytest.approx(3, abs=0.3)
    assert tracks["beat"]["pan"]["pan"] == pytest.approx(-0.6, abs=0.05)
    assert tracks["tone"]["pan"]["pan"] == pytest.approx(0.4, abs=0.05)
    assert tracks["wide"]["image"]["width"] == pytest.approx(0.5, abs=0.1)
    reference = torch.from_numpy(target.audio)
    assert residual_db(torch.from_numpy(found.audio), reference) < -25
    assert residual_db(torch.from_numpy(unfitted.audio), reference) > -10
    # what was locked has not moved at all
    assert tracks["beat"]["eq"]["peak1_gain_db"] == 0
    assert tracks["beat"]["compressor"]["ratio"] == 1


def test_limits_hold_the_whole_way() -> None:
    target = diffmix.render(stems(), wanted(), sample_rate=RATE)
    limits = {"beat.pan": (-0.3, 0.3), "*.eq.*gain_db": (-1, 1), "tone.fader.gain_db": 3, "master.*.ratio": (1, 2)}
    found = diffmix.fit(stems(), target.audio, sample_rate=RATE, steps=15, learning_rate=0.5, limits=limits)
    tracks = found.settings["tracks"]
    assert -0.3 <= tracks["beat"]["pan"]["pan"] < -0.15  # wants -0.6
    assert tracks["tone"]["fader"]["gain_db"] == 3
    gains = [v for t in tracks.values() for k, v in t["eq"].items() if k.endswith("gain_db")]
    assert max(map(abs, gains)) <= 1
    assert max(map(abs, gains)) > 0.02
    assert 1 <= found.settings["master"]["compressor"]["ratio"] <= 2
    again = diffmix.fit(stems(), target.audio, sample_rate=RATE, steps=1, start=found.settings, limits=limits)
    assert again.settings["tracks"]["tone"]["fader"]["gain_db"] == 3
    with pytest.raises(SettingsError, match=r"track beat: pan.pan = -0.6, allowed -0.3..0.3"):
        diffmix.fit(stems(), target.audio, sample_rate=RATE, steps=1, start=wanted(), limits={"beat.pan": (-0.3, 0.3)})


def test_what_does_nothing_begins_a_little_open_unless_a_start_is_given() -> None:
    target = diffmix.render(stems(), wanted(), sample_rate=RATE)
    limits = {"beat.compressor.ratio": (1, 2)}
    lock = ["tone.compressor.*"]
    call = partial(diffmix.fit, stems(), target.audio, sample_rate=RATE, steps=1, learning_rate=1e-4, lock=lock)
    tracks = call(limits=limits).settings["tracks"]
    assert tracks["wide"]["compressor"]["threshold_db"] < -6
    assert tracks["wide"]["compressor"]["ratio"] == pytest.approx(3, abs=0.01)
    assert tracks["wide"]["send"]["gain_db"] == pytest.approx(-24, abs=0.1)
    assert tracks["beat"]["compressor"]["ratio"] == pytest.approx(2, abs=0.05)
    assert tracks["tone"]["compressor"]["ratio"] == 1
    given = call(start=wanted()).settings["tracks"]
    assert given["wide"]["compressor"]["threshold_db"] > -2


def test_groups_are_fitted_through_their_fader() -> None:
    layout = {"strip": {}, "sends": {}, "buses": {}, "master": {}, "groups": {"low": {"tracks": ["beat", "tone"]}}}
    settings = diffmix.Settings(tracks={n: {} for n in stems()}, buses={"low": {"fader": {"gain_db": -9.0}}})
    target = diffmix.render(stems(), settings, layout, sample_rate=RATE)
    lock = [f"{name}.*" for name in stems()]
    found = diffmix.fit(stems(), target.audio, layout, sample_rate=RATE, steps=40, lock=lock)
    assert found.settings["buses"]["low"]["fader"]["gain_db"] == pytest.approx(-9, abs=0.5)
    assert found.settings["tracks"]["beat"]["fader"]["gain_db"] == 0


def test_locks_and_limits_of_names_with_brackets() -> None:
    heard = {"beat [comp]": stems()["beat"], "tone": stems()["tone"]}
    start = diffmix.Settings(tracks={"beat [comp]": {"pan": {"pan": -0.25}}})
    found = diffmix.fit(
        heard,
        torch.ones(2, RATE),
        sample_rate=RATE,
        start=start,
        lock=["beat [comp].pan.*", "master.*"],
        limits={"beat [comp].eq.*gain_db": 0},
        steps=1,
    )
    beat, tone = (found.settings["tracks"][name] for name in heard)
    assert beat["pan"]["pan"] == -0.25
    assert {gain for name, gain in beat["eq"].items() if name.endswith("gain_db")} == {0}
    assert tone["pan"]["pan"] != 0
    assert beat["fader"]["gain_db"] != 0
    with pytest.raises(SettingsError, match=r"'tone.pan=0'; .* a knob is held at a value by a limit"):
        diffmix.fit(heard, torch.ones(2, RATE), sample_rate=RATE, lock=["tone.pan=0"], steps=1)


def test_mistakes_are_named() -> None:
    target = torch.zeros(2, RATE)
    with pytest.raises(SettingsError, match=r"nothing to lock matches 'vox\.\*'"):
        diffmix.fit(stems(), target, sample_rate=RATE, lock=["vox.*"], steps=1)
    with pytest.raises(AudioError, match="the target mix: shape"):
        diffmix.fit(stems(), torch.zeros(3, 4, 5), sample_rate=RATE, steps=1)
    with pytest.raises(AudioError, match="the console runs at 44100 Hz, the tracks at 16000 Hz"):
        diffmix.fit(stems(), target, Console(44100), sample_rate=RATE, steps=1)
    with pytest.raises(AudioError, match="target mix: 16000 samples are NaN"):
        diffmix.fit(stems(), target * float("nan"), sample_rate=RATE, steps=1)
    for nothing, message in (
        (None, "not an array of numbers"),
        (target[:, :0], "is not audio"),
        (b"a", "not an array"),
    ):
        with pytest.raises(AudioError, match=f"the target mix: .*{message}"):
            diffmix.fit(stems(), nothing, sample_rate=RATE, steps=1)
