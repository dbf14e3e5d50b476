"""DeepAFx-ST's networks: their published sizes, and what they must not depend on."""

import pytest
import torch

from diffmix.errors import SettingsError
from diffmix.estimators.conditional_tcn import ConditionalTCN
from diffmix.estimators.efficientnet import EfficientNet
from diffmix.estimators.style_encoder import PairController, StyleEncoder


def test_efficientnet_has_the_papers_sizes() -> None:
    """B2 has 9 109 994 parameters, of which 1 409 000 are its classifier's and 576 those of two further channels."""
    network = EfficientNet(1.1, 1.2)
    assert network.size == 1408
    assert sum(p.numel() for p in network.parameters()) == 9_109_994 - 1_409_000 - 576
    assert sum(p.numel() for p in EfficientNet(1, 1).parameters()) == 5_288_548 - 1_281_000 - 576  # B0


def test_embeddings_have_length_one_and_do_not_depend_on_the_batch() -> None:
    encoder = StyleEncoder(0.1, 0.1, 16, n_fft=512, hop=256).train()
    x = 0.1 * torch.randn(3, 6000)
    embedded = encoder(x)
    assert torch.allclose(embedded.norm(dim=1), torch.ones(3))
    assert torch.allclose(encoder(x[1:2]), embedded[1:2], atol=1e-5)
    assert encoder(torch.zeros(1, 100)).isfinite().all()
    silent = torch.zeros(1, 6000, requires_grad=True)
    encoder(silent).sum().backward()
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


def test_the_window_can_be_learned() -> None:
    for trainable in (False, True):
        encoder = StyleEncoder(0.1, 0.1, 8, n_fft=512, hop=256, trainable_window=trainable)
        assert ("window" in dict(encoder.named_parameters())) is trainable
    encoder(torch.randn(1, 2000)).sum().backward()
    assert encoder.window.grad is not None
    assert encoder.window.grad.any()


def test_blocks_are_dropped_in_training_only() -> None:
    network = EfficientNet(0.1, 1.0, "group", drop=0.9)
    x = torch.randn(2, 1, 32, 32)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_a_controller_starts_near_its_start() -> None:
    start = torch.tensor([0.0, 0.3, 0.9, 1.0])
    answered = PairController(start, 8)(torch.randn(50, 8), torch.randn(50, 8))
    assert (answered.mean(0) - start).abs().max() < 0.1
    assert answered.std(0).min() > 0


def test_a_tcn_reaches_as_far_back_as_it_says() -> None:
    paper = ConditionalTCN(24)
    assert paper.receptive_field == 7021
    network = ConditionalTCN(2, 4, 5, 3, 4).eval()
    assert network.receptive_field == 1 + 4 * (1 + 4 + 16)
    x = torch.zeros(1, 1, 300)
    u = torch.tensor([[0.2, 0.9]])
    still = network(x, u)
    x[..., 100] = 1
    touched = torch.nonzero((network(x, u) - still)[0, 0].abs() > 1e-9)[:, 0]
    assert touched[0] == 100
    assert 100 < touched[-1] < 100 + network.receptive_field
    assert not torch.allclose(network(x, 1 - u), network(x, u))
    stereo = network(x.expand(1, 2, -1), u)
    assert torch.allclose(stereo[:, :1], network(x, u), atol=1e-6)


def test_sizes_that_cannot_be_are_refused() -> None:
    for make, message in (
        (lambda: EfficientNet(9.0), "width and a depth"),
        (lambda: EfficientNet(norm="layer"), "norm is 'batch' or 'group'"),  # type: ignore[arg-type]
        (lambda: StyleEncoder(embedding=0), "embedding > 0"),
        (lambda: ConditionalTCN(0), "conditions of a conditional network"),
    ):
        with pytest.raises(SettingsError, match=message):
            make()
