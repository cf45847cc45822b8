# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-lite0 as a list of convolutions, with each batch-norm folded into its convolution.

Graph building and quantisation both walk this list, so the architecture is written once.
"""

from dataclasses import dataclass

import numpy as np

SIZE, CLASSES = 224, 1000
BATCH_NORM_EPSILON = 1e-3
# (repeat, kernel, stride of the first, expansion, channels in, channels out)
STAGES = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
]


@dataclass
class Conv:
    name: str
    weight: np.ndarray  # [out, in / groups, kernel, kernel]
    bias: np.ndarray  # [out]
    stride: int
    groups: int
    relu6: bool
    pads: list  # top, left, bottom, right
    adds: str | None = None  # the tensor added to the output: the block's input. A tensor has its conv's name


@dataclass
class Network:
    convs: list
    classifier_weight: np.ndarray  # [classes, features]
    classifier_bias: np.ndarray
    features_step: float | None = None  # of the classifier's input, when that is kept in 8 bits


def same_pads(size, kernel, stride):
    """TensorFlow's 'same' padding: when the total is odd, the extra row goes to the bottom right."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return [total // 2, total // 2, total - total // 2, total - total // 2]


def build_network(tensors):
    convs = []
    size = SIZE

    def add(name, conv, norm, stride, relu6, depthwise=False, adds=None):
        nonlocal size
        weight = tensors[f"{conv}.weight"].astype(np.float64)
        gamma, beta, mean, variance = (
            tensors[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        convs.append(
            Conv(
                name=name,
                weight=(weight * factor[:, None, None, None]).astype(np.float32),
                bias=(beta - mean * factor).astype(np.float32),
                stride=stride,
                groups=weight.shape[0] if depthwise else 1,
                relu6=relu6,
                pads=same_pads(size, weight.shape[2], stride),
                adds=adds,
            )
        )
        size = -(-size // stride)

    add("stem", "_conv_stem", "_bn0", 2, True)
    index = 0
    for repeat, _kernel, first_stride, expansion, _inputs, _outputs in STAGES:
        for nth in range(repeat):
            block, name = f"_blocks.{index}", f"block{index}"
            source = convs[-1].name
            if expansion > 1:
                add(f"{name}.expand", f"{block}._expand_conv", f"{block}._bn0", 1, True)
            stride = first_stride if nth == 0 else 1
            add(f"{name}.depthwise", f"{block}._depthwise_conv", f"{block}._bn1", stride, True, depthwise=True)
            add(f"{name}.project", f"{block}._project_conv", f"{block}._bn2", 1, False, adds=source if nth else None)
            index += 1
    add("head", "_conv_head", "_bn1", 1, True)
    return Network(convs, tensors["_fc.weight"], tensors["_fc.bias"])
