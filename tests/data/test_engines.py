import numpy as np
import pytest
import torch
from scipy import signal

from diffmix.data.engines import ENGINES, WIDE_ENGINES, WIDELY, choose, engines_of
from diffmix.data.engines.voices import Syllable
from diffmix.data.kit import PIECES, Kit
from diffmix.data.synthesis import modes, pluck, saw, stream
from diffmix.data.synthetic import generate_song
from diffmix.errors import AudioError

SR = 44_100
DRUMS = ("kick", "snare", "hihat", "tom", "cymbal", "percussion")
PITCHED = tuple(kind for kind in ENGINES if kind not in (*DRUMS, "voice"))
FLAVOURS = {"guitar": ("acoustic", "nylon", "clean", "drive"), "synth": ("pad", "pluck", "lead")}
WIDE_FLAVOURS = {**FLAVOURS, "keys": ("tine", "organ", "bar")}


def test_streams_depend_on_their_words_only():
    assert stream(3, "a").random() == stream(3, "a").random()
    assert len({stream(*key).random() for key in ((3, "a"), (3, "b"), (4, "a"), (3, "a", 0), ("a", 3))}) == 5
    # the published FNV-1a value of "foobar"
    assert stream("foobar").random() == stream(0x85944171F73967E8).random()


def test_modes_are_a_sum_of_decaying_sines():
    f, tau, a = np.array([100.0, 440.5, 30_000.0]), np.array([0.1, 0.3, 1.0]), np.array([1.0, -0.5, 9.0])
    t = np.arange(4_410) / SR
    expected = sum(a[k] * np.sin(2 * np.pi * f[k] * t) * np.exp(-t / tau[k]) for k in (0, 1))  # the third is inaudible
    assert modes(f, tau, a, 0.1, SR) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("frequency_hz", [41.2, 196.0, 987.77])
def test_a_plucked_string_is_in_tune_and_decays(frequency_hz):
    x = pluck(frequency_hz, 2, SR, stream(1), decay_s=3.0, damping_hz=1_000, brightness_hz=2_000, position=0.2)
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), 1 << 20))
    f = np.arange(len(spectrum)) * SR / (1 << 20)
    near = (f > 0.9 * frequency_hz) & (f < 1.1 * frequency_hz)
    peak_hz = f[near][spectrum[near].argmax()]
    assert abs(1_200 * np.log2(peak_hz / frequency_hz)) < 1.0  # cents
    sos = signal.butter(2, [0.8 * frequency_hz, 1.2 * frequency_hz], "band", fs=SR, output="sos")
    early, late = (np.sqrt(np.mean(signal.sosfilt(sos, x)[int(s * SR) : int((s + 0.4) * SR)] ** 2)) for s in (0.5, 1.5))
    expected_db = 20 * (1 + frequency_hz / 1_000)  # 60 dB in 3 s at low frequencies
    assert 20 * np.log10(early / late) == pytest.approx(expected_db, rel=0.1)


def test_saw_has_little_aliasing():
    step = 3_001.0 / SR
    spectrum = np.abs(np.fft.rfft(saw(step * np.arange(SR), step) * signal.windows.blackmanharris(SR)))
    harmonics = np.zeros(len(spectrum), bool)
    for k in range(1, 8):
        harmonics[3_001 * k - 5 : 3_001 * k + 6] = True
    aliases = spectrum[:10_000][~harmonics[:10_000]].max()
    naive = np.abs(np.fft.rfft((2 * ((step * np.arange(SR)) % 1) - 1) * signal.windows.blackmanharris(SR)))
    assert 20 * np.log10(aliases / spectrum.max()) < -40
    assert aliases < 0.1 * naive[:10_000][~harmonics[:10_000]].max()


# ------------------------------------------------------------------ engines


def test_every_kind_has_three_engines_and_the_held_out_one_is_never_trained_on():
    for kind, engines in ENGINES.items():
        train, held_out = engines_of(kind, "train"), engines_of(kind, "held_out")
        assert len(engines) >= 3
        assert len(held_out) == 1
        assert len({*train, *held_out}) == len(engines_of(kind, "all")) == len(engines)
        assert {choose(kind, "train", stream(n)) for n in range(60)} == set(train)
        assert {choose(kind, "held_out", stream(n)) for n in range(5)} == set(held_out)
    with pytest.raises(AudioError, match="no engines 'some'; there are train, held_out, all"):
        engines_of("kick", "some")


def test_random_engines_play_most_parts_where_they_are_asked_for_and_change_nothing_else():
    for kind, engines in ENGINES.items():
        assert engines_of(kind, "train+wide") == (*engines[:-1], WIDE_ENGINES[kind])
        drawn = [choose(kind, "train+wide", stream(n)) for n in range(300)]
        assert set(drawn) == {*engines[:-1], WIDE_ENGINES[kind]}
        assert np.mean([engine is WIDE_ENGINES[kind] for engine in drawn]) == pytest.approx(WIDELY, abs=0.08)
        rng = stream(7)
        assert choose(kind, "train", stream(7)) is engines[int(rng.integers(len(engines) - 1))]


