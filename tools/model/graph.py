# SPDX-License-Identifier: Apache-2.0
"""Build the ONNX graphs, fp32 and int8, from the list of convolutions.

The int8 graph is made so that OpenVINO's CPU plugin runs every layer in int8 with nothing in between:
- it takes the uint8 pixels as they come, [batch, height, width, channel]; no normalising or copying is left;
- all tensors are in stored units (see quantise.py): rounding to uint8 is all that is between two layers;
- the classifier multiplies int8 as well, but its sums stay wide: logits, and so scores, do not come in steps.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calibrate import PIXELS
from network import CLASSES, SIZE
from quantise import narrow

OPSET, IR_VERSION = 17, 8  # old enough for every runtime in use


class Builder:
    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(self, conv, source, weight):
        inputs = [source, weight, self.constant(f"{conv.name}.bias", conv.bias)]
        shape = {"kernel_shape": conv.weight.shape[2:], "strides": [conv.stride] * 2, "pads": conv.pads}
        return self.node("Conv", inputs, f"{conv.name}.conv", group=conv.groups, **shape)

    def features(self, source):
        return self.node("Flatten", [self.node("GlobalAveragePool", [source], "pool")], "features")

    def classifier(self, source, weight, bias):
        return self.node("Gemm", [source, weight, self.constant("classifier.bias", bias)], "logits", transB=1)

    def int8_weight(self, name, weight):
        stored, scale = narrow(weight)
        inputs = [
            self.constant(f"{name}.weight.stored", stored),
            self.constant(f"{name}.weight.scale", scale),
            self.constant(f"{name}.weight.zero_point", np.zeros(len(scale), np.int8)),
        ]
        return self.node("DequantizeLinear", inputs, f"{name}.weight", axis=0)

    def model(self, image_type, image_shape, outputs):
        images = helper.make_tensor_value_info("images", image_type, ["batch", *image_shape])
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, "efficientnet-lite0", [images], outputs, self.constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="imago")
        onnx.checker.check_model(model)
        return model


def fp32_graph(network, watch=False):
    """With watch, what calibration needs to know of each tensor is an output as well."""
    g = Builder()
    limits = [g.constant("zero", np.float32(0)), g.constant("six", np.float32(6))]
    source, tensors, outputs = "images", {}, {"logits": ["batch", CLASSES]}
    for conv in network.convs:
        source = g.conv(conv, source, g.constant(f"{conv.name}.weight", conv.weight))
        if conv.relu6:
            source = g.node("Clip", [source, *limits], f"{conv.name}.relu6")
        if conv.adds:
            source = g.node("Add", [source, tensors[conv.adds]], f"{conv.name}.sum")
        tensors[conv.name] = source
        if watch:
            low = g.node("ReduceMin", [source], f"{conv.name}.low", axes=[1, 2, 3], keepdims=0)
            high = g.node("ReduceMax", [source], f"{conv.name}.high", axes=[1, 2, 3], keepdims=0)
            mean = g.node("ReduceMean", [source], f"{conv.name}.mean", axes=[2, 3], keepdims=0)
            outputs |= {low: ["batch"], high: ["batch"], mean: ["batch", len(conv.bias)]}
    weight = g.constant("classifier.weight", network.classifier_weight)
    g.classifier(g.features(source), weight, network.classifier_bias)
    return g.model(TensorProto.FLOAT, [3, SIZE, SIZE], outputs)


def int8_graph(network):
    """network must be in stored units."""
    g = Builder()
    one, zero = g.constant("one", np.float32(1)), g.constant("zero", np.uint8(0))
    middle = g.constant("images.zero_point", np.uint8(PIXELS.zero_point))
    source = g.node("DequantizeLinear", ["images", one, middle], "images.centred")
    source = g.node("Transpose", [source], "images.planes", perm=[0, 3, 1, 2])
    tensors = {}
    for conv in network.convs:
        source = g.conv(conv, source, g.int8_weight(conv.name, conv.weight))
        if conv.adds:
            source = g.node("Add", [source, tensors[conv.adds]], f"{conv.name}.sum")
        stored = g.node("QuantizeLinear", [source, one, zero], f"{conv.name}.stored")
        source = tensors[conv.name] = g.node("DequantizeLinear", [stored, one, zero], conv.name)
    step = g.constant("features.step", np.float32(network.features_step))
    stored = g.node("QuantizeLinear", [g.features(source), step, zero], "features.stored")
    features = g.node("DequantizeLinear", [stored, one, zero], "features.widened")
    g.classifier(features, g.int8_weight("classifier", network.classifier_weight), network.classifier_bias)
    return g.model(TensorProto.UINT8, [SIZE, SIZE, 3], {"logits": ["batch", CLASSES]})
