"""Where most of a song plays."""

import torch

from diffmix.data.fullness import covering, excerpts, fullest, loudest, moments
from diffmix.data.multitrack import Multitrack, Track

RATE = 8000
LEVELS = {"loud": [1, 9, 1, 0, 0, 0, 0], "soft": [0, 0, 0, 1, 0, 1, 0], "other": [0, 0, 0, 2, 1, 2, 2]}  # by the second


def test_how_many_tracks_play_counts_not_how_loud_they_are() -> None:
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)) / 100
    tracks = [Track(name, torch.cat([level * noise for level in levels], 1)) for name, levels in LEVELS.items()]
    song = Multitrack("song", RATE, tuple(tracks))
    assert fullest(song, 1) == (3 * RATE, 4 * RATE)
    assert fullest(song, 3) == (3 * RATE, 6 * RATE)
    assert fullest(song, 9) == (0, 7 * RATE)
    assert moments(song, RATE, 2) == [3 * RATE, 5 * RATE]
    assert moments(song, 8 * RATE, 2) == [0]
    assert covering(song, RATE, 2) == [RATE, 3 * RATE, 5 * RATE]  # the loud one plays in neither of the two
    assert covering(song, 8 * RATE, 2) == [0]
    silent = Track("silent", torch.zeros(1, 7 * RATE)), Track("hum", torch.full((1, 7 * RATE), 1e-9))
    assert covering(Multitrack("song", RATE, (*tracks, *silent)), RATE, 2) == covering(song, RATE, 2)
    alone = {track.name: track.audio for track in excerpts(song, 1).tracks}
    assert all(torch.equal(alone[name], level * noise) for name, level in (("loud", 9), ("soft", 1), ("other", 2)))


def test_the_loudest_seconds_of_a_recording() -> None:
    levels = torch.tensor([1.0, 5, 0, 4, 4, 2, 0, 4])
    x = levels.repeat_interleave(RATE)[None, : -RATE // 2].expand(2, -1)
    found = [[at / RATE for at in loudest(x, seconds, RATE)] for seconds in (1, 2, 2.5, 6.7, 7.5, 9)]
    assert found == [[1, 2], [3, 5], [3, 5.5], [0, 6.7], [0, 7.5], [0, 7.5]]
    assert loudest(x[:, 3 * RATE :][:, -2 * RATE :], 1.5, RATE) == (RATE // 2, 2 * RATE)  # up to the end
    assert loudest(x[:, :300], 0.01, RATE) == (0, 80)
