"""The report and its pictures: the numbers in them are right, and odd names and sizes do not break them."""

import base64
import io
import json
import math
import re
import wave
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch
from matplotlib import rcParams
from matplotlib.text import Text

from diffmix import lettering, plots
from diffmix.cli.showing import _table
from diffmix.console import Console
from diffmix.data.multitrack import Multitrack, Track
from diffmix.errors import OutputError
from diffmix.lettering import lettered
from diffmix.mix import Mix, render
from diffmix.processors import Compressor, PeakFilter
from diffmix.report import measure, page, unmixed, write_report
from diffmix.settings import Settings

RATE = 44100


def mixed(audio: dict[str, np.ndarray], notes: tuple[str, ...] = ()) -> Mix:
    """A mix at neutral settings but for a few knobs of the first track."""
    tracks = tuple(Track(name, torch.from_numpy(x.astype(np.float32))) for name, x in audio.items())
    session = Multitrack("Song <1> & $x$", RATE, tracks)
    console = Console(RATE)
    names, channels = [t.name for t in tracks], [t.audio.shape[0] for t in tracks]
    settings = console.settings(console.default(1, len(tracks)), names, channels)
    first = settings["tracks"][names[0]]
    first["fader"]["gain_db"] = -6.0
    first["send"]["gain_db"] = -12.5
    first["compressor"].update(threshold_db=-20.0, ratio=4.0)
    first["eq"]["peak2_gain_db"] = 9.0
    return Mix(render(console, session, settings).numpy(), RATE, settings, console, session, notes)


@pytest.fixture(scope="module")
def mix() -> Mix:
    rng = np.random.default_rng(0)
    audio = {
        "vox <script>alert(1)</script>": 0.1 * rng.standard_normal((1, RATE)),
        "keys $a$ 歌": 0.05 * rng.standard_normal((2, RATE)),
        "empty": np.zeros((1, RATE)),
    }
    return mixed(audio, ("drums/<old>.aif: left out, holds no samples",))


