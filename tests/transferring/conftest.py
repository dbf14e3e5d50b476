"""A translator whose belief a test sets."""

from collections.abc import Callable

import pytest

from diffmix.estimators.translator import Translator
from diffmix.estimators.treatment import Treatment
from diffmix.transferring import decision
from tests.transferring.stand_in import StandIn, treatment


@pytest.fixture
def believing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StandIn]:
    """Sets what the translator believes: ``believing(treatment, scale)``; few samples of it are rendered."""
    monkeypatch.setattr(decision, "SAMPLES", 12)

    def put(median: Treatment | None = None, scale: float = 0.1) -> StandIn:
        made = StandIn(treatment() if median is None else median, scale)
        monkeypatch.setattr(Translator, "load", classmethod(lambda cls, folder=None: made))
        return made

    return put
