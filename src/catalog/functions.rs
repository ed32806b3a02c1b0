//! What SQL gets besides tables: `soft_label`, `entropy`, `seeded_hash`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, Float32Array, Float32Builder, ListBuilder,
    StringBuilder, StructBuilder, UInt16Builder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Int64Type, UInt16Type};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;

use super::labels::Names;
use crate::label::soft_label::{scalars, top_k};
use crate::schema::topk_fields;

/// Registers them all; `names` are the classes that `soft_label` names.
pub(super) fn register(context: &SessionContext, names: Names) {
    context.register_udf(soft_label(names));
    context.register_udf(entropy());
    context.register_udf(crate::select::seeded_hash_udf());
}

/// Probabilities of row `i`; `None` where it has none.
fn probabilities(column: &ArrayRef) -> Result<impl Fn(usize) -> Option<Vec<f32>> + use<>> {
    let of = column.data_type();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let lists = match of {
        DataType::Null
        | DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..) => cast(column, &DataType::List(item)).ok(),
        _ => None,
    };
    let Some(lists) = lists else {
        return exec_err!("a list of probabilities is wanted, such as the column probs, not {of}");
    };
    Ok(move |i: usize| {
        let lists = lists.as_list::<i32>();
        lists.is_valid(i).then(|| {
            let row = lists.value(i);
            row.as_primitive::<Float32Type>().values().to_vec()
        })
    })
}

/// The k most probable classes of a row, of the column `probs` or the column `topk`.
type Best = Box<dyn Fn(usize, usize) -> Option<Vec<(u16, f32)>>>;

fn best(column: &ArrayRef) -> Result<Best> {
    if let DataType::List(item) = column.data_type()
        && item
            .data_type()
            .equals_datatype(&DataType::Struct(topk_fields()))
    {
        let column = Arc::clone(column);
        return Ok(Box::new(move |i, k| {
            let lists = column.as_list::<i32>();
            let entries = lists.is_valid(i).then(|| lists.value(i))?;
            let entries = entries.as_struct();
            let classes = entries.column_by_name("class")?;
            let ps = entries.column_by_name("p")?;
            let classes = classes.as_primitive_opt::<UInt16Type>()?.values();
            let ps = ps.as_primitive_opt::<Float32Type>()?.values();
            let pairs = classes.iter().copied().zip(ps.iter().copied());
            Some(pairs.take(k).collect())
        }));
    }
    let row = probabilities(column)?;
    Ok(Box::new(move |i, k| Some(top_k(&row(i)?, k).0)))
}

fn named_fields() -> Fields {
    Fields::from(vec![
        Field::new("class", DataType::UInt16, false),
        Field::new("label", DataType::Utf8, true),
        Field::new("p", DataType::Float32, false),
    ])
}

/// `soft_label(probs, k)` or `soft_label(probs, k, teacher)`: the k most probable classes, most probable first, as a list of (class, label, p). The
/// teacher, as the column of this name has it, gives the labels.
fn soft_label(names: Names) -> ScalarUDF {
    let entry = Arc::new(Field::new("item", DataType::Struct(named_fields()), true));
    let signature = [TypeSignature::Any(2), TypeSignature::Any(3)];
    let udf = SimpleScalarUDF::new_with_signature(
        "soft_label",
        Signature::one_of(signature.to_vec(), Volatility::Immutable),
        DataType::List(entry),
        Arc::new(move |args: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(args)?;
            let best = best(&arrays[0])?;
            let k = cast(&arrays[1], &DataType::Int64)?;
            let k = k.as_primitive::<Int64Type>();
            let teachers = arrays
                .get(2)
                .map(|a| cast(a, &DataType::Utf8))
                .transpose()?;
            let teachers = teachers.as_ref().map(AsArray::as_string::<i32>);
            let fields: Vec<Box<dyn ArrayBuilder>> = vec![
                Box::new(UInt16Builder::new()),
                Box::new(StringBuilder::new()),
                Box::new(Float32Builder::new()),
            ];
            let mut lists = ListBuilder::new(StructBuilder::new(named_fields(), fields));
            for i in 0..k.len() {
                let k = if k.is_valid(i) { k.value(i) } else { 0 };
                let Some(top) = best(i, usize::try_from(k).unwrap_or(0)) else {
                    lists.append_null();
                    continue;
                };
                let teacher = teachers.filter(|t| t.is_valid(i)).map(|t| t.value(i));
                let labels = teacher.and_then(|teacher| names.get(teacher));
                for (class, p) in top {
                    let label = labels.and_then(|l| l.get(usize::from(class)));
                    let entry = lists.values();
                    if let Some(classes) = entry.field_builder::<UInt16Builder>(0) {
                        classes.append_value(class);
                    }
                    if let Some(labels) = entry.field_builder::<StringBuilder>(1) {
                        labels.append_option(label);
                    }
                    if let Some(ps) = entry.field_builder::<Float32Builder>(2) {
                        ps.append_value(p);
                    }
                    entry.append(true);
                }
                lists.append(true);
            }
            Ok(ColumnarValue::Array(Arc::new(lists.finish())))
        }),
    );
    udf.into()
}

/// `entropy(probs)`: −Σ p ln p, in nats.
fn entropy() -> ScalarUDF {
    let udf = SimpleScalarUDF::new_with_signature(
        "entropy",
        Signature::any(1, Volatility::Immutable),
        DataType::Float32,
        Arc::new(|args: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(args)?;
            let row = probabilities(&arrays[0])?;
            let entropies: Float32Array = (0..arrays[0].len())
                .map(|i| Some(scalars(&row(i)?)?.entropy))
                .collect();
            Ok(ColumnarValue::Array(Arc::new(entropies)))
        }),
    );
    udf.into()
}
