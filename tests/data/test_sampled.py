"""Songs played by a SoundFont: with a stand-in for what reads it, and with the real one where it is installed."""

import struct
import sys
from types import ModuleType

import numpy as np
import pytest

from diffmix.data.engines import RECORDED, check, choose, sampled
from diffmix.data.kit import PIECES
from diffmix.data.synthesis import stream
from diffmix.data.synthetic import SyntheticSongs, generate_song
from diffmix.errors import AudioError

SR = 22_050


class StandIn:
    """A synthesiser whose programs are sines of a key's pitch, louder with velocity, silent once the key is left."""

    asked: list[tuple[int, int]] = []  # noqa: RUF012

    def __init__(self, samplerate):
        self.samplerate, self.on, self.place = samplerate, None, 0

    def sfload(self, name):
        with open(name, "rb") as file:
            if file.read(4) != b"RIFF":
                raise ValueError("no RIFF")
        return 0

    def sfpreset_name(self, number, bank, preset):
        return f"{bank} {preset}" if bank == 128 or preset < 100 else None

    def program_select(self, channel, number, bank, preset, is_drums=False):
        assert is_drums == (bank == 128)
        self.asked.append((bank, preset))

    def sounds_off(self, channel):
        self.on = None

    def noteon(self, channel, key, velocity):
        assert 1 <= velocity <= 127
        self.on, self.place = (440 * 2 ** ((key - 69) / 12), velocity / 127), 0

    def noteoff(self, channel, key):
        self.on = None

    def generate(self, samples):
        t = (self.place + np.arange(samples)) / self.samplerate
        self.place += samples
        x = self.on[1] * np.sin(2 * np.pi * self.on[0] * t) if self.on else np.zeros(samples)
        return memoryview(np.stack([x, 0.5 * x], 1).astype(np.float32).ravel())


@pytest.fixture
def font(tmp_path, monkeypatch):
    module = ModuleType("tinysoundfont")
    module.Synth = StandIn
    monkeypatch.setitem(sys.modules, "tinysoundfont", module)
    StandIn.asked = []
    sampled._synth.cache_clear()
    file = tmp_path / "font.sf2"
    file.write_bytes(b"RIFF")
    yield str(file)
    sampled._synth.cache_clear()


def test_a_song_is_played_by_a_soundfont_where_it_can_be(font):
    plain, recorded = (generate_song(3, 2.0, SR, engines=e, tracks=(8, 16)) for e in ("train", f"train+{font}"))
    again = generate_song(3, 2.0, SR, engines=f"train+{font}", tracks=(8, 16))
    assert [t.name for t in plain.tracks] == [t.name for t in recorded.tracks]
    changed = [not np.array_equal(a.audio, b.audio) for a, b in zip(plain.tracks, recorded.tracks, strict=True)]
    assert 0.3 < np.mean(changed) < 1  # most of what it has, and no voices
    assert all(np.array_equal(a.audio, b.audio) for a, b in zip(recorded.tracks, again.tracks, strict=True))
    assert {bank for bank, _ in StandIn.asked} == {0, 128}


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in sampled.PROGRAMS}))
def test_notes_are_of_the_pitch_that_was_asked_for(font, kind):
    flavour = next(flavour for pitched, flavour in sampled.PROGRAMS if pitched == kind)
    instrument = sampled.sampled(kind, font)(stream(1), SR, flavour)
    note = np.atleast_2d(instrument.play(220.0, 0.5, 0.8, stream(2)))
    assert note.shape[1] == round(0.5 * SR) + round(instrument.release_s * SR)
    spectrum = np.abs(np.fft.rfft(note[0], SR))  # 1 Hz apart
    assert abs(int(spectrum.argmax()) - 220) <= 1
    assert np.abs(instrument.play(220.0, 0.5, 0.2, stream(2))).max() < 0.5 * np.abs(note).max()


def test_every_drum_of_a_kit_has_a_key():
    assert set(sampled.KEYS) == set(PIECES)


def test_a_soundfont_plays_most_parts_and_never_what_it_lacks(font):
    rng = stream(5)
    drawn = [getattr(choose("bass", f"train+{font}", rng), "func", None) for _ in range(300)]
    assert abs(np.mean([d is not None for d in drawn]) - RECORDED) < 0.08
    assert all(not hasattr(choose("voice", f"train+{font}", rng), "func") for _ in range(20))


