//! `understudy doctor`: what this machine and this workspace have, and what to do about what they lack.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::child;
use crate::runtime::{Device, Runtime};
use crate::store::{self, StorageOptions};
use crate::student::artifacts;
use crate::workspace::Workspace;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, with a limit worth knowing.
    Note,
    /// Does not work.
    Problem,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Looks at everything.
pub async fn examine(
    workspace: Option<&str>,
    storage: &StorageOptions,
    library: Option<&Path>,
    device: Device,
    training_library: Option<&Path>,
) -> Vec<Check> {
    let mut checks = vec![machine()];
    checks.extend(runtime(library, device));
    checks.push(training(training_library));
    checks.push(python());
    if let Some(url) = workspace {
        checks.extend(self::workspace(url, storage).await);
    }
    checks
}

fn machine() -> Check {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    #[cfg(target_arch = "x86_64")]
    let features: Vec<&str> = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("sha", is_x86_feature_detected!("sha")),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect();
    #[cfg(not(target_arch = "x86_64"))]
    let features = [std::env::consts::ARCH];
    let slow = cfg!(target_arch = "x86_64") && !features.contains(&"avx2");
    Check {
        what: "cpu",
        verdict: if slow { Verdict::Note } else { Verdict::Ok },
        found: format!("{cores} cores, {}", features.join(" ")),
        advice: slow.then(|| "without AVX2 inference is several times slower".into()),
    }
}

fn runtime(library: Option<&Path>, device: Device) -> Vec<Check> {
    let runtime = match Runtime::load(library, device) {
        Ok(runtime) => runtime,
        Err(e) => {
            return vec![Check {
                what: "onnxruntime",
                verdict: Verdict::Problem,
                advice: e.hint(),
                found: e.to_string(),
            }];
        }
    };
    let loaded = Check {
        what: "onnxruntime",
        verdict: Verdict::Ok,
        found: format!(
            "{}, `{}`, {}",
            runtime
                .version()
                .unwrap_or_else(|| "of an unknown version".into()),
            runtime.library.display(),
            runtime.build_info()
        ),
        advice: None,
    };
    let id = match device {
        Device::Cuda(id) => id,
        Device::Auto | Device::Cpu => 0,
    };
    let providers = if device == Device::Cpu {
        Check {
            what: "providers",
            verdict: Verdict::Ok,
            found: "cpu (CUDA was not asked for)".into(),
            advice: None,
        }
    } else if runtime.has_cuda() {
        match runtime.try_cuda(id) {
            Ok(()) => Check {
                what: "providers",
                verdict: Verdict::Ok,
                found: format!("cpu, cuda:{id}"),
                advice: None,
            },
            Err(e) => Check {
                what: "providers",
                verdict: Verdict::Problem,
                advice: e.hint(),
                found: format!("cpu; {e}"),
            },
        }
    } else {
        let wanted = matches!(device, Device::Cuda(_));
        Check {
            what: "providers",
            verdict: if wanted {
                Verdict::Problem
            } else {
                Verdict::Ok
            },
            found: "cpu (this library is built without CUDA)".into(),
            advice: wanted.then(|| "install the CUDA build with `make setup-cuda`".into()),
        }
    };
    vec![loaded, providers]
}

/// What trains students. Where it is missing nothing else is; where it was named and does not work that is a problem.
fn training(library: Option<&Path>) -> Check {
    let named = library.is_some() || std::env::var_os("ORT_TRAINING_DYLIB_PATH").is_some();
    let mut args: Vec<OsString> = vec!["training-runtime".into()];
    if let Some(library) = library {
        args.extend(["--onnxruntime-training".into(), library.into()]);
    }
    // A process loads one ONNX Runtime, and this one has loaded the other.
    let answer = child::this()
        .map_err(|e| e.to_string())
        .and_then(|this| child::ask(&this, &args));
    match answer {
        Ok(answer) => Check {
            what: "training",
            verdict: Verdict::Ok,
            found: String::from_utf8_lossy(&answer).trim_end().to_owned(),
            advice: None,
        },
        Err(words) => Check {
            what: "training",
            verdict: if named { Verdict::Problem } else { Verdict::Note },
            found: words,
            advice: Some("students are trained with a build of its own: `make setup` derives it, or name yours with --onnxruntime-training or ORT_TRAINING_DYLIB_PATH".into()),
        },
    }
}

/// What makes training models.
fn python() -> Check {
    let python = artifacts::python(None);
    match artifacts::check(&python) {
        Ok(versions) => Check {
            what: "student init",
            verdict: Verdict::Ok,
            found: format!(
                "`{}`, Python {}, onnxruntime {}, onnx {}",
                python.display(),
                versions.python,
                versions.onnxruntime,
                versions.onnx
            ),
            advice: None,
        },
        Err(e) => Check {
            what: "student init",
            verdict: Verdict::Note,
            advice: e.hint(),
            found: e.to_string(),
        },
    }
}

async fn workspace(url: &str, storage: &StorageOptions) -> Vec<Check> {
    let problem = |what, found: String, advice| Check {
        what,
        verdict: Verdict::Problem,
        found,
        advice,
    };
    let at = match store::open(url, storage) {
        Ok(at) => at,
        Err(e) => return vec![problem("workspace", e.to_string(), e.hint())],
    };
    let workspace = match Workspace::open_at(at).await {
        Ok(workspace) => workspace,
        Err(e) => return vec![problem("workspace", e.to_string(), e.hint())],
    };
    let reached = Check {
        what: "workspace",
        verdict: Verdict::Ok,
        found: format!("`{}`, layout {}", workspace.at.url(), workspace.file.layout),
        advice: None,
    };
    let probe = match workspace.probe().await {
        Ok(true) => Check {
            what: "create-only puts",
            verdict: Verdict::Ok,
            found: "honoured: a shard is committed once, whoever writes".into(),
            advice: None,
        },
        Ok(false) => Check {
            what: "create-only puts",
            verdict: Verdict::Note,
            found: "the store ignores them: a second put overwrote the first".into(),
            advice: Some(
                "run one understudy at a time on this workspace: it looks before each commit, which is safe with one writer only"
                    .into(),
            ),
        },
        Err(e) => problem("create-only puts", e.to_string(), e.hint()),
    };
    vec![reached, probe]
}

/// The report for people.
pub fn render(checks: &[Check]) -> String {
    checks.iter().fold(String::new(), |mut text, check| {
        let sign = match check.verdict {
            Verdict::Ok => "ok     ",
            Verdict::Note => "note   ",
            Verdict::Problem => "PROBLEM",
        };
        let _ = writeln!(text, "{sign}  {:<16}  {}", check.what, check.found);
        if let Some(advice) = &check.advice {
            let _ = writeln!(text, "{:27}{advice}", "");
        }
        text
    })
}
