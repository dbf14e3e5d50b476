"""Where most of a song plays."""

import torch

from diffmix.data.fullness import excerpts, fullest, moments
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
    alone = {track.name: track.audio for track in excerpts(song, 1).tracks}
    assert all(torch.equal(alone[name], level * noise) for name, level in (("loud", 9), ("soft", 1), ("other", 2)))
