"""Writes musicnn_reference.npz: what the network gives in TensorFlow, by its authors' own code.

    python musicnn_reference.py      # Python 3.11, tensorflow-cpu 2.15.1, librosa 0.11 and musicnn 0.1.0 (--no-deps)

The spectrogram is librosa's. The authors' code also rounds it to half precision before the logarithm, which is left
out here.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")


def clip(rate: int) -> np.ndarray:
    """Five seconds of 400 swelling sines, 40 to 7,500 Hz, RMS 0.1: the same sound at 16,000 and at 24,000 Hz."""
    rng = np.random.default_rng(0)
    time = np.arange(5 * rate) / rate
    sound = np.zeros(5 * rate)
    for hz in np.geomspace(40, 7500, 400):
        swell = 1 + np.cos(2 * np.pi * (rng.uniform(0.5, 8) * time + rng.random()))
        sound += swell * np.sin(2 * np.pi * (hz * time + rng.random()))
    sound *= np.sin(np.pi * time / 5)
    return (0.1 * sound / np.sqrt(np.square(sound).mean())).astype(np.float32)


def main() -> None:
    """Compute and write."""
    import librosa
    import musicnn
    import tensorflow as tf
    from musicnn import models

    tf.compat.v1.disable_eager_execution()
    frames = tf.compat.v1.placeholder(tf.float32, [None, 187, 96])
    training = tf.compat.v1.placeholder(tf.bool)
    logits, *_, penultimate = models.define_model(frames, training, "MTT_musicnn", 50)
    power = librosa.feature.melspectrogram(
        y=clip(16_000), sr=16_000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    )
    log_mel = np.log10(10_000 * power + 1).T
    with tf.compat.v1.Session() as session:
        tf.compat.v1.train.Saver().restore(session, f"{Path(musicnn.__file__).parent}/MTT_musicnn/")
        windows = np.stack([log_mel[:187], log_mel[-187:]])
        found = session.run([tf.sigmoid(logits), penultimate], {frames: windows, training: False})
    np.savez_compressed(FILE, tags=found[0], penultimate=found[1], log_mel=log_mel[::16].astype(np.float32))


if __name__ == "__main__":
    main()
