"""What holds in the tests of systems."""

from collections.abc import Callable

import pytest

from diffmix.data.synthetic import SyntheticSongs
from diffmix.systems.lessons import Lessons


@pytest.fixture(autouse=True)
def songs_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run makes its few songs by itself: a further process takes five times as long to start as they take."""

    def alone(kind: type[Lessons] | type[SyntheticSongs]) -> None:
        prepare = kind.prepare

        def prepared(self: object, progress: Callable[[int, int], None] | None = None, workers: int = 1) -> None:
            prepare(self, progress, 1 if progress else workers)  # type: ignore[arg-type]  # runs show their progress

        monkeypatch.setattr(kind, "prepare", prepared)

    alone(Lessons)
    alone(SyntheticSongs)
