import librosa
import numpy as np
import torch

from tarkib.models.mel_cnn import MelCnn, MelCnnConfig


def test_filterbank_is_the_mel_filterbank():
    config = MelCnnConfig()
    expected = librosa.filters.mel(
        sr=24_000, n_fft=config.window, n_mels=config.bands, fmin=config.fmin, fmax=config.fmax, htk=True, norm=None
    )
    np.testing.assert_allclose(MelCnn(config).log_mel.filterbank.numpy(), expected, atol=1e-5)


def test_a_sine_is_loudest_in_its_band():
    network = MelCnn(MelCnnConfig())
    samples = torch.sin(2 * np.pi * 43 * torch.arange(24_000) / 1024)[None]
    bands = network.log_mel(samples)[0].mean(dim=-1)
    assert bands.argmax() == network.log_mel.filterbank[:, 43].argmax()


def test_one_hidden_state_of_a_clip():
    network = MelCnn(MelCnnConfig(channels=8)).eval()
    (state,) = network.all_hidden_states(torch.zeros(2, 120_000))
    assert state.shape == (2, 94, 8)
    assert (network.layer_count, network.hidden_size) == (1, 8)
    assert torch.isfinite(state).all()
