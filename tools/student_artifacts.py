"""Turns a forward graph into what ONNX Runtime trains with: training, eval and optimizer model, and a checkpoint.

usage: student_artifacts.py FORWARD.onnx SETTINGS.json FOLDER
       student_artifacts.py --check

ONNX Runtime's gradient builder can be reached from Python only, so `understudy student init` runs this once a student; training itself needs no Python.

FORWARD.onnx   inputs `input`, `dropout` and perhaps `depth`, output `logits` [N, classes]; the weights are its first values
SETTINGS.json  {"trainable": [names], "frozen": [names],
                "optimizer": {"kind": "adamw", "beta1": …, "beta2": …, "epsilon": …, "weight_decay": …} or {"kind": "sgd"},
                "clip_norm": null or the longest that a gradient may be}
FOLDER         gets training_model.onnx, eval_model.onnx, optimizer_model.onnx and checkpoint

The loss of a batch is Σ weight[n] · −Σ target[n, c] · log softmax(logits[n])[c], with `target` [N, classes] and `weight` [N] as further inputs. A weight of 1 / N gives
the mean over the batch; other weights give the sum of several means, or a step that is accumulated over several batches. Both models put out the loss, then the logits.
Prints as JSON which versions did it. --check prints them, and does nothing else.
"""

import importlib.util
import json
import platform
import sys
import types
from pathlib import Path

#: The last release with the training API, and the newest `onnx` that it reads. tools/requirements-student.txt pins the same.
ONNXRUNTIME = "1.19.2"


def fail(text):
    """Ends with what is wrong."""
    sys.exit(f"error: {text}")


def load_packages():
    """Imports what the tool needs. The training package's own __init__ imports PyTorch, which nothing here needs, so it is passed over."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        fail(f"{sys.executable} (Python {platform.python_version()}) lacks a package: {error}")
    if onnxruntime.__version__ != ONNXRUNTIME:
        fail(f"{sys.executable} has onnxruntime {onnxruntime.__version__}, not {ONNXRUNTIME}")
    folder = Path(onnxruntime.__file__).parent / "training"
    if importlib.util.find_spec("onnxruntime.training") is None or not folder.is_dir():
        fail(f"the onnxruntime of {sys.executable} is built without training: onnxruntime-training-cpu is needed")
    package = types.ModuleType("onnxruntime.training")
    package.__path__ = [str(folder)]
    sys.modules["onnxruntime.training"] = package
    onnxruntime.training = package
    from onnxruntime.training import onnxblock

    return onnx, onnxblock


def training_block(onnx, onnxblock, classes):
    """The loss on top of `logits`, as a block that the gradient is built for."""
    helper, tensor = onnx.helper, onnx.TensorProto

    class WeightedCrossEntropy(onnxblock.TrainingBlock):
        def build(self, logits):
            graph = self.base.graph
            graph.input.append(helper.make_tensor_value_info("target", tensor.FLOAT, ["N", classes]))
            graph.input.append(helper.make_tensor_value_info("weight", tensor.FLOAT, ["N"]))
            graph.initializer.append(helper.make_tensor("loss.class_axis", tensor.INT64, [1], [1]))
            graph.initializer.append(helper.make_tensor("loss.row_axis", tensor.INT64, [1], [0]))
            for kind, inputs, output, attributes in (
                ("LogSoftmax", [logits], "loss.log_softmax", {"axis": -1}),
                ("Mul", ["loss.log_softmax", "target"], "loss.products", {}),
                ("ReduceSum", ["loss.products", "loss.class_axis"], "loss.rows", {"keepdims": 0}),
                ("Mul", ["loss.rows", "weight"], "loss.weighted", {}),
                ("ReduceSum", ["loss.weighted", "loss.row_axis"], "loss.sum", {"keepdims": 0}),
                ("Neg", ["loss.sum"], "loss", {}),
            ):
                graph.node.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
            return ["loss", logits]

    return WeightedCrossEntropy()


def optimizer_block(onnxblock, optimizer, clip_norm):
    """The optimizer as a block."""
    clip = None if clip_norm is None else onnxblock.optim.ClipGradNorm(clip_norm)
    if optimizer["kind"] == "sgd":
        return onnxblock.optim.SGD(clip_grad=clip)
    return onnxblock.optim.AdamW(
        betas=(optimizer["beta1"], optimizer["beta2"]), eps=optimizer["epsilon"], weight_decay=optimizer["weight_decay"], clip_grad=clip)


def generate(onnx, onnxblock, forward, settings, folder):
    """Writes the four files."""
    model = onnx.load(forward)
    (logits,) = model.graph.output
    block = training_block(onnx, onnxblock, logits.type.tensor_type.shape.dim[1].dim_value)
    for name in settings["trainable"]:
        block.requires_grad(name)
    for name in settings["frozen"]:
        block.requires_grad(name, False)
    with onnxblock.base(model):
        block(logits.name)
        training_model, eval_model = block.to_model_proto()
        parameters = block.parameters()
    optimizer = optimizer_block(onnxblock, settings["optimizer"], settings["clip_norm"])
    (opset,) = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    with onnxblock.empty_base(opset_version=opset):
        optimizer(parameters)
        optimizer_model = optimizer.to_model_proto()
    for name, written in (("training_model", training_model), ("eval_model", eval_model), ("optimizer_model", optimizer_model)):
        onnx.save(written, folder / f"{name}.onnx")
    onnxblock.save_checkpoint(parameters, folder / "checkpoint")


def main():
    """Reads the arguments, generates, says with what."""
    onnx, onnxblock = load_packages()
    if sys.argv[1:] != ["--check"]:
        forward, settings, folder = map(Path, sys.argv[1:])
        generate(onnx, onnxblock, forward, json.loads(settings.read_text()), folder)
    json.dump({"python": platform.python_version(), "onnxruntime": ONNXRUNTIME, "onnx": onnx.__version__}, sys.stdout)


if __name__ == "__main__":
    main()
