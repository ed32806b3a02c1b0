//! What a training learns from, and what it is evaluated on: opened, listed, and held against the student's classes.

use std::sync::Arc;

use super::TrainError;
use super::config::TrainConfig;
use crate::config::Config;
use crate::labelled::Labelled;
use crate::pseudo::PseudoLabelled;
use crate::store::StorageOptions;
use crate::student::record::StudentRecord;
use crate::teacher::{Teacher, differing_classes};
use crate::workspace::Workspace;

/// What there is to learn from.
pub(super) struct Data {
    pub(super) labelled: Option<Arc<Labelled>>,
    pub(super) pseudo: Option<Arc<PseudoLabelled>>,
    pub(super) held_out: Option<Arc<Labelled>>,
    pub(super) classes: Vec<String>,
}

impl Data {
    /// Opens what there is to learn from, and to evaluate on. A selection's classes are those of its teacher; without one they are those of the teacher that `classes_of` names, or whose
    /// weights the training begins with, since the weights know classes by their place; and without that the labelled data say their own. Who names more than one has to mean the same.
    pub(super) async fn open(
        workspace: &Workspace,
        config: &Config,
        train: &TrainConfig,
        student: &StudentRecord,
        teachers: &[&Teacher],
        generation: Option<u32>,
        storage: &StorageOptions,
    ) -> Result<Self, TrainError> {
        let classes = student.config.classes;
        let pseudo = match &train.selection {
            None => None,
            Some(selection) => {
                let open = PseudoLabelled::open(
                    workspace, selection, classes, generation, config, storage,
                );
                Some(Arc::new(open.await?))
            }
        };
        let selection = train.selection.as_deref().unwrap_or_default();
        let of_selection = pseudo
            .iter()
            .map(|p| (selection.to_owned(), p.classes().to_vec()));
        let of_teachers = teachers.iter().map(|teacher| {
            (
                teacher.record.to_string(),
                teacher.config.classes.names.clone(),
            )
        });
        let said: Vec<_> = of_selection
            .chain(of_teachers)
            .filter(|(_, names)| !names.is_empty())
            .collect();
        for pair in said.windows(2) {
            let [(a, of_a), (b, of_b)] = pair else {
                continue;
            };
            if let Some(detail) = differing_classes(of_a, of_b) {
                return Err(TrainError::OtherClasses {
                    a: a.clone(),
                    b: b.clone(),
                    detail,
                });
            }
        }
        let mut names = said.into_iter().next().map(|(_, names)| names);
        let mut labelled = None;
        if let Some(data) = config.data.as_ref().filter(|d| !d.url.is_empty()) {
            let open = Labelled::open(data, names.as_deref(), config, storage);
            let open = open.await?;
            if open.classes().len() != classes {
                return Err(TrainError::Classes {
                    student: student.name.clone(),
                    found: classes,
                    of: data.url.clone(),
                    expected: open.classes().len(),
                });
            }
            names.get_or_insert_with(|| open.classes().to_vec());
            labelled = Some(Arc::new(open));
        }
        let names = names.unwrap_or_else(|| (0..classes).map(|n| n.to_string()).collect());
        let held_out = match &train.held_out {
            Some(data) => {
                let open = Labelled::open(data, Some(&names), config, storage);
                Some(Arc::new(open.await?))
            }
            None => None,
        };
        let empty = |of: &str| TrainError::Empty { of: of.to_owned() };
        match (&labelled, &pseudo) {
            (None, None) => Err(TrainError::NoData),
            (Some(labelled), _) if labelled.images() == 0 => Err(empty(labelled.url())),
            (_, Some(pseudo)) if pseudo.rows() == 0 => {
                Err(empty(train.selection.as_deref().unwrap_or_default()))
            }
            _ => Ok(Self {
                labelled,
                pseudo,
                held_out,
                classes: names,
            }),
        }
    }
}
