import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffmix.errors import CheckpointError, OutputError, PresetError, SettingsError
from diffmix.processors import Chain, Gain, NeuralEffect

RATE = 16000


def effect(**changed: object) -> NeuralEffect:
    return NeuralEffect(RATE, **{"channels": 6, "kernel": 5, "dilations": (1, 7, 50), "seed": 1, **changed})


def conditions(*values: float) -> dict[str, torch.Tensor]:
    return {f"condition_{k}": torch.tensor([v]) for k, v in enumerate(values, 1)}


def test_it_is_causal_and_hears_its_receptive_field() -> None:
    made = effect()
    assert made.receptive_field == 1 + 4 * 58
    x = torch.randn(1, 1, 600, dtype=torch.float64).requires_grad_()
    y = made.process(x, **conditions(0.2, 0.7))
    (gradient,) = torch.autograd.grad(y[0, 0, 400], x)
    heard = gradient[0, 0].nonzero()[:, 0]
    assert (heard[0].item(), heard[-1].item()) == (400 - 232, 400)


def test_moving_a_condition_changes_the_sound() -> None:
    made, x = effect(), torch.randn(1, 2, 500)
    trained = made.process(x, **conditions(0.5, 0.5))
    moved = [made.process(x, **conditions(*c)) for c in ((1, 0.5), (0, 0.5), (0.5, 1))]
    for y in moved:
        assert (y - trained).square().mean() > 1e-3 * trained.square().mean()
    turned = made.process(x, **dict(reversed(conditions(1, 0.5).items())))
    assert torch.equal(turned, moved[0])  # by name, whatever the order
    # continuously: a hundredth of the way changes little
    near = made.process(x, **conditions(0.505, 0.5))
    assert (near - trained).square().mean() < 1e-2 * (moved[0] - trained).square().mean()


def test_a_moving_condition_is_each_value_in_its_time() -> None:
    made, x = effect(dilations=(1,), kernel=1), torch.randn(1, 1, 100)  # without memory
    step = torch.cat([torch.zeros(1, 40), torch.ones(1, 60)], 1)
    y = made.process(x, condition_1=step, condition_2=torch.tensor([0.3]))
    for c, part in ((0.0, slice(0, 40)), (1.0, slice(40, 100))):
        torch.testing.assert_close(y[..., part], made.process(x, **conditions(c, 0.3))[..., part])


def test_channels_and_items_are_apart() -> None:
    made, x = effect(), torch.randn(3, 2, 300)
    c = {name: torch.rand(3) for name in made.spec.names}
    y = made.process(x, **c)
    for i in range(3):
        for channel in range(2):
            alone = made.process(x[i : i + 1, channel : channel + 1], **{n: v[i : i + 1] for n, v in c.items()})
            assert torch.equal(alone[0, 0], y[i, channel])


def test_chunks_equal_the_whole() -> None:
    made, x = effect(), torch.randn(2, 2, 1000)
    c = {name: torch.rand(2) for name in made.spec.names}
    state, parts = None, []
    for chunk in x.split([1, 99, 400, 500], -1):
        y, state = made.process_chunk(chunk, state, **c)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, -1), made.process(x, **c), rtol=0, atol=1e-6)