def test_a_song_of_random_engines_has_the_same_parts_in_other_sounds():
    plain, wide, again = (
        generate_song(3, 1.0, 22_050, engines=e, tracks=(8, 8)) for e in ("train", *["train+wide"] * 2)
    )
    assert [(t.name, t.role) for t in plain.tracks] == [(t.name, t.role) for t in wide.tracks]
    assert all(torch.equal(a.audio, b.audio) for a, b in zip(wide.tracks, again.tracks, strict=True))
    same = [
        a.audio.shape == b.audio.shape and torch.equal(a.audio, b.audio)
        for a, b in zip(plain.tracks, wide.tracks, strict=True)
    ]
    assert np.mean(same) < 0.5


PLAYED = [
    (kind, engine, flavour) for kind in PITCHED for engine in ENGINES[kind] for flavour in FLAVOURS.get(kind, ("",))
]
PLAYED += [(kind, WIDE_ENGINES[kind], flavour) for kind in PITCHED for flavour in WIDE_FLAVOURS.get(kind, ("",))]


@pytest.mark.parametrize(("kind", "engine", "flavour"), PLAYED, ids=lambda v: getattr(v, "__name__", v))
def test_every_instrument_plays_loud_and_soft_low_and_high(kind, engine, flavour):
    instrument = engine(stream(2, engine.__name__), SR, flavour)
    for frequency_hz, velocity in ((50.0, 0.25), (1_000.0, 1.0)):
        x = instrument.play(frequency_hz, 0.25, velocity, stream(0))
        y = instrument.amp(x) if instrument.amp else x
        assert np.isfinite(y).all()
        assert 0.003 < np.abs(y).max() < 40
        assert x.shape[-1] >= 0.25 * SR - 1
        assert np.array_equal(x, instrument.play(frequency_hz, 0.25, velocity, stream(0)))


@pytest.mark.parametrize("kind", [k for k in PITCHED if k != "fx"])
def test_engines_are_in_tune(kind):
    for engine in (*ENGINES[kind], WIDE_ENGINES[kind]):
        for flavour in FLAVOURS.get(kind, ("",))[:1]:
            x = np.atleast_2d(engine(stream(4, kind), SR, flavour).play(220.0, 1.0, 0.8, stream(1)))[0]
            power = np.abs(np.fft.rfft(x * np.hanning(len(x)), 1 << 18)) ** 2
            f = np.arange(len(power)) * SR / (1 << 18)
            near = sum(power[np.abs(f - k * 110) < 5 + 0.012 * k * 110].sum() for k in range(1, 60))
            assert near > 0.8 * power[f < 6_600].sum(), engine.__name__


def _spectrum(x: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(x, 1 << 17)) ** 2
    edges = (40 * 2 ** (np.arange(0, 25) / 3) / SR * (1 << 17)).astype(int)
    return 10 * np.log10(np.add.reduceat(power, edges)[:-1] / power.sum() + 1e-7)


@pytest.mark.parametrize("kind", DRUMS)
def test_the_held_out_drum_is_another_sound_than_any_other(kind):
    piece = next(p for p, k in PIECES.items() if k == kind)
    strokes = [engine(piece, stream(1, kind), stream(2), 1.0, SR) for engine in ENGINES[kind]]
    spectra = [_spectrum(x) for x in strokes]
    assert all(np.abs(spectra[-1] - s).mean() > 2.0 for s in spectra[:-1])


@pytest.mark.parametrize("engines", ["train", "held_out", "train+wide"])
def test_drums_differ_by_velocity_and_take(engines):
    kit = Kit(1, SR, engines)
    for piece in PIECES:
        soft, loud, other = kit.hit(piece, 0.2, 0), kit.hit(piece, 0.9, 0), kit.hit(piece, 0.9, 1)
        assert np.abs(soft).max() < 0.6 * np.abs(loud).max() <= 0.6
        assert np.array_equal(loud, kit.hit(piece, 0.9, 2))
        assert np.isfinite(loud).all()
        if piece != "crash":
            assert len(loud) == len(other)


@pytest.mark.parametrize("engine", [*ENGINES["voice"], WIDE_ENGINES["voice"]], ids=lambda e: e.__name__)
def test_a_singer_sings_the_notes_with_breaks_between_them(engine):
    line = [Syllable(0.1, 0.5, 220.0, 0.8, "a", 0.05), Syllable(0.8, 0.5, 330.0, 0.8, "i", 0.0)]
    x = engine(line, int(1.5 * SR), 1.0, SR, stream(3))
    assert np.abs(x[: int(0.04 * SR)]).max() < 0.02 * np.abs(x).max()
    for start_s, pitch_hz in ((0.2, 220), (0.9, 330)):
        part = x[int(start_s * SR) : int((start_s + 0.3) * SR)]
        period = 1 + np.argmax(signal.correlate(part, part)[len(part) + 60 : len(part) + 300]) + 60
        assert SR / period == pytest.approx(pitch_hz, rel=0.03)
    centroid = signal.welch(x, SR, nperseg=4_096)
    assert 300 < (centroid[0] * centroid[1]).sum() / centroid[1].sum() < 2_500
