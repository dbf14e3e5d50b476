"""The adapter for CLAP models, with models of the real class whose weights are random."""

from pathlib import Path

import pytest
import torch

import diffmix
from diffmix.transferring import describing
from diffmix.transferring.describing import Clap
from tests.transferring.stand_in import RATE, song

pytest.importorskip("transformers", reason="extra `text`")


def small_model(folder: Path, fused: bool) -> Path:
    """A CLAP model of some ten thousand random weights, with what it hears and reads by."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer

    torch.manual_seed(0)
    text = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 37, "max_position_embeddings": 64}
    audio = {"hidden_size": 64, "patch_embeds_hidden_size": 8, "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}
    config = ClapConfig(text_config=text, audio_config={**audio, "enable_fusion": fused}, projection_dim=16)
    ClapModel(config).save_pretrained(folder)
    letters = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz\u0120", "<mask>"]
    reads = RobertaTokenizer(vocab={letter: n for n, letter in enumerate(letters)}, merges=[])
    hears = ClapFeatureExtractor(truncation="fusion" if fused else "rand_trunc")
    ClapProcessor(hears, reads).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("fused", [False, True])
def test_a_model_from_a_folder_hears_and_reads_and_says_the_same_again(fused: bool, tmp_path: Path) -> None:
    clap = Clap(small_model(tmp_path, fused))
    assert isinstance(clap, describing.Embedding)
    x = 0.1 * torch.randn(3, clap.sample_rate // 2)
    heard = clap.audio(x)
    assert heard.shape == (3, 16)
    assert heard.isfinite().all()
    for n in range(3):  # the same in any company
        assert torch.allclose(clap.audio(x[n : n + 1])[0], heard[n], atol=1e-5)
    long = 0.1 * torch.randn(1, 11 * clap.sample_rate)
    assert torch.equal(clap.audio(long), clap.audio(long[:, : 10 * clap.sample_rate]))
    words = clap.text(["this sound is warm", "dull"])
    assert words.shape == (2, 16)
    assert torch.allclose(clap.text(["dull"])[0], words[1], atol=1e-5)


def test_a_recording_is_described_by_a_model_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "GENERATIONS", {"fast": 1})
    folder = small_model(tmp_path, False)
    made, again = (
        diffmix.describe(song(1.0), "warm and close", folder, sample_rate=RATE, quality="fast") for _ in range(2)
    )
    assert made.belief.expected <= 1
    assert made.settings == again.settings
