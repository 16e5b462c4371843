//! Estimates and conversion.
use crate::callback::Slot;
use crate::error::attempt;
use crate::model::{on_progress, progress_user_data, Progress, ProgressState};
use crate::{ffi, Cancel, Context, Dtype, Error, RopeTable};
use samba_lm_sys as sys;
use std::ops::ControlFlow;
use std::path::Path;
use std::ptr::null;

/// What a model and its sessions take; see
/// [`ModelOptions::estimate`](crate::ModelOptions::estimate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Estimate {
    /// Held while the model lives.
    pub weight_bytes: u64,
    /// Most held while loading.
    pub load_peak_bytes: u64,
    /// Activations of a pass, per context.
    pub pass_bytes: u64,
    /// Per session, once its windows are full.
    pub state_bytes: u64,
    /// What full attention adds per token; 0 for bounded models.
    pub state_bytes_per_token: u64,
    /// Token history.
    pub history_bytes_per_token: u64,
}

impl Estimate {
    pub(crate) fn from_raw(raw: &sys::samba_estimate) -> Estimate {
        Estimate {
            weight_bytes: raw.weight_bytes,
            load_peak_bytes: raw.load_peak_bytes,
            pass_bytes: raw.pass_bytes,
            state_bytes: raw.state_bytes,
            state_bytes_per_token: raw.state_bytes_per_token,
            history_bytes_per_token: raw.history_bytes_per_token,
        }
    }
}

/// How a checkpoint is converted; what is not set has the library's default.
#[derive(Default)]
#[must_use]
pub struct ConvertOptions<'a> {
    weight_dtype: Option<Dtype>,
    rope_table: Option<RopeTable>,
    name: Option<String>,
    progress: Option<Progress<'a>>,
    cancel: Option<Cancel>,
}

impl<'a> ConvertOptions<'a> {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of the matrices; some weights keep more bits whatever it is. Default: as in the input.
    pub fn weight_dtype(mut self, dtype: Dtype) -> Self {
        self.weight_dtype = Some(dtype);
        self
    }

    /// Default: the family's own.
    pub fn rope_table(mut self, table: RopeTable) -> Self {
        self.rope_table = Some(table);
        self
    }

    /// The model's name in the output. Default: the input's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Called now and then with the bytes done and all bytes; `Break` cancels.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Ends the call early.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Writes any checkpoint that loads as one GGUF file with plan and tokenizer inside. The output
    /// appears under its name only when complete.
    pub fn convert(
        mut self,
        context: &Context,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<ConvertReport, Error> {
        let (from, to) = (ffi::c_path(from.as_ref())?, ffi::c_path(to.as_ref())?);
        let name = match &self.name {
            Some(name) => Some(ffi::c_string(name.as_bytes(), "the model's name")?),
            None => None,
        };
        let slot = Slot::default();
        let mut progress = self
            .progress
            .take()
            .map(|call| ProgressState { call, slot: &slot });
        let options = sys::samba_convert_options {
            weight_dtype: self.weight_dtype.map_or(0, Dtype::to_raw),
            rope_table: self.rope_table.map_or(0, RopeTable::to_raw),
            name: name.as_deref().map_or(null(), |name| name.as_ptr()),
            progress: progress.as_ref().map(|_| on_progress as _),
            progress_user_data: progress_user_data(&mut progress),
            cancel: Cancel::raw(&self.cancel),
            ..ffi::output!(samba_convert_options)
        };
        let mut report = ffi::output!(samba_convert_report);
        // SAFETY: live arguments and room for the result.
        let result = attempt(|error| unsafe {
            let (from, to) = (from.as_ptr(), to.as_ptr());
            sys::samba_convert(context.raw(), from, to, &options, &mut report, error)
        });
        slot.resume();
        result.map(|()| ConvertReport {
            n_tensors: report.n_tensors,
            n_kept: report.n_kept,
            file_bytes: report.file_bytes,
        })
    }
}

/// What [`ConvertOptions::convert`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConvertReport {
    /// Tensors in the file.
    pub n_tensors: u64,
    /// Matrices kept in another type because their rows are no multiple of a block.
    pub n_kept: u64,
    /// Size of the file.
    pub file_bytes: u64,
}
