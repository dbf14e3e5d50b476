import numpy as np
import pytest
import torch
from scipy import signal

from diffmix.data.degrade import CLEAN, DEGRADATIONS, LEVEL_DB, degrade, happening
from diffmix.data.flaws import HUM_DB, NOISE_DB
from diffmix.data.multitrack import Multitrack, Track
from diffmix.errors import SettingsError

SR = 44_100
HELD_OUT = {name for name, flaw in DEGRADATIONS.items() if flaw.held_out}
SEEDS = range(12)


def equal(a: Multitrack, b: Multitrack) -> bool:
    return all(torch.equal(x.audio, y.audio) for x, y in zip(a.tracks, b.tracks, strict=True))


def session(count: int = 12, length: int = SR // 4) -> Multitrack:
    t = torch.arange(length) / SR
    tracks = [Track(f"t{k}", 0.5 * torch.sin(2 * torch.pi * 220 * (k + 1) * t)[None], "bass") for k in range(count)]
    wide = torch.randn(2, length, generator=torch.Generator().manual_seed(1)) * 0.1
    return Multitrack("x", SR, (*tracks, Track("wide", wide), Track("silent", torch.zeros(1, length))))


def one(x: np.ndarray | torch.Tensor, name: str, seed: int, strength: float = 1.0) -> np.ndarray:
    """What one degradation makes of a signal."""
    track = Track("t", torch.as_tensor(np.atleast_2d(x), dtype=torch.float32))
    song = degrade(Multitrack("x", SR, (track,)), seed, strength, only=name, held_out=True)
    return song.tracks[0].audio.numpy()


def impulse() -> np.ndarray:
    x = np.zeros(SR)
    x[2_000] = 0.1
    return x


def response_db(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    y = one(impulse(), name, seed)[0] / 0.1
    return np.fft.rfftfreq(SR, 1 / SR), 20 * np.log10(np.abs(np.fft.rfft(y)) + 1e-9)


def at(f: np.ndarray, db: np.ndarray, hz: float) -> float:
    return float(db[np.argmin(np.abs(f - hz))])


def tone(hz: float, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(SR) / SR)


def burst(seed: int = 0) -> np.ndarray:
    """Noise that is loud, then soft: 0.3 s each."""
    x = np.random.default_rng(seed).standard_normal(SR) * 0.01
    x[: SR // 3] *= 10
    return x


# ------------------------------------------------------------------ the mixture


def test_degraded_tracks_look_like_raw_recordings():
    clean = session()
    raw = degrade(clean, seed=1)
    assert equal(raw, degrade(clean, seed=1))
    assert not equal(raw, degrade(clean, seed=2))
    assert [(t.name, t.role) for t in raw.tracks] == [(t.name, t.role) for t in clean.tracks]
    assert all(t.audio.shape[0] in (1, 2) and t.audio.shape[1] == clean.length for t in raw.tracks)
    assert torch.equal(clean.tracks[0].audio, session().tracks[0].audio)
    peaks = [20 * np.log10(t.audio.abs().max().item()) for s in SEEDS for t in degrade(clean, s).tracks[:-1]]
    assert LEVEL_DB[0] - 0.1 < min(peaks) < -45
    assert -8 < max(peaks) <= 0
    silent = degrade(clean, 1, only=("hum", "noise")).tracks[-1].audio
    assert 10 * np.log10(silent.square().mean().item()) < NOISE_DB[1]


def test_some_tracks_stay_clean():
    clean = session(30, 2_000)
    same = [
        torch.equal(a.audio, b.audio)
        for s in SEEDS
        for a, b in zip(clean.tracks[:-1], degrade(clean, s).tracks[:-1], strict=True)
    ]
    assert np.mean(same) == pytest.approx(CLEAN, abs=0.08)


def test_a_track_is_degraded_alike_in_any_company():
    clean = session()
    for seed in SEEDS:
        alone = Multitrack("x", SR, clean.tracks[3:4])
        assert torch.equal(degrade(alone, seed).tracks[0].audio, degrade(clean, seed).tracks[3].audio)


def test_held_out_degradations_happen_only_when_asked_for():
    assert len(HELD_OUT) >= 3
    seen = {n for s in range(400) for n in happening("t", s)}
    assert seen == set(DEGRADATIONS) - HELD_OUT
    assert {n for s in range(400) for n in happening("t", s, held_out=True)} == set(DEGRADATIONS)
    clean, changed = session(), 0
    for seed in SEEDS:
        for a, b in zip(degrade(clean, seed).tracks, degrade(clean, seed, held_out=True).tracks, strict=True):
            drawn = HELD_OUT & set(happening(a.name, seed, held_out=True))
            changed += bool(drawn)
            assert torch.equal(a.audio, b.audio) or drawn  # the rest of the recording is the same
    assert changed > 20
    for name in HELD_OUT:
        with pytest.raises(SettingsError, match="kept for held-out recordings; pass held_out=True"):
            degrade(clean, 1, only=name)


def test_strength_scales_the_damage():
    clean = session()
    assert degrade(clean, 1, 0.0) is clean
    change = []
    for s in (0.02, 0.3, 1.0):
        pairs = zip(clean.tracks, degrade(clean, 1, s, only=("tilt", "low_cut", "level", "noise")).tracks, strict=True)
        change.append(sum(float((a.audio - b.audio).square().mean()) for a, b in pairs))
    assert change[0] < change[1] < change[2]
    with pytest.raises(SettingsError, match="strength is 2; allowed are"):
        degrade(clean, 1, 2)
    with pytest.raises(SettingsError, match="no degradation 'rust'; there are tilt"):
        degrade(clean, 1, only="rust")


# ------------------------------------------------------------------ each one does what it is called


def test_tilt_is_a_line_over_log_frequency():
    slopes = []
    for seed in SEEDS:
        f, db = response_db("tilt", seed)
        slopes.append(at(f, db, 10_000) - at(f, db, 100))
        assert at(f, db, 1_000) == pytest.approx(0, abs=0.1)
        assert at(f, db, 3_162) == pytest.approx(slopes[-1] / 4, abs=0.1)
    assert -6.1 < min(slopes) < -2 < 2 < max(slopes) < 6.1


def test_eq_stays_within_its_bands():
    curves = [response_db("eq", seed)[1][20:18_000] for seed in SEEDS]
    assert 5 < np.abs(curves).max() < 18.1  # two bands may meet
    assert min(np.ptp(c) for c in curves) > 1


def test_resonances_are_narrow():
    for seed in SEEDS:
        _, db = response_db("resonance", seed)
        assert np.abs(db[50:15_000]).max() > 2.5
        assert np.median(np.abs(db[50:15_000])) < 1.5


def test_cuts_cut():
    for seed in SEEDS:
        f, db = response_db("low_cut", seed)
        assert at(f, db, 15) < -10
        assert at(f, db, 2_000) > -0.5
        f, db = response_db("high_cut", seed)
        assert at(f, db, 20_000) < -2.5
        assert at(f, db, 300) > -0.5
    f, db = response_db("telephone", 1)
    assert at(f, db, 60) < -18
    assert at(f, db, 1_200) > -1
    assert at(f, db, 12_000) < -25


def test_reflections_comb():
    _, db = response_db("reflections", 2)
    assert len(signal.find_peaks(db[500:8_000], prominence=2)[0]) > 5


def test_polarity_and_offset():
    x = burst()
    assert np.abs(one(x, "polarity", 1)[0] + x).max() < 1e-5
    late = []
    for seed in SEEDS:
        y = one(x, "offset", seed)[0]
        late.append((signal.correlate(y, x).argmax() - SR + 1) / SR * 1e3)
    assert 0 <= min(late) < 3
    assert 5 < max(late) <= 8.1


def test_room_has_a_tail_and_keeps_the_direct_sound():
    for seed in SEEDS:
        y = one(impulse(), "room", seed)[0]
        assert y[2_000] == pytest.approx(0.1, abs=1e-3)
        tail = np.square(y[2_050:]).sum() / 0.01
        assert -31 < 10 * np.log10(tail) < -7
        assert np.square(y[2_050:8_000]).sum() > 10 * np.square(y[20_000:]).sum()


def test_compression_brings_loud_and_soft_together():
    x = burst()
    for seed in SEEDS:
        y = one(x, "compression", seed)[0]
        loud, soft = (np.sqrt(np.mean(y[a:b] ** 2)) for a, b in ((8_000, 14_000), (30_000, SR)))
        assert 20 * np.log10(loud / soft) < 19.5


def test_drive_and_clipping_lower_the_crest_and_make_harmonics():
    x = tone(441)
    for name, keeps_peak in (("drive", True), ("clipping", False)):
        third = []
        for seed in SEEDS:
            y = one(x, name, seed)[0]
            spectrum = np.abs(np.fft.rfft(y))
            third.append(spectrum[1_323] / spectrum[441])
            assert np.abs(y).max() == pytest.approx(0.5, abs=1e-3) or not keeps_peak
            assert np.abs(y).max() <= 0.5 + 1e-6
            assert np.abs(y).max() / y.std() < np.sqrt(2) + 1e-3
        assert max(third) > 0.03


def test_channels():
    wide = np.random.default_rng(0).standard_normal((2, SR)) * 0.1
    assert np.array_equal(*one(wide, "dual_mono", 1))
    assert one(wide, "mono", 1)[0] == pytest.approx(wide.mean(0), abs=1e-6)
    left, right = one(burst(), "stereo", 1)
    assert 0.0 < np.corrcoef(left, right)[0, 1] < 0.98


def test_level_sets_the_peak():
    peaks = np.array([20 * np.log10(np.abs(one(tone(441), "level", seed)).max()) for seed in range(60)])
    assert peaks.min() >= LEVEL_DB[0]
    assert peaks.max() <= LEVEL_DB[1]
    assert np.ptp(peaks) > 30


def test_hum_and_noise_are_under_the_music():
    mains = set()
    for seed in SEEDS:
        hum = (one(tone(441), "hum", seed)[0] - tone(441))[: SR // 10 * 10]
        spectrum = np.abs(np.fft.rfft(hum))
        mains.add(int(np.argmax(spectrum[40:70]) + 40))
        assert np.square(spectrum[50::50]).sum() + np.square(spectrum[60::60]).sum() > 0.99 * np.square(spectrum).sum()
        assert 20 * np.log10(np.abs(hum).max()) < HUM_DB[1] + 9
        y = one(tone(441), "noise", seed)[0] - tone(441)
        assert NOISE_DB[0] - 1 < 20 * np.log10(y.std()) < NOISE_DB[1] + 1
    assert mains == {50, 60}
    quiet = tone(441, 0.001)
    assert np.std(one(quiet, "noise", 3)[0] - quiet) < 0.001 * 10 ** (-29 / 20)


def test_tape_wavers_and_bitcrush_is_coarse():
    y = one(tone(3_000), "tape", 1)[0]
    pitch = np.diff(np.unwrap(np.angle(signal.hilbert(y)))) * SR / 2 / np.pi
    middle = signal.lfilter(np.ones(500) / 500, 1, pitch)[3_000:-3_000]
    assert 3 < np.ptp(middle) < 40
    f, db = response_db("tape", 1)
    assert at(f, db, 15_000) < -5
    crushed = one(burst(), "bitcrush", 1)[0]
    assert len(np.unique(crushed)) < 520
    assert np.mean(np.diff(crushed) == 0) > 0.45
