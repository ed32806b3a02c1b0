//! Finds and loads ONNX Runtime, chooses the device, and says what is wrong.
//!
//! The library is looked for in this order: `--onnxruntime PATH`, the environment variable `ORT_DYLIB_PATH`, where
//! `make setup` puts it (`~/.cache/understudy/onnxruntime/VERSION/`, and `onnxruntime-gpu/VERSION/` before it when CUDA is asked
//! for), beside the executable, and at last whatever the dynamic loader finds as `libonnxruntime.so`. A process loads **one**.
//!
//! Training needs a build with the training API, whose last release is older than what inference wants, so it is a library of its own, in a process of its own
//! ([`crate::child`]). It is looked for in the same order: `--onnxruntime-training PATH`, `ORT_TRAINING_DYLIB_PATH`, `~/.cache/understudy/onnxruntime-training/VERSION/`, and
//! beside the executable, as `libonnxruntime_training.so`.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;

use ort::environment::Environment;
use ort::ep::ExecutionProvider as _;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use serde::Deserialize;

/// The version that `make setup` fetches.
pub const VERSION: &str = "1.32.0";
/// The CUDA build's version that `make setup-cuda` fetches.
pub const CUDA_VERSION: &str = "1.31.1";

/// The training build's version that `make setup` derives from its wheel.
pub const TRAINING_VERSION: &str = "1.19.2";

const LIBRARY: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so"
};
const TRAINING_LIBRARY: &str = "libonnxruntime_training.so";
const TRAINING_ADVICE: &str = "derive the training build with `make setup` (`python3 tools/setup.py training-runtime`), or name your own with --onnxruntime-training or ORT_TRAINING_DYLIB_PATH";

/// What can go wrong with ONNX Runtime itself.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No library, or it does not load.
    #[error("cannot load ONNX Runtime: {detail}")]
    Load {
        /// The loader's words and where it was looked for.
        detail: String,
    },
    /// No training build, or it does not load.
    #[error("cannot load the training build of ONNX Runtime: {detail}")]
    LoadTraining {
        /// The loader's words and where it was looked for.
        detail: String,
    },
    /// CUDA was asked for and is not to be had.
    #[error("cannot use device `cuda:{device}`: {detail}")]
    NoCuda {
        /// The device's number.
        device: i32,
        /// The loader's reason.
        detail: String,
    },
    /// A session cannot be made of a model.
    #[error("ONNX Runtime cannot load the model: {detail}")]
    Session {
        /// ONNX Runtime's words.
        detail: String,
    },
    /// A library without the training API.
    #[error("cannot train with `{}`: {detail}", library.display())]
    NoTraining {
        /// The library that this process has loaded.
        library: PathBuf,
        /// What it lacks.
        detail: String,
    },
    /// A model ran and failed.
    #[error("ONNX Runtime failed: {detail}")]
    Run {
        /// ONNX Runtime's words.
        detail: String,
    },
}

impl RuntimeError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::LoadTraining { .. } | Self::NoTraining { .. } => TRAINING_ADVICE.into(),
            Self::Load { .. } => "fetch it with `make setup`, or set ORT_DYLIB_PATH to a libonnxruntime.so of version 1.19 or later".into(),
            Self::NoCuda { .. } => "install the CUDA build with `make setup-cuda`, the NVIDIA driver, CUDA 13 and cuDNN 9, or use --device cpu".into(),
            Self::Session { detail } if detail.contains("external data") || detail.contains(".data") => "the weights are in a second file: save the model as one file, e.g. onnx.save(model, path, save_as_external_data=False)".into(),
            Self::Session { .. } => "is it an ONNX file, and of an opset this ONNX Runtime knows? `understudy doctor` tells its version".into(),
            Self::Run { .. } => return None,
        })
    }
}

/// Where a model runs, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Device {
    /// CUDA where the library has it and a device answers, else CPU; what was chosen is said.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this number.
    Cuda(i32),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", n)) => match n.parse() {
                Ok(n) if n >= 0 => Ok(Self::Cuda(n)),
                _ => Err(format!("`{n}` is not the number of a CUDA device")),
            },
            _ => Err("use auto, cpu, cuda or cuda:N".into()),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// The loaded library.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    /// Where it was found.
    pub library: PathBuf,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("library", &self.library)
            .finish_non_exhaustive()
    }
}