def test_gradients_equal_finite_differences() -> None:
    made = effect(channels=2, dilations=(1, 5)).double()
    x = torch.randn(1, 2, 24, dtype=torch.float64, requires_grad=True)
    u = torch.tensor([[0.2, 0.9]], dtype=torch.float64, requires_grad=True)
    names, weights = zip(*made.named_parameters(), strict=True)

    def run(x: torch.Tensor, u: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(made, dict(zip(names, weights, strict=True)), (x, u))

    assert torch.autograd.gradcheck(run, (x, u, *weights), eps=1e-7, atol=2e-6, rtol=1e-5)


def test_float32_is_float64_rounded() -> None:
    made, x = effect(), torch.randn(1, 1, 400)
    ideal = effect(precision="float64").process(x, **conditions(0.1, 0.4))
    torch.testing.assert_close(made.process(x, **conditions(0.1, 0.4)), ideal, rtol=1e-5, atol=1e-6)


def test_in_the_middle_no_condition_steers() -> None:
    made, x = effect(), torch.randn(1, 1, 300)
    before = {c: made.process(x, **conditions(c, 0.5)) for c in (0.5, 1.0)}
    with torch.no_grad():
        made.steering.weight *= 3
    assert torch.equal(made.process(x, **conditions(0.5, 0.5)), before[0.5])
    assert not torch.allclose(made.process(x, **conditions(1.0, 0.5)), before[1.0], rtol=1e-2)


def test_save_and_load(tmp_path: Path) -> None:
    made, x = effect(conditions=3), torch.randn(1, 2, 300)
    made.save(tmp_path / "effect.safetensors", device="tape")
    again = NeuralEffect.load(tmp_path / "effect.safetensors", ranges={"condition_1": (0.2, 0.8)})
    assert again.sample_rate == RATE
    assert again.spec.names == ("condition_1", "condition_2", "condition_3")
    assert again.spec.params["condition_1"].high == 0.8
    c = conditions(0.3, 0.6, 0.9)
    assert torch.equal(again.process(x, **c), made.process(x, **c))
    assert [file.name for file in tmp_path.iterdir()] == ["effect.safetensors"]
    with pytest.raises(SettingsError, match="no parameter 'condition_4'"):  # not the file's fault
        NeuralEffect.load(tmp_path / "effect.safetensors", ranges={"condition_4": (0.2, 0.8)})
    with pytest.raises(OutputError, match="does not exist"):
        made.save(tmp_path / "nowhere" / "effect.safetensors")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "effect.safetensors"

    def refused(match: str) -> None:
        with pytest.raises(CheckpointError, match=match):
            NeuralEffect.load(path)

    refused("no usable neural effect in")
    path.write_bytes(b"pickle")
    refused("no usable neural effect in")
    made = effect()
    made.save(path)
    weights, config = load_file(path), {"sample_rate": RATE, "network": made.shape}

    def rewrite(**changed: str) -> None:
        header = {"format": "diffmix-neural-effect", "version": "1", "config": json.dumps(config)}
        save_file(weights, path, header | changed)

    rewrite(format="other")
    refused("does not hold a neural effect")
    rewrite(version="9")
    refused("has version 9, this diffmix reads version 1")
    rewrite(config="[")
    refused("the header does not describe the weights")
    rewrite(config=json.dumps({"sample_rate": RATE, "network": {**made.shape, "channels": 7}}))
    refused("the header does not describe the weights")
    rewrite(config=json.dumps({"sample_rate": RATE, "network": {**made.shape, "channels": 10**9}}))
    refused(r"channels of a neural effect: whole numbers in 1\.\.256")
    del weights["output"]
    rewrite()
    refused("the header does not describe the weights")


def test_sizes_are_checked() -> None:
    for changed, message in (
        ({"conditions": 9}, r"conditions of a neural effect: whole numbers in 1\.\.8, got 9"),
        ({"channels": 0}, "channels of a neural effect"),
        ({"dilations": ()}, "the number of dilations of a neural effect"),
        ({"dilations": (1, -1)}, "dilations of a neural effect"),
        ({"kernel": 2.5}, "kernel of a neural effect"),
    ):
        with pytest.raises(SettingsError, match=message):
            effect(**changed)


def test_it_stands_in_a_chain_and_says_that_pedalboard_lacks_it() -> None:
    chain = Chain(amp=effect(), level=Gain(RATE))
    assert chain.spec.names == ("amp.condition_1", "amp.condition_2", "level.gain_db")
    assert chain(torch.randn(1, 1, 50), chain.spec.default()[None]).shape == (1, 1, 50)
    with pytest.raises(PresetError, match="NeuralEffect cannot be carried into Pedalboard: it has no plugin"):
        chain.plugins({name: p.default for name, p in chain.spec})
