//! `||` of two texts as a function, which can be bounded, and gives what the operator does: null where one of them is.

use std::sync::Arc;

use arrow::compute::kernels::concat_elements::concat_elements_dyn;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result;
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

/// What it is called in a plan; SQL cannot.
pub(super) const NAME: &str = "||";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Concatenation {
    signature: Signature,
}

/// The function for an operator, and what else an expression is as it is.
pub(super) fn as_function(expr: Expr) -> Expr {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::StringConcat,
            right,
        }) => {
            let signature = Signature::any(2, Volatility::Immutable);
            let function = ScalarUDF::from(Concatenation { signature });
            Expr::ScalarFunction(ScalarFunction::new_udf(
                Arc::new(function),
                vec![*left, *right],
            ))
        }
        other => other,
    }
}

impl ScalarUDFImpl for Concatenation {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The operator's.
    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        let [left, right] = take_function_args(NAME, arguments)?;
        Ok(format!("{} || {}", left.schema_name(), right.schema_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let [left, right] = take_function_args(NAME, arguments)?;
        BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_result_type()
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [left, right] = take_function_args(NAME, arguments.arg_fields)?;
        let made = self.return_type(&[left.data_type().clone(), right.data_type().clone()])?;
        let nullable = left.is_nullable() || right.is_nullable();
        Ok(Arc::new(Field::new(NAME, made, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn simplify(&self, arguments: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let null = arguments.iter().find_map(|argument| match argument {
            Expr::Literal(value, _) if value.is_null() => Some(argument.clone()),
            _ => None,
        });
        Ok(match null {
            Some(null) => ExprSimplifyResult::Simplified(null),
            None => ExprSimplifyResult::Original(arguments),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ScalarFunctionArgs {
            args, number_rows, ..
        } = arguments;
        let one = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let constant = args.iter().all(one);
        let [left, right] = take_function_args(NAME, args)?;
        let rows = if constant { 1 } else { number_rows };
        let made = concat_elements_dyn(&left.into_array(rows)?, &right.into_array(rows)?)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?)
        } else {
            ColumnarValue::Array(made)
        })
    }
}
