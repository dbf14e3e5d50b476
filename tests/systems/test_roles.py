"""The mixer's ear: it learns from single tracks and from who plays together, and the mixing stays as it is."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from diffmix import train
from diffmix.console import Console, shipped
from diffmix.data.audio import write_wav
from diffmix.data.recordings import Recordings
from diffmix.data.roles import LABELS, ROLES
from diffmix.estimators import Heard
from diffmix.systems import roles
from diffmix.systems.automixer import Automixer
from diffmix.systems.draws import SoloDraws
from diffmix.systems.roles import Roles, casts
from diffmix.systems.solos import Solos, joined, of_songs
from tests.systems.recorded import RATE
from tests.systems.runs import configured

config = configured(
    "recipe=roles",
    f"console.sample_rate={RATE}",
    "data.songs=2",
    "data.engines=train+wide",
    "data.tracks=[3,4]",
    "data.song_seconds=1.5",
    "data.held_out_songs=1",
    "data.casts=3",
    "data.seconds=1",
    "data.batch_size=1",
    "data.workers=0",
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tracks are made once for this file, away from the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("tracks")
        patch.setenv("DIFFMIX_CACHE", str(folder))
        yield folder


def untrained() -> Automixer:
    """A small mixer of the recipe's console."""
    torch.manual_seed(0)
    return Automixer(Console.from_layout(shipped("automix"), RATE), width=32, layers=1)


def test_the_ear_learns_and_mixing_stays(tmp_path: Path) -> None:
    first = untrained()
    first.save(tmp_path / "first")
    write_wav(tmp_path / "snare.wav", 0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)), RATE)
    solos = (f"data.solos={tmp_path}", "data.solo_count=2")
    scores = train.run(config(f"system.start={tmp_path / 'first'}", f"output={tmp_path / 'run'}", *solos))
    assert set(scores) == {"model/right_percent", "start/right_percent"}
    learned = Automixer.load(tmp_path / "run" / "model", RATE)
    for (name, a), b in zip(first.state_dict().items(), learned.state_dict().values(), strict=True):
        assert torch.equal(a, b) != name.startswith(("estimator.ear.", "estimator.guess.", "estimator.company.")), name
    told = Heard(torch.randn(1, 3, 64, 30), torch.randn(1, 3, 8), labels=torch.tensor([[1, 2, 3]]))
    assert torch.equal(first.eval()(told)[0].tracks, learned(told)[0].tracks)


def test_tracks_of_songs_are_made_once_and_drawn_rare_ones_first(cache: Path) -> None:
    def made(count: int, first: int = 0) -> tuple[list[int], Solos]:
        told: list[int] = []
        recordings = Recordings(count, 1, first, 1.5, RATE, song={"tracks": [3, 4]})
        return told, of_songs(recordings, cache / "own", lambda done, _: told.append(done))

    told, solos = made(2)
    assert told == [1, 2]
    files = {file: file.stat().st_mtime_ns for file in (cache / "own").rglob("*.safetensors")}
    again = joined([made(1)[1], made(1, first=1)[1]])
    assert all(torch.equal(a, b) for a, b in zip(solos, again, strict=True))
    assert files == {file: file.stat().st_mtime_ns for file in (cache / "own").rglob("*.safetensors")}
    uneven = Solos(torch.randn(101, 64, 40) - 60, torch.zeros(101, 4), torch.tensor([1] * 100 + [2]))
    draws = SoloDraws([uneven, uneven], [10, 2], 1.0, 0)
    some = joined([draws[k] for k in range(40)])
    assert some.mel_db.shape == (480, 64, round(1.0 / (2048 / 44100)))
    assert 0.04 < (some.labels == 2).float().mean() < 0.18  # one of eleven, where it is one of 101
    assert torch.equal(draws[3].mel_db, draws[3].mel_db)
    assert not torch.equal(draws[3].mel_db, draws[4].mel_db)


@torch.no_grad()
def test_what_tracks_are_taken_for_is_what_the_ear_says() -> None:
    estimator, heard = untrained().eval().estimator, Heard(torch.randn(1, 3, 64, 30), torch.randn(1, 3, 8))
    before = estimator.decide(heard).guess
    torch.testing.assert_close(before[0], estimator.guesses(heard.mel[0], heard.scalars[0]))
    for parameter in estimator.encoder.parameters():
        parameter.mul_(1.5)
    assert torch.equal(estimator.decide(heard).guess, before)
    for parameter in estimator.ear.parameters():
        parameter.mul_(1.5)
    assert not torch.allclose(estimator.decide(heard).guess, before)


def test_company_tells_what_a_track_is() -> None:
    bass, drums = ROLES.index("bass"), [ROLES.index(role) for role in ("kick", "snare", "hihat")]
    together = [torch.tensor([*drums, bass])] * 4 + [torch.tensor([bass] * 3)]
    system, guess = Roles(untrained(), together), torch.zeros(1, 4, len(ROLES))
    guess[0, range(3), drums] = 6.0
    company = system.mixer.estimator.in_company
    assert torch.equal(company(guess), guess)  # untrained, it changes nothing
    optimizer = torch.optim.Adam(system.mixer.estimator.company.parameters(), 1e-2)
    for step in range(60):
        optimizer.zero_grad()
        system.company_loss(np.random.default_rng(step)).backward()
        optimizer.step()
    with torch.no_grad():
        assert ROLES[int(company(guess)[0, 3].argmax())] == "bass"
        mask = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]])
        padded = company(torch.cat([guess, torch.randn(1, 1, len(ROLES))], 1), mask)[:, :4]
        torch.testing.assert_close(padded, company(guess))
        turned = company(guess.flip(1)).flip(1)
        torch.testing.assert_close(turned, company(guess))


def test_engines_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, object]] = []

    def made(recordings: Recordings, **_: object) -> Solos:
        asked.append((recordings.seed, recordings.count, recordings.song["engines"]))
        return Solos(torch.zeros(1, 64, 4), torch.zeros(1, 4), torch.tensor([1]))

    monkeypatch.setattr(roles, "of_songs", made)
    roles.RolesData(config("data.engines=[train,train+wide]", "data.songs=5")["data"], RATE, 0)
    roles.RolesData(config("data.engines=[train,train+wide]", "data.songs=5", "data.first_song=70")["data"], RATE, 0)
    assert asked == [(0, 3, "train"), (3, 2, "train+wide"), (70, 3, "train"), (73, 2, "train+wide")]


def test_casts_are_those_of_songs() -> None:
    found = casts(3, (4, 9))
    assert all(4 <= len(cast) <= 9 for cast in found)
    assert all(torch.equal(a, b) for a, b in zip(found, casts(3, (4, 9)), strict=True))
    assert max(int(cast.max()) for cast in found) < len(LABELS)
