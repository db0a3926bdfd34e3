import pytest
from small_mert import model_params, published

from tarkib.models import build, card


def text(source: dict[str, object]) -> str:
    return card.write(
        source=source, mode="bpm", mixtures=10, trained_classes=["tar"], best_epoch=2, validation_roc_auc=0.9
    )


def test_the_card_says_which_weights_were_fine_tuned(tmp_path):
    published(tmp_path / "checkpoint")
    source = build(model_params(backbone=str(tmp_path / "checkpoint")), seed=0).source
    assert f"{tmp_path / 'checkpoint'} at {source['revision']}, fine-tuned (full)" in text(source)
    assert "or under the licence of the directory they came from" in text(source)
    published_source = {
        "name": "m-a-p/MERT-v1-95M",
        "revision": "ab" * 20,
        "finetune": "lora",
        "weights_licence": "CC X",
    }
    assert f"m-a-p/MERT-v1-95M at {'ab' * 20}, fine-tuned (lora)" in text(published_source)
    assert "under CC X: no commercial use" in text(published_source)


@pytest.mark.parametrize("name", ["mert-tiny-random", "mel-cnn"])
def test_a_random_start_has_no_revision_to_tell(name):
    assert f"**Made from**: {name}, fine-tuned (full)" in text(build(model_params(backbone=name), seed=0).source)
