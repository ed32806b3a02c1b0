//! The crate's error: one variant a stage, and what each means for the process.

use std::any::Any;

use crate::catalog::CatalogError;
use crate::child::ChildError;
use crate::config::ConfigError;
use crate::dataset::DatasetError;
use crate::evaluate::EvaluateError;
use crate::export::ExportError;
use crate::jobs::JobError;
use crate::label::LabelError;
use crate::labelled::LabelledError;
use crate::lineage::LineageError;
use crate::manifest::ManifestError;
use crate::pipeline::PipelineError;
use crate::promotion::PromotionError;
use crate::pseudo::PseudoError;
use crate::relabel::RelabelError;
use crate::report::ReportError;
use crate::runtime::RuntimeError;
use crate::select::SelectError;
use crate::serve::ServeError;
use crate::source::SourceError;
use crate::store::StoreError;
use crate::student::StudentError;
use crate::student::trainer::TrainerError;
use crate::teacher::TeacherError;
use crate::train::TrainError;
use crate::workspace::WorkspaceError;

/// Any error of understudy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pipeline or teacher file, or a flag's value.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A store or a URL.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A dataset's source.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A source of images.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A teacher.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The label stage.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// SQL.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A selection.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// An export.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Labelled data.
    #[error(transparent)]
    Labelled(#[from] LabelledError),
    /// Pseudo-labelled images.
    #[error(transparent)]
    Pseudo(#[from] PseudoError),
    /// An evaluation.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// A promotion.
    #[error(transparent)]
    Promotion(#[from] PromotionError),
    /// A lineage.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// A student.
    #[error(transparent)]
    Student(#[from] StudentError),
    /// A training.
    #[error(transparent)]
    Train(Box<TrainError>),
    /// A pipeline.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A server that cannot begin.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A re-labelling.
    #[error(transparent)]
    Relabel(#[from] RelabelError),
    /// A job.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A child of this process.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// Standard output or another local stream.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    /// `doctor` found something that has to be put right.
    #[error("{problems} of the checks failed")]
    Doctor {
        /// How many.
        problems: usize,
    },
    /// A command of an SQL session that is none.
    #[error("{detail}")]
    Command {
        /// What is wrong with it.
        detail: String,
    },
    /// Statements of standard input that failed; each said why in its place.
    #[error("{failed} of {count} statements failed")]
    Statements {
        /// How many failed.
        failed: u64,
        /// How many there were.
        count: u64,
        /// The exit code of the first that failed.
        code: u8,
    },
    /// A panic.
    #[error("it broke off: {detail}")]
    BrokeOff {
        /// What it said.
        detail: String,
    },
    /// Ctrl-C.
    #[error("interrupted; run the same command again to go on")]
    Interrupted,
}

/// The exit code of what Ctrl-C ended, or whoever may say so: a shell's for SIGINT. The same command goes on from there.
pub const INTERRUPTED: u8 = 130;

/// The exit code of a panic, as Rust has it.
const BROKE_OFF: u8 = 101;

/// Any result of understudy.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<TrainError> for Error {
    fn from(error: TrainError) -> Self {
        Self::Train(Box::new(error))
    }
}

impl Error {
    /// The process's exit code; the README documents them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Command { .. } => 2,
            Self::Store(e) => store_code(e),
            Self::Workspace(e) => workspace_code(e),
            Self::Dataset(e) => dataset_code(e),
            Self::Source(e) => source_code(e),
            Self::Manifest(e) => manifest_code(e),
            Self::Runtime(_) => 5,
            Self::Teacher(e) => teacher_code(e),
            Self::Label(e) => label_code(e),
            Self::Catalog(e) => catalog_code(e),
            Self::Select(e) => select_code(e),
            Self::Export(e) => export_code(e),
            Self::Report(e) => match e {
                ReportError::UnknownClass { .. } | ReportError::NothingKept { .. } => 3,
                ReportError::Query { .. } | ReportError::Chart { .. } => 1,
                ReportError::Manifest(e) => manifest_code(e),
                ReportError::Catalog(e) => catalog_code(e),
                ReportError::Job(e) => job_code(e),
                ReportError::Lineage(e) => lineage_code(e),
                ReportError::Dataset(e) => dataset_code(e),
                ReportError::Teacher(e) => teacher_code(e),
                ReportError::Workspace(e) => workspace_code(e),
                ReportError::Store(e) => store_code(e),
            },
            Self::Labelled(e) => labelled_code(e),
            Self::Pseudo(e) => pseudo_code(e),
            Self::Evaluate(e) => match e {
                EvaluateError::NoWorkspace { .. }
                | EvaluateError::NoConfig { .. }
                | EvaluateError::NeedlessConfig { .. }
                | EvaluateError::NoData => 2,
                EvaluateError::OtherClasses { .. }
                | EvaluateError::Nothing { .. }
                | EvaluateError::NothingCommon { .. } => 9,
                EvaluateError::Store(e) => store_code(e),
                EvaluateError::Predictions(_)
                | EvaluateError::Unreadable { .. }
                | EvaluateError::Vanished { .. }
                | EvaluateError::Plot { .. }
                | EvaluateError::Temporary(_) => 1,
            },
            Self::Promotion(e) => promotion_code(e),
            Self::Lineage(e) => lineage_code(e),
            Self::Student(e) => student_code(e),
            Self::Train(e) => train_code(e),
            Self::Pipeline(e) => match e {
                PipelineError::Config(_)
                | PipelineError::Part { .. }
                | PipelineError::Set { .. }
                | PipelineError::UnknownStage { .. }
                | PipelineError::UnknownRound { .. } => 2,
                PipelineError::Missing { .. } => 3,
                PipelineError::Temporary(_) => 1,
            },
            Self::Serve(e) => e.exit_code(),
            Self::Relabel(e) => match e {
                RelabelError::DoesNotFollow { .. } => 3,
                RelabelError::Promotion(e) => promotion_code(e),
                RelabelError::Dataset(e) => dataset_code(e),
                RelabelError::Teacher(e) => teacher_code(e),
                RelabelError::Workspace(e) => workspace_code(e),
            },
            Self::Job(e) => job_code(e),
            Self::Child(e) => e.exit_code(),
            Self::Output(_) => 1,
            Self::Doctor { .. } => 7,
            Self::Statements { code, .. } => *code,
            Self::BrokeOff { .. } => BROKE_OFF,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// What a panic said.
    pub fn broke_off(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::BrokeOff {
            detail: text.unwrap_or("without a word").to_owned(),
        }
    }

    /// The status that a server answers with. It follows from the exit code, since both say at whom the fault is: at who asked, at what is asked for, or here.
    pub fn http_status(&self) -> u16 {
        match self.exit_code() {
            2 => 400,
            3 => 404,
            4 => 502,
            5 | INTERRUPTED => 503,
            6 | 8 | 9 => 422,
            10 => 409,
            _ => 500,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(e) => e.hint(),
            Self::Store(e) => e.hint(),
            Self::Workspace(e) => e.hint(),
            Self::Dataset(e) => e.hint(),
            Self::Source(e) => e.hint(),
            Self::Manifest(e) => e.hint(),
            Self::Runtime(e) => e.hint(),
            Self::Teacher(e) => e.hint(),
            Self::Label(e) => e.hint(),
            Self::Catalog(e) => e.hint(),
            Self::Select(e) => e.hint(),
            Self::Labelled(e) => e.hint(),
            Self::Pseudo(e) => e.hint(),
            Self::Evaluate(e) => e.hint(),
            Self::Promotion(e) => e.hint(),
            Self::Lineage(e) => e.hint(),
            Self::Report(e) => e.hint(),
            Self::Export(e) => e.hint(),
            Self::BrokeOff { .. } => Some("this is a defect, or an object is damaged in a way that no reader expects: please report it with the lines above; what was committed stays".into()),
            Self::Command { .. } => Some("`\\?` lists the commands".into()),
            Self::Output(_) | Self::Doctor { .. } | Self::Statements { .. } | Self::Interrupted => {
                None
            }
            Self::Student(e) => e.hint(),
            Self::Train(e) => e.hint(),
            Self::Pipeline(e) => e.hint(),
            Self::Serve(e) => e.hint(),
            Self::Relabel(e) => e.hint(),
            Self::Job(e) => e.hint(),
            Self::Child(e) => e.hint(),
        }
    }

    /// The whole message, for people.
    pub fn text(&self) -> String {
        let hint = self
            .hint()
            .map_or(String::new(), |hint| format!("\nhint: {hint}\n"));
        format!("error: {self}\n{hint}")
    }

    /// Whether standard output was closed by its reader, as `| head` does.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

fn lineage_code(error: &LineageError) -> u8 {
    match error {
        LineageError::Ambiguous { .. } => 2,
        LineageError::Unknown { .. } => 3,
        LineageError::Catalog(e) => catalog_code(e),
        LineageError::Manifest(e) => manifest_code(e),
        LineageError::Teacher(e) => teacher_code(e),
        LineageError::Workspace(e) => workspace_code(e),
    }
}

fn job_code(error: &JobError) -> u8 {
    match error {
        JobError::Config(_) | JobError::BadKey { .. } => 2,
        JobError::Unknown { .. } => 3,
        JobError::OtherJob { .. } | JobError::Ended { .. } => 10,
        JobError::Busy { .. } => 1,
        JobError::Workspace(e) => workspace_code(e),
    }
}

fn promotion_code(error: &PromotionError) -> u8 {
    match error {
        PromotionError::Refused { .. } | PromotionError::Overtaken { .. } => 10,
        PromotionError::UnknownNumber { .. } | PromotionError::NoFormer { .. } => 3,
        PromotionError::Teacher(e) => teacher_code(e),
        PromotionError::Workspace(e) => workspace_code(e),
    }
}

fn dataset_code(error: &DatasetError) -> u8 {
    match error {
        DatasetError::Workspace(e) => workspace_code(e),
        DatasetError::Store(e) => store_code(e),
        DatasetError::NoSource { .. } => 3,
        DatasetError::OtherSource { .. } | DatasetError::OtherReading { .. } => 2,
    }
}

fn label_code(error: &LabelError) -> u8 {
    match error {
        LabelError::Workspace(e) => workspace_code(e),
        LabelError::Teacher(e) => teacher_code(e),
        LabelError::Manifest(e) => manifest_code(e),
        LabelError::Credentials { .. } => 4,
        LabelError::Runtime(_) => 5,
        LabelError::OtherSettings { .. }
        | LabelError::OtherDataset { .. }
        | LabelError::Unfinished { .. } => 2,
        LabelError::Unreachable { .. }
        | LabelError::Machine { .. }
        | LabelError::Encode { .. }
        | LabelError::Shifted { .. }
        | LabelError::Plan(_) => 1,
    }
}

fn select_code(error: &SelectError) -> u8 {
    match error {
        SelectError::Config(_)
        | SelectError::Taken { .. }
        | SelectError::NotExplained { .. }
        | SelectError::BadLabels { .. }
        | SelectError::NotDistinct { .. }
        | SelectError::Repeated { .. }
        | SelectError::OtherRows { .. }
        | SelectError::Query { .. }
        | SelectError::Read { .. } => 2,
        SelectError::OtherClasses { .. } => 9,
        SelectError::NoLabels { .. } | SelectError::Empty { .. } => 3,
        SelectError::Changed { .. } | SelectError::Write(_) | SelectError::Worker(_) => 1,
        SelectError::Catalog(e) => catalog_code(e),
        SelectError::Teacher(e) => teacher_code(e),
        SelectError::Store(e) => store_code(e),
        SelectError::Workspace(e) => workspace_code(e),
    }
}

/// 9 where labelled data are damaged, lack labels, or do not fit the model.
fn labelled_code(error: &LabelledError) -> u8 {
    match error {
        LabelledError::NoLabels { .. }
        | LabelledError::Unlabelled { .. }
        | LabelledError::NoLabelColumn { .. }
        | LabelledError::LabelType { .. }
        | LabelledError::NoLabelFile { .. }
        | LabelledError::LabelCount { .. }
        | LabelledError::UnknownClass { .. }
        | LabelledError::AmbiguousClass { .. }
        | LabelledError::ClassCount { .. }
        | LabelledError::OutOfRange { .. }
        | LabelledError::TooManyClasses { .. }
        | LabelledError::TooFew { .. }
        | LabelledError::Damaged { .. } => 9,
        LabelledError::Source(e) => source_code(e),
        LabelledError::Sort(e) => manifest_code(e),
        LabelledError::Read(e) => label_code(e),
        LabelledError::Shifted
        | LabelledError::Task(_)
        | LabelledError::Temporary(_)
        | LabelledError::Index(_) => 1,
    }
}

fn export_code(error: &ExportError) -> u8 {
    match error {
        ExportError::Config(_)
        | ExportError::Taken { .. }
        | ExportError::InsideSource { .. }
        | ExportError::NoPlace { .. }
        | ExportError::SoftLabel { .. } => 2,
        ExportError::Nothing { .. } => 3,
        ExportError::OtherShard { .. }
        | ExportError::Recut { .. }
        | ExportError::Unreachable { .. }
        | ExportError::Encode { .. }
        | ExportError::Worker => 1,
        ExportError::Dataset(e) => dataset_code(e),
        ExportError::Source(e) => source_code(e),
        ExportError::Fetch(e) => label_code(e),
        ExportError::Manifest(e) => manifest_code(e),
        ExportError::Select(e) => select_code(e),
        ExportError::Catalog(e) => catalog_code(e),
        ExportError::Teacher(e) => teacher_code(e),
        ExportError::Store(e) => store_code(e),
        ExportError::Workspace(e) => workspace_code(e),
    }
}

/// 9 where the labels do not fit the student, 3 where nothing is left.
fn pseudo_code(error: &PseudoError) -> u8 {
    match error {
        PseudoError::Foreign { .. } => 2,
        PseudoError::Gone { .. } => 3,
        PseudoError::ClassCount { .. } | PseudoError::Class { .. } => 9,
        PseudoError::Rows(e) => export_code(e),
        PseudoError::Images(e) => labelled_code(e),
    }
}

fn catalog_code(error: &CatalogError) -> u8 {
    match error {
        CatalogError::Workspace(e) => workspace_code(e),
        CatalogError::Teacher(e) => teacher_code(e),
        CatalogError::Store(e) => store_code(e),
        CatalogError::Manifest(e) => manifest_code(e),
        CatalogError::Query { .. }
        | CatalogError::Refused { .. }
        | CatalogError::Several
        | CatalogError::Deep { .. }
        | CatalogError::Arguments { .. } => 2,
        CatalogError::Engine(_) | CatalogError::BrokeOff(_) | CatalogError::Unreadable { .. } => 1,
        CatalogError::Memory { .. } | CatalogError::Time { .. } => 8,
    }
}

fn source_code(error: &SourceError) -> u8 {
    match error {
        SourceError::Store(e) => store_code(e),
        SourceError::Empty { .. } => 3,
        SourceError::NotAList { .. } => 2,
        SourceError::List { .. } | SourceError::Changed { .. } | SourceError::Gone { .. } => 1,
    }
}

fn manifest_code(error: &ManifestError) -> u8 {
    match error {
        ManifestError::Source(e) => source_code(e),
        ManifestError::Workspace(e) => workspace_code(e),
        ManifestError::Engine(_)
        | ManifestError::Write(_)
        | ManifestError::Temporary(_)
        | ManifestError::BadRow { .. }
        | ManifestError::Busy { .. } => 1,
    }
}

fn workspace_code(error: &WorkspaceError) -> u8 {
    match error {
        WorkspaceError::BadName { .. } => 2,
        WorkspaceError::Unknown { .. } | WorkspaceError::NotInitialised { .. } => 3,
        WorkspaceError::Store(e) => store_code(e),
        WorkspaceError::TooNew { .. }
        | WorkspaceError::Damaged { .. }
        | WorkspaceError::Garbled { .. }
        | WorkspaceError::Missing { .. }
        | WorkspaceError::Empty { .. } => 1,
    }
}

fn teacher_code(error: &TeacherError) -> u8 {
    match error {
        TeacherError::Workspace(e) => workspace_code(e),
        TeacherError::Runtime(_) => 5,
        TeacherError::BadReference { .. }
        | TeacherError::Noised { .. }
        | TeacherError::Reserved { .. }
        | TeacherError::File(_)
        | TeacherError::Config { .. } => 2,
        TeacherError::NonePromoted => 3,
        TeacherError::Mismatch { .. } | TeacherError::Trial { .. } => 6,
        TeacherError::Damaged { .. } => 1,
    }
}

fn student_code(error: &StudentError) -> u8 {
    match error {
        StudentError::Config(_) | StudentError::Taken { .. } => 2,
        StudentError::NoPython { .. } | StudentError::Tool { .. } => 5,
        StudentError::Weights { .. } => 6,
        StudentError::Temporary(_) | StudentError::Damaged { .. } | StudentError::Worker(_) => 1,
        StudentError::Trainer(e) => trainer_code(e),
        StudentError::Workspace(e) => workspace_code(e),
    }
}

fn trainer_code(error: &TrainerError) -> u8 {
    match error {
        TrainerError::Runtime(_) => 5,
        TrainerError::Artifacts { .. } => 6,
        TrainerError::Shape { .. } | TrainerError::Temporary(_) => 1,
    }
}

fn train_code(error: &TrainError) -> u8 {
    match error {
        TrainError::Config(_) | TrainError::NoData | TrainError::Taken { .. } => 2,
        TrainError::Empty { .. } => 3,
        TrainError::Unusable { .. }
        | TrainError::Classes { .. }
        | TrainError::OtherClasses { .. } => 9,
        TrainError::Ended { .. }
        | TrainError::Unreachable { .. }
        | TrainError::Diverged { .. }
        | TrainError::Damaged { .. }
        | TrainError::Metrics(_)
        | TrainError::Worker(_) => 1,
        TrainError::Labelled(e) => labelled_code(e),
        TrainError::Pseudo(e) => pseudo_code(e),
        TrainError::Student(e) => student_code(e),
        TrainError::Trainer(e) => trainer_code(e),
        TrainError::Teacher(e) => teacher_code(e),
        TrainError::Workspace(e) => workspace_code(e),
    }
}

/// The exit code of a store's error: 3 for what is not there, 4 for refused credentials, 2 for a URL or option that is wrong.
fn store_code(error: &StoreError) -> u8 {
    match error {
        StoreError::BadUrl { .. } | StoreError::UnknownOption { .. } => 2,
        StoreError::NotFound { .. } => 3,
        StoreError::Credentials { .. } => 4,
        StoreError::AlreadyExists { .. } | StoreError::Failed { .. } => 1,
    }
}

/// The known name that is nearest to what was typed, where one is near enough to be meant.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|name| (strsim::jaro_winkler(typed, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}