static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the library, or gives the one this process has loaded.
    ///
    /// # Errors
    /// [`RuntimeError::Load`] with every place that was tried.
    pub fn load(explicit: Option<&Path>, device: Device) -> Result<Self, RuntimeError> {
        let mut loaded = LOADED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            return Ok(runtime.clone());
        }
        let candidates = candidates(explicit, device);
        let runtime = Self::load_first(&candidates, LIBRARY)?;
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// Loads the training build, or gives the library this process has loaded if that one can train.
    ///
    /// # Errors
    /// [`RuntimeError::LoadTraining`] with every place that was tried, or [`RuntimeError::NoTraining`].
    pub fn load_training(explicit: Option<&Path>) -> Result<Self, RuntimeError> {
        let mut loaded = LOADED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let runtime =
            match &*loaded {
                Some(runtime) => runtime.clone(),
                None => Self::load_first(&training_candidates(explicit), TRAINING_LIBRARY)
                    .map_err(|e| RuntimeError::LoadTraining {
                        detail: match e {
                            RuntimeError::Load { detail } => detail,
                            other => other.to_string(),
                        },
                    })?,
            };
        *loaded = Some(runtime.clone());
        match ort::training::training_api() {
            Ok(_) => Ok(runtime),
            Err(e) => Err(RuntimeError::NoTraining {
                library: runtime.library,
                detail: e.to_string(),
            }),
        }
    }

    /// Loads the first library that is there. What was named is what is loaded; else the dynamic loader may know `fallback`.
    fn load_first(candidates: &[PathBuf], fallback: &str) -> Result<Self, RuntimeError> {
        let library = match (candidates.iter().find(|path| path.exists()), candidates) {
            (Some(found), _) => found.clone(),
            (None, [named]) => named.clone(),
            (None, _) => PathBuf::from(fallback),
        };
        let environment = ort::init_from(&library)
            .map_err(|e| RuntimeError::Load {
                detail: format!(
                    "{e}; looked for {}",
                    candidates
                        .iter()
                        .map(|p| format!("`{}`", p.display()))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            })?
            .with_name("understudy")
            .with_telemetry(false)
            .build()
            .map_err(|e| RuntimeError::Load {
                detail: e.to_string(),
            })?;
        environment.set_log_level(ort::logging::LogLevel::Error);
        Ok(Self {
            environment,
            library,
        })
    }

    /// The library's version, by the name of its symbols: `VERS_1.32.0`. `ort` asks for it and keeps it to itself.
    pub fn version(&self) -> Option<String> {
        const SIGN: &[u8] = b"VERS_";
        let bytes = std::fs::read(&self.library).ok()?;
        let mut starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(SIGN));
        starts.find_map(|at| {
            let rest = &bytes[at + SIGN.len()..];
            let digits = rest
                .iter()
                .take_while(|b| b.is_ascii_digit() || **b == b'.');
            let version = String::from_utf8(digits.copied().collect()).ok()?;
            (version.matches('.').count() == 2).then_some(version)
        })
    }

    /// What the library says of its build.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }

    /// Whether the library was built with CUDA. That a device answers is only known once a session was made.
    pub fn has_cuda(&self) -> bool {
        ort::ep::CUDA::is_available().unwrap_or(false)
    }

    /// What `device` comes to on this machine, and why.
    pub fn resolve(&self, device: Device) -> (Device, String) {
        match device {
            Device::Auto if self.has_cuda() => match self.try_cuda(0) {
                Ok(()) => (Device::Cuda(0), "a CUDA device answers".into()),
                Err(e) => (Device::Cpu, format!("CUDA does not work: {e}")),
            },
            Device::Auto => (
                Device::Cpu,
                "this ONNX Runtime is built without CUDA".into(),
            ),
            chosen => (chosen, "as asked for".into()),
        }
    }

    /// Whether a CUDA device answers: registers the provider on a session that is never built.
    ///
    /// # Errors
    /// [`RuntimeError::NoCuda`] with the loader's reason.
    pub fn try_cuda(&self, device: i32) -> Result<(), RuntimeError> {
        let no_cuda = |detail: String| RuntimeError::NoCuda { device, detail };
        if !self.has_cuda() {
            return Err(no_cuda(format!(
                "`{}` is built without CUDA",
                self.library.display()
            )));
        }
        let mut builder =
            Session::builder(&self.environment).map_err(|e| no_cuda(e.to_string()))?;
        ort::ep::CUDA::default()
            .with_device_id(device)
            .register(&mut builder)
            .map_err(|e| no_cuda(e.to_string()))
    }

    /// Makes a session of a model's bytes.
    ///
    /// On the CPU a session has `threads` threads.
    ///
    /// # Errors
    /// [`RuntimeError::Session`], or [`RuntimeError::NoCuda`] before it.
    pub fn session(
        &self,
        model: &[u8],
        device: Device,
        threads: usize,
    ) -> Result<Session, RuntimeError> {
        let fail = |detail: String| RuntimeError::Session { detail };
        self.options(device, threads)?
            .commit_from_memory(model)
            .map_err(|e| fail(e.to_string().replace('\n', " ")))
    }

    /// Options of a session, for inference or training. Its idle threads sleep, since other threads decode and augment meanwhile.
    ///
    /// # Errors
    /// [`RuntimeError::Session`] or [`RuntimeError::NoCuda`].
    pub fn options(&self, device: Device, threads: usize) -> Result<SessionBuilder, RuntimeError> {
        let mut builder = Session::builder(&self.environment)
            .and_then(|b| Ok(b.with_optimization_level(GraphOptimizationLevel::All)?))
            .and_then(|b| Ok(b.with_intra_threads(threads)?))
            .and_then(|b| Ok(b.with_intra_op_spinning(false)?))
            .and_then(|b| Ok(b.with_memory_pattern(true)?))
            .map_err(|e| RuntimeError::Session {
                detail: e.to_string(),
            })?;
        if let Device::Cuda(id) = device {
            self.try_cuda(id)?;
            ort::ep::CUDA::default()
                .with_device_id(id)
                .register(&mut builder)
                .map_err(|e| RuntimeError::NoCuda {
                    device: id,
                    detail: e.to_string(),
                })?;
        }
        Ok(builder)
    }
}

