"""The configuration of a MERT: what a published `config.json` says that this project's network can do."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

SAMPLE_RATE: Final = 24_000

_Size = Annotated[int, Field(ge=1, le=2**20)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0)]
# JSON has lists.
_Sizes = Annotated[tuple[_Size, ...], Field(strict=False, min_length=1, max_length=64)]
_Activation = Literal["gelu", "gelu_new", "relu", "selu"]


class MertConfig(BaseModel):
    """Fields of `config.json` by HuBERT's and MERT's names, with their defaults; a wrong value is a ValidationError.

    Fields that change nothing here are ignored, those of a computation that this network lacks are refused. Two are
    fixed whatever a file holds: `layerdrop` 0, since a dropped layer has no hidden state to be weighed, and
    `apply_spec_augment`, off until `MertModel.enable_spec_augment`.
    """

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, validate_default=True)

    sample_rate: Literal[24_000] = SAMPLE_RATE
    hidden_size: _Size = 768
    num_hidden_layers: Annotated[int, Field(ge=1, le=128)] = 12
    num_attention_heads: _Size = 12
    intermediate_size: _Size = 3072
    hidden_act: _Activation = "gelu"
    do_stable_layer_norm: bool = False
    layer_norm_eps: Annotated[float, Field(ge=0)] = 1e-5
    initializer_range: Annotated[float, Field(ge=0)] = 0.02
    hidden_dropout: _Share = 0.1
    activation_dropout: _Share = 0.1
    attention_dropout: _Share = 0.1
    layerdrop: Annotated[float, AfterValidator(lambda _: 0.0)] = 0.0

    conv_dim: _Sizes = (512,) * 7
    conv_kernel: _Sizes = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: _Sizes = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: _Activation = "gelu"
    feat_proj_layer_norm: bool = True
    feat_proj_dropout: _Share = 0.0
    num_conv_pos_embeddings: _Size = 128
    num_conv_pos_embedding_groups: _Size = 16

    apply_spec_augment: Annotated[bool, AfterValidator(lambda _: False)] = False
    mask_time_prob: _Share = 0.05
    mask_time_length: Annotated[int, Field(ge=1)] = 10
    mask_time_min_masks: _Count = 2
    # Nothing masks features, but with a probability above 0 a checkpoint has an embedding for masked frames.
    mask_feature_prob: _Share = 0.0

    feature_extractor_cqt: bool = False
    feature_extractor_cqt_bins: Annotated[int, Field(ge=7, le=1024)] = 336
    feature_extractor_cqt_fmin: Annotated[float, Field(ge=10, le=10_800)] = 32.7
    # None: the bins fill seven octaves, as in MERT's own code.
    feature_extractor_cqt_bins_per_octave: Annotated[int, Field(ge=1, le=192)] | None = None
    # log(1 + gamma * magnitude); MERT's own code takes the magnitudes as they are.
    feature_extractor_cqt_gamma: Annotated[float, Field(ge=0)] = 1.0

    # A softmax rewritten for stability, algebraically the plain one.
    attention_relax: float = -1.0
    deepnorm: Literal[False] = False
    conv_pos_batch_norm: Literal[False] = False
    adapter_attn_dim: None = None

    @field_validator("num_attention_heads", "num_conv_pos_embedding_groups")
    @classmethod
    def _divides(cls, count: int, info: ValidationInfo) -> int:
        if info.data.get("hidden_size", 0) % count:
            raise ValueError("hidden_size is no multiple of it")
        return count

    @field_validator("conv_kernel", "conv_stride")
    @classmethod
    def _as_many(cls, sizes: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if len(sizes) != len(info.data.get("conv_dim", sizes)):
            raise ValueError("conv_dim, conv_kernel and conv_stride are not of one length")
        return sizes

    def to_dict(self) -> dict[str, Any]:
        """The content of a `config.json`."""
        return {"model_type": "mert_model", **self.model_dump(mode="json")}

    def frame_count(self, samples: int) -> int:
        """T, the number of frames of a clip of `samples` samples."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples
