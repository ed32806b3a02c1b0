//! Back to a former teacher: a promotion of it, recorded as what it is.

use super::job::{Outcome, Promoted};
use super::{Kind, Promotion, PromotionError, record};
use crate::teacher::{self, TeacherError, TeacherRef};
use crate::workspace::Workspace;

/// Makes the teacher current again that was before the current one, or that of promotion `to`.
///
/// A rollback after a rollback goes further back, as undoing twice does: what a rollback went back to is the place from which the next one starts.
///
/// # Errors
/// [`PromotionError`], where there is nothing to go back to or another promotion came first.
pub async fn rollback(
    workspace: &Workspace,
    to: Option<u32>,
    note: Option<String>,
) -> Result<Promoted, PromotionError> {
    let history = record::history(workspace).await?;
    let last = history.last().ok_or(TeacherError::NonePromoted)?;
    let target = match to {
        Some(number) => origin(&history, find(&history, number)?)?,
        None => former(&history, last)?,
    };
    if target.teacher == last.teacher {
        return Ok(Promoted {
            outcome: Outcome::AlreadyCurrent,
            promotion: last.clone(),
        });
    }
    let wanted: TeacherRef = target.teacher.parse()?;
    let teacher = teacher::get(workspace, &wanted).await?.record;
    let promotion = Promotion {
        to: Some(target.number),
        note,
        ..Promotion::after(Some(last), Kind::Rollback, &teacher)
    };
    promotion.commit(workspace).await?;
    Ok(Promoted {
        outcome: Outcome::Promoted,
        promotion,
    })
}

fn find(history: &[Promotion], number: u32) -> Result<&Promotion, PromotionError> {
    history
        .iter()
        .find(|p| p.number == number)
        .ok_or(PromotionError::UnknownNumber { number })
}

/// The promotion that a record stands for: itself, or what it went back to.
fn origin<'a>(
    history: &'a [Promotion],
    record: &'a Promotion,
) -> Result<&'a Promotion, PromotionError> {
    record.to.map_or(Ok(record), |to| find(history, to))
}

/// What was current before the promotion that the last record stands for.
fn former<'a>(
    history: &'a [Promotion],
    last: &'a Promotion,
) -> Result<&'a Promotion, PromotionError> {
    let made = origin(history, last)?;
    let before = history.iter().rfind(|p| p.number < made.number);
    let before = before.ok_or_else(|| PromotionError::NoFormer {
        teacher: last.teacher.clone(),
    })?;
    origin(history, before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teacher::TeacherRecord;

    /// A history of `teacher` or `teacher<number`, oldest first.
    fn history(records: &[(&str, Option<u32>)]) -> Vec<Promotion> {
        let mut history: Vec<Promotion> = Vec::new();
        for (name, to) in records {
            let teacher = TeacherRecord {
                name: (*name).to_owned(),
                version: 1,
                model_sha256: String::new(),
                model_bytes: 0,
                config_sha256: String::new(),
                classes: 2,
                description: None,
                understudy: String::new(),
            };
            let next = Promotion {
                to: *to,
                ..Promotion::after(history.last(), Kind::Promotion, &teacher)
            };
            history.push(next);
        }
        history
    }

    #[test]
    fn rollbacks_go_further_back_each_time_and_not_to_and_fro() {
        let back = |records: &[(&str, Option<u32>)]| {
            let history = history(records);
            let last = history.last().unwrap();
            former(&history, last)
                .map(|p| p.number)
                .map_err(|e| e.to_string())
        };
        let (a, b, c) = (("a", None), ("b", None), ("c", None));
        assert_eq!(back(&[a, b, c]), Ok(2));
        assert_eq!(back(&[a, b, c, ("b", Some(2))]), Ok(1));
        // c came after the rollback to a, so a is what was before it.
        assert_eq!(back(&[a, b, ("a", Some(1)), c]), Ok(1));
        let none = Err("no teacher was current before `a@1`".to_owned());
        assert_eq!(back(&[a, b, ("a", Some(1))]), none);
        assert_eq!(back(&[a]), none);
    }
}
