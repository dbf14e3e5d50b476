"""Edges and faders multiply by what Pedalboard's Gain multiplies by."""

import numpy as np
import pedalboard
import pytest
import torch

from diffmix.graph import Graph, Renderer
from diffmix.graph.plan import Place


@pytest.mark.parametrize("level", [-9.0, -15.5, 3.3, -0.7, -48.1, -100.0])
def test_steady_gains_are_pedalboards_to_the_last_bit(level: float) -> None:
    x = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
    once = pedalboard.Gain(level)(x, 44100)
    g = Graph().add("x", "In", channels=1).add("fader", "Gain", {"gain_db": level}).add("pan", "Pan", {"pan": -1})
    g = g.add("edge", "Out").add("dry", "Out").add("sent", "Out").connect("x", "edge", level)
    g = g.add("more", "In").connect("more", "dry", -100).connect("more", "sent", -100)
    g = g.chained("x", "fader", "pan", "dry").connect("pan", "sent", level)
    renderer = Renderer(g, 44100)
    assert any(isinstance(step, Place) for step in renderer.plan.steps)
    y = renderer.render({"x": torch.from_numpy(x)[None], "more": torch.zeros(1, 2, 64)})
    np.testing.assert_array_equal(y["edge"][0], once)
    np.testing.assert_array_equal(y["dry"][0, :1], once)
    np.testing.assert_array_equal(y["sent"][0, :1], pedalboard.Gain(level)(once, 44100))
