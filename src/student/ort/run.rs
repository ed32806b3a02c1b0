//! One call into ONNX Runtime's training API that `ort` 2.0.0-rc.15 has no working form of: its `Trainer::step` and `Trainer::eval_step` run the model and
//! then panic, for they wrap the outputs without the allocator that tensors need. The same call, with the allocator.

#![allow(unsafe_code, reason = "the only way to a training step's outputs")]

use std::ptr::{self, NonNull};

use ort::AsPointer as _;
use ort::memory::Allocator;
use ort::training::{Trainer, training_api};
use ort::value::{DynValue, TensorRef};

/// Which model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Forward and backward.
    Train,
    /// Forward.
    Eval,
}

/// Runs a pass with these inputs, in the order of the model, and gives its first outputs.
pub(super) fn run<const OUTPUTS: usize>(
    trainer: &Trainer,
    pass: Pass,
    inputs: &[TensorRef<'_, f32>],
) -> ort::Result<[DynValue; OUTPUTS]> {
    let api = training_api()?;
    let step = match pass {
        Pass::Train => api.TrainStep,
        Pass::Eval => api.EvalStep,
    };
    let inputs: Vec<_> = inputs.iter().map(|tensor| tensor.ptr()).collect();
    let mut outputs = [ptr::null_mut(); OUTPUTS];
    // SAFETY: `trainer` owns a live training session, which only one thread has since `Trainer` is not `Send`; the pointer is const in `ort`'s signature alone. `inputs` point to
    // tensors that are borrowed for this call, and the library copies nothing that outlives it. `outputs` has room for as many as it is told to fill, and null asks it to
    // allocate them. Wrong numbers of either are an error status, not undefined behaviour.
    unsafe {
        ort::Error::result_from_status(step(
            trainer.ptr().cast_mut(),
            ptr::null(),
            inputs.len(),
            inputs.as_ptr(),
            OUTPUTS,
            outputs.as_mut_ptr(),
        ))?;
    }
    let allocator = Allocator::default();
    let mut values = Vec::with_capacity(OUTPUTS);
    for output in outputs {
        let output = NonNull::new(output)
            .ok_or_else(|| ort::Error::new("the training step gave no output"))?;
        // SAFETY: the library has just made this value and handed it over; on the CPU its tensors come from the default allocator.
        values.push(unsafe { DynValue::from_ptr(output, Some(&allocator)) });
    }
    values
        .try_into()
        .map_err(|_| ort::Error::new("the training step gave too few outputs"))
}