class Page(HTMLParser):
    """Tags and attributes of a page, and that it closes what has to be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag in ("svg", "table", "section", "figure", "main", "audio", "details", "div"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("svg", "table", "section", "figure", "main", "audio", "details", "div"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_numbers_are_those_of_the_audio(mix: Mix) -> None:
    found = measure(mix)
    json.dumps(found, allow_nan=False)
    meter = pyloudnorm.Meter(RATE)
    assert found["mix"]["loudness_lufs"] == pytest.approx(
        meter.integrated_loudness(mix.audio.T.astype(float)), abs=0.05
    )
    keys = found["tracks"]["keys $a$ 歌"]
    stem = mix.multitrack.tracks[1].audio.numpy().T.astype(float)
    assert keys["loudness_before_lufs"] == pytest.approx(meter.integrated_loudness(stem), abs=0.05)
    assert keys["loudness_after_lufs"] == pytest.approx(keys["loudness_before_lufs"], abs=0.1)  # only the high-pass
    assert (keys["pan"], keys["width"]) == (0, 1)
    vox, empty = found["tracks"]["vox <script>alert(1)</script>"], found["tracks"]["empty"]
    assert (vox["width"], vox["send_db"]) == (None, -12.5)
    assert max(vox["eq"]["gain_db"]) == pytest.approx(9, abs=0.2)
    assert vox["compressor"]["gain_db"][-1] == pytest.approx(-15)
    assert plots.silent(empty)
    assert not plots.silent(vox)


def test_the_unmixed_sum_is_the_neutral_console(mix: Mix) -> None:
    x = unmixed(mix.multitrack)
    vox, keys, _ = (track.audio.numpy() for track in mix.multitrack.tracks)
    np.testing.assert_allclose(x, keys + math.sqrt(0.5) * vox, atol=1e-6)
    assert np.array_equal(unmixed(mix.multitrack, 100, 250), x[:, 100:250])
    assert unmixed(mix.multitrack, 100, 10 * RATE).shape == (2, RATE - 100)


@pytest.fixture(scope="module")
def html(mix: Mix) -> str:
    return page(mix, mix.report)


def test_the_crest_of_a_recording_is_its_peak_over_its_mean() -> None:
    beep = np.sin(np.arange(8820) * 0.1)
    found = mixed({"sine": beep[None], "soft": 0.01 * beep[None], "sides": np.stack([beep, 0 * beep])}).report["tracks"]
    assert [found[name]["crest_db"] for name in ("sine", "soft", "sides")] == [3.0, 3.0, 6.0]


def test_the_page_is_whole_escaped_and_needs_no_network(mix: Mix, html: str) -> None:
    parsed = Page(html)
    tags = [tag for tag, _ in parsed.seen]
    assert parsed.open == []
    assert "script" not in tags
    assert "vox &lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "Song &lt;1&gt; &amp; $x$" in html
    for text in ("drums/<old>.aif: left out", "silent", "4.0:1 above −20 dB", "−12.5 dB", "peak2_gain_db 9"):
        assert text in parsed.text, text
    loudness = plots.number(mix.report["mix"]["loudness_lufs"])
    assert f"<b>{loudness}</b> LUFS" in html
    assert f"in front of the master, whose gain adds {plots.number(mix.report['master']['gain_db'])} dB." in html
    assert tags.count("tr") == 1 + 3
    links = [value or "" for _, attrs in parsed.seen for key, value in attrs.items() if key.endswith(("src", "href"))]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "var(--ink)" in html
    assert re.search(r'<section class="pair">(<div><small>[^<]*</small><audio [^>]*></audio></div>){2}</section>', html)
    assert plots.INK not in html.split("</style>")[1]


def test_the_page_plays_the_mix_and_the_unmixed_sum_equally_loud(mix: Mix, html: str) -> None:
    sounds = [attrs["src"] or "" for tag, attrs in Page(html).seen if tag == "audio"]
    loudness = []
    for sound in sounds:
        with wave.open(io.BytesIO(base64.b64decode(sound.split(",")[1]))) as file:
            assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, RATE, RATE)
            samples = np.frombuffer(file.readframes(RATE), "<i2").reshape(-1, 2) / 32767
        loudness.append(pyloudnorm.Meter(RATE).integrated_loudness(samples))
    np.testing.assert_allclose(samples.T, mix.audio, atol=1 / 32767)
    assert loudness[0] == pytest.approx(loudness[1], abs=0.1)


@pytest.mark.usefixtures("sketched")
def test_a_long_song_gets_an_excerpt_of_its_loudest_part() -> None:
    x = 0.01 * np.random.default_rng(0).standard_normal((1, 18 * RATE))
    x[:, 10 * RATE : 14 * RATE] *= 20
    html = page(mix := mixed({"a": x}), mix.report)
    assert len(html) < 3_500_000
    start = re.search(r"Mix, 6 s from 0:(\d\d)", html)
    assert start
    assert 7 <= int(start[1]) <= 10


@pytest.mark.slow
def test_a_report_of_64_tracks_stays_readable(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    many = {f"track {n:02d} with a name that is far too long": 0.01 * rng.standard_normal((1, 8820)) for n in range(64)}
    mix = mixed(many)
    assert write_report(mix, tmp_path) is mix.report
    assert len((tmp_path / "report.html").read_text().split("<tr>")) == 1 + 1 + 64
    png = (tmp_path / "report.png").read_bytes()
    width, height = (int.from_bytes(png[i : i + 4]) for i in (16, 20))
    assert 2000 < width < 4000
    assert 1000 < height < 2500
    labels = [label.get_text() for panel in mix.plot().subfigs[1].subfigs for label in panel.axes[0].get_yticklabels()]
    assert len(labels) == 64
    assert all(len(label) <= 24 for label in labels)


def test_names_without_end_leave_the_numbers_in_sight() -> None:
    mix = mixed({"h" * 240: np.full((1, 8820), 0.1)})
    rows = _table(mix).splitlines()
    assert rows[1].startswith("h" * 19 + "…" + "h" * 19 + " ")
    assert max(map(len, rows[:4])) < 120
    assert "main{" in (page(mix, mix.report)).partition("overflow-wrap:anywhere")[0].splitlines()[-1]


@pytest.mark.usefixtures("sketched")
def test_a_report_that_cannot_be_written_says_where(mix: Mix, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"report\.html cannot be written: No such file"):
        write_report(mix, tmp_path / "missing")


def test_third_octaves_of_a_sine_and_of_noise() -> None:
    t = np.arange(4 * RATE) / RATE
    centres, level_db = plots.third_octaves(np.sin(2 * np.pi * 1000 * t)[None], RATE)
    assert centres[level_db.argmax()] == pytest.approx(1000)
    assert level_db.max() == pytest.approx(0, abs=0.01)
    noise = np.random.default_rng(0).standard_normal((2, 20 * RATE))
    centres, level_db = plots.third_octaves(noise, RATE)
    slope = np.polyfit(np.log10(centres[8:]), level_db[8:], 1)[0]  # white noise: as much power per Hz
    assert slope == pytest.approx(10, abs=0.3)
    assert 10 * np.log10((10 ** (level_db / 10)).sum()) == pytest.approx(0, abs=1e-6)


def test_short_and_silent_audio_has_a_spectrum() -> None:
    hz, silent_db = plots.third_octaves(np.zeros((2, 100)), 8000)
    assert np.isfinite(silent_db).all()
    bottom, top = plots.spectrum({"frequency_hz": hz, "mix_db": silent_db, "unmixed_db": silent_db}).axes[0].get_ylim()
    assert bottom < top


def test_curves_show_the_effect() -> None:
    values = {"cutoff_frequency_hz": 1000.0, "gain_db": 6.0, "q": 2.0}
    line = plots.eq_curve([(PeakFilter(RATE), values)]).axes[0].lines[1]
    assert np.max(line.get_ydata()) == pytest.approx(6, abs=0.05)
    assert line.get_xdata()[np.argmax(line.get_ydata())] == pytest.approx(1000, rel=0.03)
    values = {"threshold_db": -20.0, "ratio": 4.0, "attack_ms": 1.0, "release_ms": 100.0}
    line = plots.compressor_curve([(Compressor(RATE), values)]).axes[0].lines[1]
    assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True))[-40.0] == pytest.approx(-40)
    assert line.get_ydata()[-1] == pytest.approx(-15)


def test_no_frequency_stands_in_the_corner() -> None:
    for lowest, first in ((25, "31"), (31.6, "63")):
        axes = plots.blank(2, 2).add_subplot()
        plots.octaves(axes, np.array([lowest, 20e3]))
        assert axes.get_xticklabels()[0].get_text() == first


def test_the_spectrum_s_legend_lies_beside_its_title(mix: Mix) -> None:
    with plots.style():
        figure = mix.plot()
        figure.draw_without_rendering()
    axes = next(axes for axes in figure.axes if axes.get_title(loc="left").startswith("Spectrum"))
    title = next(text for text in axes.findobj(Text) if text.get_text().startswith("Spectrum"))
    legend = axes.get_legend().get_window_extent()
    assert title.get_window_extent().x1 < legend.x0
    assert legend.y0 >= axes.get_window_extent().y1


def test_levels_and_pans_show_every_track(mix: Mix) -> None:
    tracks = mix.report["tracks"]
    axes = plots.levels(tracks).axes[0]
    assert len(axes.collections[2].get_offsets()) == 2
    assert [text.get_text() for text in axes.texts] == ["silent"]
    assert len(plots.pan_map(tracks).axes[0].get_yticklabels()) == 3


def test_names_in_a_script_that_no_font_has_are_told_apart_by_number(
    mix: Mix, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lettering, "_installed", tuple)  # as on a machine without such fonts
    names = [lettered(name, n) for n, name in enumerate(["Vox é ж", "ギター", "ギター L", "声\n$x"], 1)]
    assert names == ["Vox é ж", "no. 2", "no. 3 … L", r"no. 4 …\$x"]
    assert lettered("声と歌", longest=20) == "…"
    axes = plots.levels({f"歌{k}": strip for k, strip in enumerate(mix.report["tracks"].values())}).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["no. 1 …0", "no. 2 …1", "no. 3 …2"]
    axes.figure.savefig(io.BytesIO(), format="png", dpi=20)
    assert not recwarn.list
    firsts: list[int] = []
    monkeypatch.setattr(plots, "_strips", lambda *given: firsts.append(given[-1]))
    plots.overview({**mix.report, "tracks": {f"歌{k}": mix.report["tracks"]["empty"] for k in range(22)}})
    assert firsts == [0, 11]  # numbers go on in the second column
    monkeypatch.setattr(lettering, "_installed", lambda: ("DejaVu Serif",))
    monkeypatch.setattr(lettering, "_holds", lambda written, _: "DejaVu Serif" in written)
    assert lettered("ギター L", 3) == "ギター L"
    with plots.style():
        assert rcParams["font.family"] == ["sans-serif", "DejaVu Serif"]


def test_fonts_for_other_scripts_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "OTHER_SCRIPTS", ("DejaVu Serif", "Of Nowhere"))
    assert lettering._installed.__wrapped__() == ("DejaVu Serif",)


@pytest.mark.parametrize(
    ("pan", "width", "expected"),
    [(-0.5, None, (-0.5, -0.5)), (0, 1, (-1, 1)), (0, 0.5, (-0.5, 0.5)), (0.5, 1, (0, 1)), (-1, 2, (-1, -1))],
)
def test_where_a_track_is_drawn(pan: float, width: float | None, expected: tuple[float, float]) -> None:
    assert plots.image(pan, width) == expected


def of_layout(layout: dict) -> Mix:
    rng = np.random.default_rng(0)
    audio = {"kick": 0.1 * rng.standard_normal((1, RATE)), "keys <b>": 0.1 * rng.standard_normal((2, RATE))}
    tracks = tuple(Track(name, torch.from_numpy(x.astype(np.float32))) for name, x in audio.items())
    session, console = Multitrack("Song", RATE, tracks), Console(RATE, **layout)
    settings = console.check(Settings(tracks={name: {} for name in audio}))
    for knobs in settings["tracks"].values():
        for stage, wanted in (("gate", {"range_db": 20.0}), ("squash", {"ratio": 3.0, "threshold_db": -15.0})):
            if stage in knobs:
                knobs[stage].update(wanted)
    return Mix(render(console, session, settings).numpy(), RATE, settings, console, session)


def test_a_report_shows_what_a_strip_has() -> None:
    layout = {
        "strip": {"low": "HighpassFilter", "gate": "KneeGate", "bell": "PeakFilter", "squash": "KneeCompressor"},
        "sends": {"hall": "hall", "slap": "echo"},
        "buses": {"hall": {"cut": "HighpassFilter", "reverb": "Reverb"}, "echo": {"delay": "Delay"}},
        "groups": {"drums": {"tracks": ["kick"], "stages": {"eq": "ParametricEQ"}}, "none": {}},
        "master": {"gain": "Gain"},
    }
    mix = of_layout(layout)
    found = mix.report
    kick, drums = found["tracks"]["kick"], found["groups"]["drums"]
    assert kick["group"] == "drums"
    assert drums["tracks"] == ["kick"]
    assert found["groups"]["none"]["tracks"] == []
    assert (kick["hall_db"], kick["slap_db"]) == (-60, -60)
    assert kick["compressor"]["text"] == "−20.0 dB below −40 dB, 3.0:1 above −15 dB"
    assert kick["compressor"]["squash.ratio"] == 3
    assert kick["compressor"]["gain_db"][-1] == pytest.approx(-10)
    assert kick["compressor"]["gain_db"][0] == pytest.approx(-20, abs=0.1)
    assert drums["compressor"] is None
    assert found["master"] == {"eq": None, "compressor": None, "gain_db": 0, "bypass": {}}
    parsed = Page(page(mix, found))
    assert parsed.open == []
    for text in ("Hall send", "Echo send", "Dynamics", "group of kick", "group of no track", "Echo bus: delay seconds"):
        assert text in parsed.text, text
    assert "Master equaliser" not in parsed.text
    titles = [axes.get_title(loc="left") for axes in mix.plot().subfigs[1].subfigs[0].axes]
    assert titles == ["Level", "Pan", "Equaliser, ±12 dB per row", "Dynamics", "To hall", "To echo"]


def test_a_report_of_a_bare_console() -> None:
    mix = of_layout({"strip": {}, "sends": {}, "buses": {}, "master": {}})
    assert mix.report["tracks"]["kick"]["eq"] is None
    assert mix.report["master"]["gain_db"] is None
    parsed = Page(page(mix, mix.report))
    assert "Equaliser" not in parsed.text
    assert "send" not in parsed.text.lower()
    assert [axes.get_title(loc="left") for axes in mix.plot().subfigs[1].subfigs[0].axes] == ["Level", "Pan"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"threshold_db": -20, "ratio": 4}, "4.0:1 above −20 dB"),
        ({"threshold_db": 0, "ratio": 4}, "off"),
        ({"threshold_db": -30, "ratio": 2, "range_db": 12}, "2.0:1 below −30 dB"),
        ({"threshold_db": -30, "ratio": 1, "range_db": 12}, "off"),
        ({"threshold_db": -30, "range_db": 0}, "off"),
        (
            {"threshold_db": -9, "ratio": 2, "expander_threshold_db": -50, "expander_ratio": 3},
            "2.0:1 above −9 dB, 3.0:1 below −50 dB",
        ),
    ],
)
def test_what_dynamics_do_in_words(values: dict, text: str) -> None:
    assert plots.dynamics_text(values) == text


def test_stems_are_written_and_measured_in_one_pass_and_again_where_they_pass_full_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    made = mixed({"vox": 0.1 * rng.standard_normal((1, 4410)), "loud": rng.standard_normal((2, 4410))})
    with monkeypatch.context() as patch:  # pictures are no matter here
        patch.setattr(Mix, "write_report", lambda *_: None)
        made.save(tmp_path, stems=True)
    for name, audio in made.processed:
        stored, _ = soundfile.read(tmp_path / "stems" / f"{name}.wav", dtype="float32", always_2d=True)
        kind = soundfile.info(tmp_path / "stems" / f"{name}.wav").subtype
        assert kind == ("FLOAT" if name == "loud" else "PCM_24")
        np.testing.assert_allclose(stored.T, audio, atol=0 if name == "loud" else 2e-7)
        assert made.report["tracks"][name]["peak_after_db"] == pytest.approx(20 * np.log10(abs(audio).max()), abs=1e-4)
