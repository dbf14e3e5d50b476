"""Effects in series and in parallel, beside Pedalboard's Chain and Mix."""

import numpy as np
import pedalboard
import pytest
import torch

from diffmix.processors import Chain, Compressor, Gain, HighpassFilter, PeakFilter, Reverb
from diffmix.processors.chain import Mix

RATE = 44100


def parallel() -> Mix:
    return Mix(
        dry=Gain(RATE),
        wet=Chain(cut=HighpassFilter(RATE), bell=PeakFilter(RATE), level=Gain(RATE)),
        crushed=Chain(comp=Compressor(RATE), room=Reverb(RATE)),
    )


def test_a_mix_equals_pedalboards_and_exports_as_one() -> None:
    effect, x = parallel(), torch.randn(1, 2, 9000, generator=torch.Generator().manual_seed(1)) / 4
    for u in effect.spec.sample(8, torch.Generator().manual_seed(2)):
        values = {name: v.item() for name, v in effect.spec.denormalize(u).items()}
        (kind, arguments), *rest = effect.plugins(values)
        assert (kind, rest) == ("Mix", [])
        chains = [
            pedalboard.Chain([getattr(pedalboard, name)(**params) for name, params in inner["plugins"]])
            for _, inner in arguments["plugins"]
        ]
        theirs = pedalboard.Mix(chains)(x[0].numpy(), RATE)
        assert np.array_equal(effect(x, u[None])[0].numpy(), theirs)


def test_a_mix_runs_in_chunks_and_has_exact_gradients() -> None:
    effect, x = parallel(), torch.randn(1, 2, 3000, generator=torch.Generator().manual_seed(1)) / 4
    u = effect.spec.sample(1, torch.Generator().manual_seed(3))
    values, state, parts = effect.spec.denormalize(u), None, []
    for chunk in x.split(700, -1):
        y, state = effect.process_chunk(chunk, state, **values)
        parts.append(y)
    assert torch.equal(torch.cat(parts, -1), effect(x, u))
    short = x[..., :200].double().requires_grad_()
    assert torch.autograd.gradcheck(effect, (short, (0.2 + 0.6 * u).double().requires_grad_()), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [Chain, Mix])
def test_what_cannot_be_put_together_is_refused(kind: type[Chain] | type[Mix]) -> None:
    with pytest.raises(ValueError, match=f"a {kind.__name__} needs at least one effect"):
        kind()
    with pytest.raises(ValueError, match=r"run at one sample rate, got \[44100.0, 48000.0\] Hz"):
        kind(a=Gain(44100), b=Gain(48000))
