"""EfficientNet-Lite0 (ImageNet-1k) from its PyTorch weights to ONNX.

usage: lite0_to_onnx.py efficientnet-lite0.pth lite0.onnx

Input `input` [N, 3, 224, 224] Float32: a centre crop of 224/256 of the short side, bicubic to 224, RGB, (x − 127) / 128.
Output `logits` [N, 1000]. The architecture is Tan and Le's EfficientNet-B0 without squeeze-excitation and with ReLU6 for swish, as
TensorFlow's "lite" variants; batch normalisation is folded into the convolutions.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from read_pth import load

#: Repeats, kernel, stride of the first, expansion, channels out (EfficientNet-B0, Table 1 of Tan and Le 2019).
STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]
STEM_CHANNELS = 32
BATCH_NORM_EPSILON = 1e-3


class Graph:
    """Collects nodes and initializers, and notes which weights were taken."""

    def __init__(self, weights):
        self.weights = weights
        self.taken = set()
        self.nodes = []
        self.initializers = []

    def weight(self, name):
        self.taken.add(name)
        return self.weights[name]

    def constant(self, array):
        name = f"w{len(self.initializers)}"
        array = np.ascontiguousarray(array, dtype=np.float32)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind, inputs, output=None, **attributes):
        output = output or f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(self, x, weight, norm, stride=1, groups=1, activation=True):
        """A convolution with its batch normalisation folded in, TensorFlow's SAME padding, and ReLU6."""
        kernel = self.weight(f"{weight}.weight")
        scale = self.weight(f"{norm}.weight") / np.sqrt(self.weight(f"{norm}.running_var") + BATCH_NORM_EPSILON)
        bias = self.weight(f"{norm}.bias") - self.weight(f"{norm}.running_mean") * scale
        size = kernel.shape[2]
        total = size - stride  # on an even input; an odd pixel more goes after
        before = total // 2
        pads = [before, before, total - before, total - before]
        y = self.node("Conv", [x, self.constant(kernel * scale[:, None, None, None]), self.constant(bias)],
                      kernel_shape=[size, size], strides=[stride, stride], pads=pads, group=groups)
        if activation:
            y = self.node("Clip", [y, self.constant(np.array(0.0)), self.constant(np.array(6.0))])
        return y


def build(weights):
    g = Graph(weights)
    x = g.convolution("input", "_conv_stem", "_bn0", stride=2)
    channels, block = STEM_CHANNELS, 0
    for repeats, _, first_stride, expansion, out in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            name = f"_blocks.{block}."
            wide = channels * expansion
            y = x
            if expansion != 1:
                y = g.convolution(y, f"{name}_expand_conv", f"{name}_bn0")
            y = g.convolution(y, f"{name}_depthwise_conv", f"{name}_bn1", stride, wide)
            y = g.convolution(y, f"{name}_project_conv", f"{name}_bn2", activation=False)
            x = g.node("Add", [y, x]) if stride == 1 and channels == out else y
            channels, block = out, block + 1
    x = g.convolution(x, "_conv_head", "_bn1")
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x])], axis=1)
    g.node("Gemm", [x, g.constant(g.weight("_fc.weight")), g.constant(g.weight("_fc.bias"))], "logits", transB=1)
    left = {n for n in weights if not n.endswith("num_batches_tracked")} - g.taken
    if left:
        sys.exit(f"error: weights without a place in the graph: {', '.join(sorted(left))}")
    graph = helper.make_graph(
        g.nodes, "efficientnet-lite0",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
        g.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="understudy")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    onnx.save(build(load(sys.argv[1])), sys.argv[2])