def test_programs_that_a_font_lacks_are_not_asked_for(font, monkeypatch):
    monkeypatch.setattr(StandIn, "sfpreset_name", lambda self, number, bank, preset: "x" if preset == 33 else None)
    for seed in range(8):
        sampled.sampled("bass", font)(stream(seed), SR, "").play(110.0, 0.1, 0.5, stream(0))
    assert set(StandIn.asked) == {(0, 33)}
    with pytest.raises(AudioError, match=r"none of the programs .* in bank 0; is it a General MIDI set"):
        sampled.sampled("brass", font)(stream(1), SR, "")


def test_what_is_no_soundfont_is_named(font, tmp_path, monkeypatch):
    with pytest.raises(AudioError, match=r"there is no SoundFont 'nowhere\.sf3'"):
        check("train+nowhere.sf3")
    with pytest.raises(AudioError, match="no engines 'some'"):
        check(f"some+{font}")
    other = tmp_path / "other.sf2"
    other.write_bytes(b"OggS")
    with pytest.raises(AudioError, match=r"other\.sf2: this is not a SoundFont"):
        sampled.sampled("bass", str(other))(stream(1), SR, "")
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    sampled._synth.cache_clear()
    with pytest.raises(AudioError, match="pip install --no-deps tinysoundfont"):
        sampled.sampled("bass", font)(stream(1), SR, "")


def test_songs_of_a_soundfont_are_kept_apart(font, tmp_path):
    plain, recorded = (SyntheticSongs(1, 1.0, root=tmp_path, engines=e) for e in ("train", f"train+{font}"))
    assert plain.folder != recorded.folder
    assert plain.folder.parent == recorded.folder.parent


def soundfont(samples: np.ndarray) -> bytes:
    """A SoundFont 2.01 file with one program, 33, of one sample that repeats as a whole, its own pitch at key 60."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    def bags(*generators: tuple[int, int]) -> bytes:
        return b"".join(struct.pack("<Hh", *g) for g in (*generators, (0, 0)))

    length = len(samples)
    audio = samples.astype("<i2").tobytes() + bytes(92)
    header = struct.pack("<20sIIIIIBbHH", b"sine", 0, length, 0, length, SR, 60, 0, 0, 1)
    end = (0, 0, 1, 0, 0, 0)
    parts = {
        b"phdr": struct.pack("<20sHHHIII", b"bass", 33, 0, 0, 0, 0, 0) + struct.pack("<20sHHHIII", b"EOP", *end),
        b"pbag": struct.pack("<HHHH", 0, 0, 1, 0),
        b"pmod": bytes(10),
        b"pgen": bags((41, 0)),
        b"inst": struct.pack("<20sH", b"bass", 0) + struct.pack("<20sH", b"EOI", 1),
        b"ibag": struct.pack("<HHHH", 0, 0, 2, 0),
        b"imod": bytes(10),
        b"igen": bags((54, 1), (53, 0)),
        b"shdr": header + struct.pack("<20sIIIIIBbHH", b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0),
    }  # fmt: skip
    info = chunk(b"ifil", struct.pack("<HH", 2, 1)) + chunk(b"isng", b"EMU8000\0") + chunk(b"INAM", b"test")
    lists = [b"INFO" + info, b"sdta" + chunk(b"smpl", audio), b"pdta" + b"".join(chunk(*p) for p in parts.items())]
    return chunk(b"RIFF", b"sfbk" + b"".join(chunk(b"LIST", body) for body in lists))


def test_a_real_soundfont_is_read(tmp_path):
    pytest.importorskip("tinysoundfont", reason="pip install --no-deps tinysoundfont")
    file = tmp_path / "font.sf2"
    period = SR / 261.6256  # key 60
    file.write_bytes(soundfont(20_000 * np.sin(2 * np.pi * np.arange(round(100 * period)) / period)))
    instrument = sampled.sampled("bass", str(file))(stream(1), SR, "")
    note = np.atleast_2d(instrument.play(110.0, 1.0, 0.9, stream(2)))
    spectrum = np.abs(np.fft.rfft(note[0, : SR // 2], SR))
    assert abs(int(spectrum.argmax()) - 110) <= 2
