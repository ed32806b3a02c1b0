"""EfficientNet-Lite0 (ImageNet-1k, 75.1 % top-1) from its PyTorch weights to ONNX.

Input   `input`   [N, 3, 224, 224] Float32: a centre crop of 224/256 of the short side, bicubic to 224 × 224, RGB, (x − 127) / 128;
                  pipelines/teachers/efficientnet-lite0.toml says the same to understudy.
Output  `logits`  [N, 1000] Float32, before any softmax; the classes are pipelines/teachers/imagenet-1k.txt.

The architecture is EfficientNet-B0 (Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019,
table 1) with the changes of TensorFlow's "lite" models (github.com/tensorflow/tpu, models/official/efficientnet/lite): no
squeeze-and-excitation, and ReLU6 in place of swish. Batch normalisation is folded into the convolutions.

With --weights the weights are written as they are as well, under their PyTorch names, as the initializers of a graph without operators: what a student of the
architecture `efficientnet-lite0` can begin with.
"""

import argparse
import pickle
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Set

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from read_pth import load


class Stage(NamedTuple):
    """Inverted residual blocks in a row; only the first one changes the resolution and the channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(blocks=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(blocks=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(blocks=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(blocks=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(blocks=1, kernel=3, stride=1, expansion=6, channels=320),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
CLASSES = 1000
SIDE = 224
BATCH_NORM_EPSILON = 1e-3
OPSET = 17
IR_VERSION = 8
#: Counts training steps; inference has no use for it.
UNUSED_SUFFIX = ".num_batches_tracked"


class GraphBuilder:
    """Collects nodes and initializers, checks the shape of every weight, and remembers which were used."""

    def __init__(self, weights: Dict[str, np.ndarray]) -> None:
        self._weights = weights
        self._used: Set[str] = set()
        self.nodes: List[onnx.NodeProto] = []
        self.initializers: List[onnx.TensorProto] = []
        self._relu6_bounds = [self.constant("relu6.min", np.array(0.0)), self.constant("relu6.max", np.array(6.0))]

    def weight(self, name: str, *shape: int) -> np.ndarray:
        """A weight by its name; it has to have this shape."""
        if name not in self._weights:
            raise ValueError(f"the weights lack `{name}`")
        found = self._weights[name]
        if found.shape != shape:
            raise ValueError(f"`{name}` has shape {list(found.shape)}, not {list(shape)}")
        self._used.add(name)
        return found

    def unused(self) -> List[str]:
        """The weights that nothing asked for."""
        return sorted(name for name in self._weights if name not in self._used and not name.endswith(UNUSED_SUFFIX))

    def constant(self, name: str, array: np.ndarray) -> str:
        """Adds an initializer."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def node(self, kind: str, inputs: List[str], output: str, **attributes: object) -> str:
        """Adds an operator with one output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def relu6(self, x: str) -> str:
        """min(max(x, 0), 6)"""
        return self.node("Clip", [x, *self._relu6_bounds], f"{x}.relu6")

    def convolution(self, x: str, name: str, norm: str, *, inputs: int, outputs: int, kernel: int, stride: int = 1,
                    groups: int = 1) -> str:
        """A convolution with its batch normalisation `norm` folded in, and TensorFlow's SAME padding."""
        scale = self.weight(f"{norm}.weight", outputs) / np.sqrt(
            self.weight(f"{norm}.running_var", outputs) + np.float32(BATCH_NORM_EPSILON))
        bias = self.weight(f"{norm}.bias", outputs) - self.weight(f"{norm}.running_mean", outputs) * scale
        weight = self.weight(f"{name}.weight", outputs, inputs // groups, kernel, kernel) * scale[:, None, None, None]
        # SAME on an even input, as all inputs of a stride of 2 are here: the odd pixel goes to the right and to the bottom.
        total = kernel - stride
        before, after = total // 2, total - total // 2
        return self.node(
            "Conv", [x, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)], name,
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[before, before, after, after], group=groups)


def add_block(graph: GraphBuilder, x: str, name: str, stage: Stage, inputs: int, stride: int) -> str:
    """An inverted residual block: expand (1 × 1), depthwise, project (1 × 1); added to its input where the shapes agree."""
    wide = inputs * stage.expansion
    y = x
    if stage.expansion != 1:
        y = graph.relu6(graph.convolution(y, f"{name}._expand_conv", f"{name}._bn0", inputs=inputs, outputs=wide, kernel=1))
    y = graph.relu6(graph.convolution(y, f"{name}._depthwise_conv", f"{name}._bn1", inputs=wide, outputs=wide,
                                      kernel=stage.kernel, stride=stride, groups=wide))
    y = graph.convolution(y, f"{name}._project_conv", f"{name}._bn2", inputs=wide, outputs=stage.channels, kernel=1)
    return graph.node("Add", [y, x], f"{name}.add") if stride == 1 and inputs == stage.channels else y


def build(weights: Dict[str, np.ndarray]) -> onnx.ModelProto:
    """The whole network. Raises ValueError where a weight is missing, of another shape, or left over."""
    graph = GraphBuilder(weights)
    x = graph.relu6(graph.convolution("input", "_conv_stem", "_bn0", inputs=3, outputs=STEM_CHANNELS, kernel=3, stride=2))
    channels, block = STEM_CHANNELS, 0
    for stage in STAGES:
        for index in range(stage.blocks):
            x = add_block(graph, x, f"_blocks.{block}", stage, channels, stage.stride if index == 0 else 1)
            channels, block = stage.channels, block + 1
    x = graph.relu6(graph.convolution(x, "_conv_head", "_bn1", inputs=channels, outputs=HEAD_CHANNELS, kernel=1))
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x], "pool")], "features", axis=1)
    classifier = [graph.constant("_fc.weight", graph.weight("_fc.weight", CLASSES, HEAD_CHANNELS)),
                  graph.constant("_fc.bias", graph.weight("_fc.bias", CLASSES))]
    graph.node("Gemm", [x, *classifier], "logits", transB=1)
    if graph.unused():
        raise ValueError(f"weights without a place in the network: {', '.join(graph.unused())}")
    return finish(graph)


def finish(graph: GraphBuilder) -> onnx.ModelProto:
    """The graph as a checked model; the size of a batch stays open."""
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "efficientnet-lite0",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
            graph.initializers),
        opset_imports=[helper.make_opsetid("", OPSET)], producer_name="understudy", ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def as_they_are(weights: Dict[str, np.ndarray]) -> onnx.ModelProto:
    """The weights without the network."""
    tensors = [numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name)
               for name, array in weights.items() if not name.endswith(UNUSED_SUFFIX)]
    return helper.make_model(helper.make_graph([], "efficientnet-lite0-weights", [], [], tensors),
                             opset_imports=[helper.make_opsetid("", OPSET)], producer_name="understudy", ir_version=IR_VERSION)


def main() -> Optional[str]:
    """Converts; gives the message where it cannot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="efficientnet-lite0-….pth")
    parser.add_argument("model", type=Path, help="the ONNX file to write")
    parser.add_argument("--weights", dest="plain", type=Path, metavar="FILE", help="a second ONNX file to write, with the weights as they are")
    args = parser.parse_args()
    try:
        weights = load(args.weights)
        onnx.save(build(weights), args.model)
        if args.plain:
            onnx.save(as_they_are(weights), args.plain)
    except (OSError, ValueError, pickle.UnpicklingError) as error:
        return f"error: cannot convert `{args.weights}`: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