/// Every place where the library may be, best first.
pub fn candidates(explicit: Option<&Path>, device: Device) -> Vec<PathBuf> {
    if let Some(path) = explicit {
        return vec![path.to_owned()];
    }
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        return vec![path.into()];
    }
    let mut places = Vec::new();
    if let Some(cache) = cache() {
        let cuda = cache
            .join("onnxruntime-gpu")
            .join(CUDA_VERSION)
            .join(LIBRARY);
        if device != Device::Cpu {
            places.push(cuda);
        }
        places.push(cache.join("onnxruntime").join(VERSION).join(LIBRARY));
    }
    places.extend(beside_the_executable(LIBRARY));
    places
}

/// Every place where the training build may be, best first.
pub fn training_candidates(explicit: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = explicit {
        return vec![path.to_owned()];
    }
    if let Some(path) = std::env::var_os("ORT_TRAINING_DYLIB_PATH").filter(|p| !p.is_empty()) {
        return vec![path.into()];
    }
    let cached = cache().map(|cache| {
        cache
            .join("onnxruntime-training")
            .join(TRAINING_VERSION)
            .join(TRAINING_LIBRARY)
    });
    let beside = beside_the_executable(TRAINING_LIBRARY);
    cached.into_iter().chain(beside).collect()
}

/// Where `make setup` puts what it fetches.
pub fn cache() -> Option<PathBuf> {
    std::env::var_os("UNDERSTUDY_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/understudy")))
}

fn beside_the_executable(library: &str) -> Option<PathBuf> {
    let executable = std::env::current_exe().ok()?;
    Some(executable.parent()?.join(library))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_parsed_and_printed_back() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for text in ["gpu", "cuda:x", "cuda:-1", ""] {
            assert!(text.parse::<Device>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_explicit_library_is_the_only_place_looked_at() {
        let path = Path::new("/nowhere/libonnxruntime.so");
        assert_eq!(candidates(Some(path), Device::Cuda(0)), [path]);
    }
}
