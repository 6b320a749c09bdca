"""Network variants that a recipe names and no zoo offers."""

from __future__ import annotations

from timm.models import register_model
from timm.models.efficientnet import EfficientNet, _gen_mobilenet_v1


@register_model
def mobilenetv1_025(pretrained: bool = False, **kwargs: object) -> EfficientNet:
    """MobileNetV1 at a quarter of its width (arXiv 1704.04861, width multiplier 0.25).

    timm has widths 1.0 and 1.25 only; the function that builds them takes any.

    Raises:
        ValueError: `pretrained` is asked for; no weights are published with timm.
    """
    if pretrained:
        raise ValueError("mobilenetv1_025 has no published weights; use pretrained=False")
    model: EfficientNet = _gen_mobilenet_v1("mobilenetv1_025", 0.25, **kwargs)
    return model
