//! Parameters ↔ an ONNX classifier: what is trained becomes a teacher, and a model's weights become where a student begins.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;

use super::config::StudentConfig;
use super::error::StudentError;
use super::graph::Form;
use super::onnx::ModelProto;
use super::trainer::ParameterInfo;

/// The student as an ONNX classifier, input `input` [N, 3, height, width] → output `logits` [N, classes]: the network without masks, batch normalisation with its running
/// statistics, filled with `values` (the trained parameters, or their moving averages) as `infos` say where they lie. A student of one channel takes the mean of the three.
///
/// # Errors
/// [`StudentError::Weights`] where a parameter of the network is not among them.
pub fn export(
    config: &StudentConfig,
    infos: &[ParameterInfo],
    values: &[f32],
) -> Result<Bytes, StudentError> {
    let graph = config.graph(Form::Inference);
    let model = graph.model(|parameter| {
        let info = infos
            .iter()
            .find(|info| info.name == parameter.name && info.dims == parameter.dims);
        let range = info.and_then(|info| values.get(info.range.clone()));
        range
            .map(<[f32]>::to_vec)
            .ok_or_else(|| StudentError::Weights {
                detail: format!("`{}` {:?} is missing", parameter.name, parameter.dims),
            })
    })?;
    Ok(model.to_bytes())
}

/// The weights of an ONNX model for these parameters (name and shape), one after the other: an exported student's, or those of another model with the same names. For those of a
/// trainer they are what [`super::trainer::StudentTrainer::write`] takes: a warm start.
///
/// # Errors
/// [`StudentError::Weights`], naming the first parameter that the model lacks or has in another shape.
pub fn weights<'a>(
    model: Bytes,
    parameters: impl Iterator<Item = (&'a str, &'a [usize])>,
) -> Result<Vec<f32>, StudentError> {
    let fail = |detail: String| StudentError::Weights { detail };
    let model = ModelProto::decode(model).map_err(|e| fail(format!("it is no ONNX file: {e}")))?;
    let graph = model.graph.unwrap_or_default();
    let named: HashMap<&str, _> = graph.initializer.iter().map(|t| (t.name(), t)).collect();
    let mut values = Vec::new();
    for (name, dims) in parameters {
        let tensor = named
            .get(name)
            .ok_or_else(|| fail(format!("it has no `{name}`")))?;
        let found = tensor.dims.iter().map(|d| usize::try_from(*d).ok());
        if !found.eq(dims.iter().map(|d| Some(*d))) {
            return Err(fail(format!(
                "its `{name}` has shape {:?}, the student's has {dims:?}",
                tensor.dims
            )));
        }
        let floats = tensor.as_floats().ok_or_else(|| {
            fail(format!(
                "its `{name}` is not of 32-bit floats in the file itself"
            ))
        })?;
        values.extend(floats);
    }
    Ok(values)
}
