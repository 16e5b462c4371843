//! How the streams of a model share it.
use crate::error::attempt;
use crate::{ffi, Error, Model};
use samba_lm_sys as sys;
use std::time::Duration;

/// What the streams of a model may take together; what is not set has the library's default.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct StreamLimits {
    max_state_bytes: u64,
    max_gap: Option<Duration>,
    rows_per_pass: u32,
}

impl StreamLimits {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of all running streams' state and work ahead; a stream that does not fit waits. Default (or
    /// 0): no limit.
    pub fn max_state_bytes(mut self, bytes: u64) -> Self {
        self.max_state_bytes = bytes;
        self
    }

    /// The most time between two tokens of a running stream that prompts read beside it may cause,
    /// in whole milliseconds. Default: 50 ms.
    pub fn max_gap(mut self, gap: Duration) -> Self {
        self.max_gap = Some(gap);
        self
    }

    /// Most tokens of a pass, up to 512. Default (or 0): 256.
    pub fn rows_per_pass(mut self, rows: u32) -> Self {
        self.rows_per_pass = rows;
        self
    }
}

/// What the streams of a model do; see [`Model::stream_stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStats {
    /// Streams that are not dropped.
    pub n_open: u64,
    /// Of these, at work.
    pub n_running: u64,
    /// Held up by [`StreamLimits::max_state_bytes`].
    pub n_waiting: u64,
    /// Since the model was loaded.
    pub n_passes: u64,
    /// Tokens of those passes.
    pub n_rows: u64,
    /// In passes.
    pub pass_time: Duration,
    /// Drawing tokens between them.
    pub draw_time: Duration,
    /// All else between passes.
    pub overhead_time: Duration,
}

impl Model {
    /// What its streams may take together, from the next pass on.
    pub fn set_stream_limits(&self, limits: &StreamLimits) -> Result<(), Error> {
        let raw = sys::samba_stream_limits {
            max_state_bytes: limits.max_state_bytes,
            // 0 would be the default.
            max_gap_ms: limits.max_gap.map_or(0, |gap| {
                u32::try_from(gap.as_millis()).unwrap_or(u32::MAX).max(1)
            }),
            rows_per_pass: limits.rows_per_pass,
            ..ffi::output!(samba_stream_limits)
        };
        // SAFETY: a live model.
        attempt(|error| unsafe { sys::samba_model_set_stream_limits(self.raw(), &raw, error) })
    }

    /// What its streams do and have done.
    pub fn stream_stats(&self) -> Result<StreamStats, Error> {
        let mut raw = ffi::output!(samba_stream_stats);
        // SAFETY: a live model and room for the result.
        attempt(|error| unsafe { sys::samba_model_get_stream_stats(self.raw(), &mut raw, error) })?;
        let time = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
        Ok(StreamStats {
            n_open: raw.n_open,
            n_running: raw.n_running,
            n_waiting: raw.n_waiting,
            n_passes: raw.n_passes,
            n_rows: raw.n_rows,
            pass_time: time(raw.pass_seconds),
            draw_time: time(raw.draw_seconds),
            overhead_time: time(raw.overhead_seconds),
        })
    }
}
