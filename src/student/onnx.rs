//! The part of ONNX's protobuf that a classifier needs: enough to write models, and to read initializers and inputs of those that others wrote.
//!
//! The field numbers are those of `onnx/onnx.proto` of onnx 1.16. Fields that are not named here are skipped when a model is read, and are
//! lost when it is written again.

use bytes::Bytes;
use prost::Message;

/// The operator set that models are written for: the newest whose operators the training build's gradients know (ONNX Runtime 1.19.2).
pub const OPSET: i64 = 15;
/// The version of the file format.
pub const IR_VERSION: i64 = 8;
/// `TensorProto.DataType`: 32-bit floats.
pub const FLOAT: i32 = 1;
/// `TensorProto.DataType`: 64-bit integers.
pub const INT64: i32 = 7;

/// `AttributeProto.AttributeType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AttributeKind {
    /// None; never written.
    Undefined = 0,
    /// `f`.
    Float = 1,
    /// `i`.
    Int = 2,
    /// `ints`.
    Ints = 7,
}

/// A whole file.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    /// [`IR_VERSION`].
    #[prost(int64, optional, tag = "1")]
    pub ir_version: Option<i64>,
    /// Who wrote it.
    #[prost(string, optional, tag = "2")]
    pub producer_name: Option<String>,
    /// Which version of it.
    #[prost(string, optional, tag = "3")]
    pub producer_version: Option<String>,
    /// The network.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// Which operators it is made of.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
}

/// A set of operators and its version.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct OperatorSetIdProto {
    /// Empty for ONNX's own.
    #[prost(string, optional, tag = "1")]
    pub domain: Option<String>,
    /// [`OPSET`].
    #[prost(int64, optional, tag = "2")]
    pub version: Option<i64>,
}

/// A network.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    /// In an order in which they can be run.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// For people.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// Weights and constants.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// What goes in.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// What comes out.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
}

/// An operator.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    /// Names of values.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of values.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Its own name.
    #[prost(string, optional, tag = "3")]
    pub name: Option<String>,
    /// `Conv`, `Gemm`, ….
    #[prost(string, optional, tag = "4")]
    pub op_type: Option<String>,
    /// How it works.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    /// Empty for ONNX's own operators.
    #[prost(string, optional, tag = "7")]
    pub domain: Option<String>,
}

/// An attribute of an operator.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    /// `strides`, `epsilon`, ….
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// A float.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// An integer.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// Integers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Which of them counts.
    #[prost(enumeration = "AttributeKind", optional, tag = "20")]
    pub r#type: Option<i32>,
}

/// A tensor with its values.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct TensorProto {
    /// Its shape; empty for a scalar.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// [`FLOAT`] or [`INT64`].
    #[prost(int32, optional, tag = "2")]
    pub data_type: Option<i32>,
    /// Its name.
    #[prost(string, optional, tag = "8")]
    pub name: Option<String>,
    /// The values, little-endian, the last axis fastest.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub raw_data: Option<Bytes>,
}

/// The name and type of an input or output.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Its type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// The type of a value. Sequences and maps are read as no tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    /// A tensor.
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

/// The type of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    /// [`FLOAT`] or [`INT64`].
    #[prost(int32, optional, tag = "1")]
    pub elem_type: Option<i32>,
    /// None where it may have any.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// A shape.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    /// One an axis.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// The extent of an axis: a number, or a name.
#[derive(Clone, PartialEq, Message)]
pub struct DimensionProto {
    /// A fixed extent, or the name of one that may vary.
    #[prost(oneof = "Extent", tags = "1, 2")]
    pub value: Option<Extent>,
}

/// See [`DimensionProto`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Extent {
    /// Fixed.
    #[prost(int64, tag = "1")]
    Value(i64),
    /// May vary.
    #[prost(string, tag = "2")]
    Param(String),
}

impl NodeProto {
    /// An operator with one output, which gives it its name.
    pub fn new(kind: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> Self {
        Self {
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(kind.to_owned()),
            attribute,
            domain: None,
        }
    }
}

impl AttributeProto {
    /// A float.
    pub fn float(name: &str, value: f32) -> Self {
        Self {
            name: Some(name.to_owned()),
            f: Some(value),
            r#type: Some(AttributeKind::Float.into()),
            ..Self::default()
        }
    }

    /// An integer.
    pub fn int(name: &str, value: i64) -> Self {
        Self {
            name: Some(name.to_owned()),
            i: Some(value),
            r#type: Some(AttributeKind::Int.into()),
            ..Self::default()
        }
    }

    /// Integers.
    pub fn ints(name: &str, values: &[usize]) -> Self {
        Self {
            name: Some(name.to_owned()),
            ints: values.iter().map(|v| *v as i64).collect(),
            r#type: Some(AttributeKind::Ints.into()),
            ..Self::default()
        }
    }
}

impl TensorProto {
    /// 32-bit floats of a shape; there have to be as many as it says.
    pub fn floats(name: &str, dims: &[usize], values: &[f32]) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        Self::raw(
            name,
            dims,
            FLOAT,
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    }

    /// 64-bit integers of a shape.
    pub fn int64s(name: &str, dims: &[usize], values: &[i64]) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        Self::raw(
            name,
            dims,
            INT64,
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    }

    fn raw(name: &str, dims: &[usize], data_type: i32, data: Vec<u8>) -> Self {
        Self {
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: Some(data_type),
            name: Some(name.to_owned()),
            raw_data: Some(data.into()),
        }
    }

    /// The values of a tensor of 32-bit floats that are stored in `raw_data`; none of any other.
    pub fn as_floats(&self) -> Option<Vec<f32>> {
        let data = self.raw_data.as_ref()?;
        let extents = self.dims.iter().map(|d| usize::try_from(*d).ok());
        let count = extents
            .into_iter()
            .try_fold(1, |n: usize, d| n.checked_mul(d?))?;
        let (chunks, rest) = data.as_chunks::<4>();
        (self.data_type == Some(FLOAT) && rest.is_empty() && chunks.len() == count)
            .then(|| chunks.iter().map(|c| f32::from_le_bytes(*c)).collect())
    }
}

impl ValueInfoProto {
    /// A tensor of 32-bit floats [N, …]: N may vary, the others are fixed.
    pub fn batch(name: &str, dims: &[usize]) -> Self {
        let first = Extent::Param("N".to_owned());
        let rest = dims.iter().map(|d| Extent::Value(*d as i64));
        let dim = std::iter::once(first)
            .chain(rest)
            .map(|extent| DimensionProto {
                value: Some(extent),
            })
            .collect();
        Self {
            name: Some(name.to_owned()),
            r#type: Some(TypeProto {
                tensor_type: Some(TensorTypeProto {
                    elem_type: Some(FLOAT),
                    shape: Some(TensorShapeProto { dim }),
                }),
            }),
        }
    }
}

impl ModelProto {
    /// A model of this graph, for [`OPSET`].
    pub fn new(graph: GraphProto) -> Self {
        Self {
            ir_version: Some(IR_VERSION),
            producer_name: Some("understudy".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(OPSET),
            }],
        }
    }

    /// The file.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}
