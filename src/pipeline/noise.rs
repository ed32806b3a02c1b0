//! The noise files that a pipeline file names, looked up beside it.

use std::path::{Path, PathBuf};

use super::{Finetune, First, PipelineError, Round};
use crate::config::ConfigError;
use crate::label::noise::TeacherNoise;
use crate::student::noise::Noise;

/// Reads the noise files of the filter or of the first teacher.
pub(super) fn of_first(part: &str, first: &mut First, beside: &Path) -> Result<(), PipelineError> {
    resolve(&mut first.noise, &mut first.noise_file, beside).map_err(in_part(part))?;
    of_second_phase(first.finetune.as_mut(), beside).map_err(in_part(part))
}

/// Those of a round.
pub(super) fn of_round(part: &str, round: &mut Round, beside: &Path) -> Result<(), PipelineError> {
    resolve(&mut round.noise, &mut round.noise_file, beside).map_err(in_part(part))?;
    of_second_phase(round.finetune.as_mut(), beside).map_err(in_part(part))?;
    let file = round.teacher_noise_file.take();
    let read = file.map(|file| TeacherNoise::read(&beside.join(file)));
    round.teacher_noise = read.transpose().map_err(|error| {
        in_part(part)(match error {
            // It is a key here, and an option for `label`.
            ConfigError::Value { value, advice, .. } => ConfigError::Value {
                key: "teacher_noise_file",
                value,
                advice,
            },
            other => other,
        })
    })?;
    Ok(())
}

fn of_second_phase(finetune: Option<&mut Finetune>, beside: &Path) -> Result<(), ConfigError> {
    finetune.map_or(Ok(()), |second| {
        resolve(&mut second.noise, &mut second.noise_file, beside)
    })
}

fn resolve(
    noise: &mut Option<Noise>,
    file: &mut Option<PathBuf>,
    beside: &Path,
) -> Result<(), ConfigError> {
    let Some(file) = file.take() else {
        return Ok(());
    };
    if noise.is_some() {
        return Err(ConfigError::Value {
            key: "noise_file",
            value: format!("`{}`, and `noise` is there as well", file.display()),
            advice: "give one of the two".into(),
        });
    }
    *noise = Some(Noise::read(&beside.join(file))?);
    Ok(())
}

fn in_part(part: &str) -> impl Fn(ConfigError) -> PipelineError {
    move |source| PipelineError::Part {
        part: part.to_owned(),
        source,
    }
}
