//! The teachers that label images of requests: the default one, which follows promotions, and a few others that requests name.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use super::config::{LabelConfig, ServeConfig};
use super::engine::Engine;
use super::metrics::Metrics;
use crate::error::Error;
use crate::label::decode::DecodeConfig;
use crate::promotion::{self, CURRENT};
use crate::runtime::{Device, Runtime};
use crate::teacher::{self, Teacher, TeacherError, TeacherRef};
use crate::workspace::Workspace;

/// See the module.
#[derive(Debug)]
pub(super) struct Models {
    workspace: Workspace,
    label: LabelConfig,
    decode: DecodeConfig,
    onnxruntime: Option<PathBuf>,
    metrics: Arc<Metrics>,
    /// Who labels where a request does not say.
    default: RwLock<Option<Arc<Engine>>>,
    /// Why the default one could not be loaded when it was tried last.
    trouble: RwLock<Option<String>>,
    /// Those that requests named, the least recently used first. Whoever loads one holds it: two would load the same model twice.
    others: Mutex<Vec<Arc<Engine>>>,
    /// Held while the default one is loaded.
    loading: Mutex<()>,
}

impl Models {
    pub(super) fn new(
        workspace: &Workspace,
        config: &ServeConfig,
        onnxruntime: Option<PathBuf>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            workspace: workspace.clone(),
            label: config.label.clone(),
            decode: config.decode.clone(),
            onnxruntime,
            metrics: Arc::clone(metrics),
            default: RwLock::default(),
            trouble: RwLock::default(),
            others: Mutex::default(),
            loading: Mutex::default(),
        }
    }

    /// Whether a teacher that was asked for by name is there, before anything listens.
    ///
    /// # Errors
    /// [`TeacherError`].
    pub(super) async fn check(&self) -> Result<(), TeacherError> {
        if let Some(text) = &self.label.teacher {
            teacher::get(&self.workspace, &text.parse()?).await?;
        }
        Ok(())
    }

    /// Whether the default teacher is loaded, if one was asked for.
    ///
    /// # Errors
    /// What keeps it from being so.
    pub(super) fn ready(&self) -> Result<(), String> {
        if self.label.teacher.is_none() || self.loaded().is_some() {
            return Ok(());
        }
        let trouble = self.trouble.read().unwrap_or_else(PoisonError::into_inner);
        Err(trouble
            .clone()
            .unwrap_or_else(|| "the teacher is being loaded".into()))
    }

    fn loaded(&self) -> Option<Arc<Engine>> {
        let default = self.default.read().unwrap_or_else(PoisonError::into_inner);
        default.clone()
    }

    fn wanted(&self) -> Result<TeacherRef, TeacherError> {
        self.label.teacher.as_deref().unwrap_or(CURRENT).parse()
    }

    /// Who labels a request.
    ///
    /// # Errors
    /// No such teacher, nobody is promoted, or a model that does not load.
    pub(super) async fn get(&self, named: Option<&str>) -> Result<Arc<Engine>, Error> {
        let default = self.wanted()?;
        let named = named.map(str::parse::<TeacherRef>).transpose()?;
        match named.filter(|named| *named != default) {
            None => match self.loaded() {
                Some(engine) => Ok(engine),
                None => self.load_default().await,
            },
            Some(named) => self.other(&named).await,
        }
    }

    async fn other(&self, named: &TeacherRef) -> Result<Arc<Engine>, Error> {
        let is = |name: &str| {
            named
                .version
                .is_some_and(|v| name == format!("{}@{v}", named.name))
        };
        if let Some(default) = self.loaded().filter(|engine| is(&engine.name)) {
            return Ok(default);
        }
        let mut others = self.others.lock().await;
        if let Some(at) = others.iter().position(|engine| is(&engine.name)) {
            let engine = others.remove(at);
            others.push(Arc::clone(&engine));
            return Ok(engine);
        }
        let teacher = teacher::get(&self.workspace, named).await?;
        let name = teacher.record.to_string();
        let there = self.loaded().into_iter().chain(others.iter().cloned());
        if let Some(engine) = there.into_iter().find(|engine| engine.name == name) {
            return Ok(engine);
        }
        while others.len() >= self.label.models {
            others.remove(0);
        }
        let engine = self.load(teacher).await?;
        others.push(Arc::clone(&engine));
        Ok(engine)
    }

    /// Loads the default teacher where it is another one than before. Requests go on with the one before until the new one is there, and those that it
    /// has begun it finishes.
    pub(super) async fn follow(&self) {
        if self.label.teacher.is_none() && self.loaded().is_none() {
            return;
        }
        let failed = self.load_default().await.err().map(|e| e.to_string());
        let mut trouble = self.trouble.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = failed.as_ref().filter(|f| trouble.as_ref() != Some(*f)) {
            tracing::error!("the teacher cannot be loaded: {failed}");
        }
        *trouble = failed;
    }

    async fn load_default(&self) -> Result<Arc<Engine>, Error> {
        let loading = self.loading.lock().await;
        let (before, wanted) = (self.loaded(), self.wanted()?);
        let name = self.name(&wanted).await?;
        if let Some(engine) = before.filter(|engine| Some(&engine.name) == name.as_ref()) {
            return Ok(engine);
        }
        let engine = self
            .load(teacher::get(&self.workspace, &wanted).await?)
            .await?;
        tracing::info!(teacher = engine.name, "labels requests");
        let mut default = self.default.write().unwrap_or_else(PoisonError::into_inner);
        *default = Some(Arc::clone(&engine));
        drop((default, loading));
        Ok(engine)
    }

    /// NAME@VERSION of what is wanted; none where that is to be found out by looking.
    async fn name(&self, wanted: &TeacherRef) -> Result<Option<String>, Error> {
        if wanted.name == CURRENT {
            let current = promotion::current(&self.workspace).await?;
            return Ok(Some(current.ok_or(TeacherError::NonePromoted)?.teacher));
        }
        if let Some(version) = wanted.version {
            return Ok(Some(format!("{}@{version}", wanted.name)));
        }
        let newest = teacher::get(&self.workspace, wanted).await?;
        Ok(Some(newest.record.to_string()))
    }

    async fn load(&self, teacher: Teacher) -> Result<Arc<Engine>, Error> {
        let model = teacher.model(&self.workspace).await?;
        let (onnxruntime, label) = (self.onnxruntime.clone(), self.label.clone());
        let (decode, metrics) = (self.decode.clone(), Arc::clone(&self.metrics));
        let loaded = tokio::task::spawn_blocking(move || {
            let runtime = Runtime::load(onnxruntime.as_deref(), Device::Auto)?;
            Engine::start(&runtime, &model, teacher, &label, &decode, metrics)
        });
        loaded
            .await
            .map_err(|e| Error::Output(std::io::Error::other(e)))?
            .map(Arc::new)
    }
}
