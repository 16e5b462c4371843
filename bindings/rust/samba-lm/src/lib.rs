//! Runs recurrent-hybrid language models (the Samba family, and SambaY) inside your program. A
//! session's whole state is small and bounded: it is cloned in microseconds and evaluated without
//! end in the same memory. Built on the C library libsamba.
//!
//! ```
//! # fn main() -> Result<(), samba_lm::Error> {
//! use samba_lm::{Context, GenerateOptions, Model, Session};
//!
//! let context = Context::new()?; // threads, log
//! let model = Model::load(&context, "../../../examples/models/samba-13m.gguf")?;
//! let mut session = Session::new(&model)?; // one conversation, in bounded memory
//! session.feed_text("It was a dark night, and")?;
//! for token in session.generate(GenerateOptions::new().max_tokens(8)) {
//!     print!("{}", token?.text);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Context`], a [`Model`] and a [`Sampler`] are handles: cloned and shared by threads at will,
//! kept alive by whatever was made with them. A [`Session`] may move to another thread but is used
//! by one at a time. Every failure is an [`Error`] and leaves every object usable and where it
//! stood. A panic in a callback goes on in the code that made the call, once C has returned.
#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

mod batch;
mod callback;
mod cancel;
mod context;
mod convert;
mod error;
mod ffi;
mod generate;
mod logits;
mod model;
mod pool;
mod prefix_cache;
mod reader;
mod rewind;
mod sampler;
mod session;
mod snapshot;
mod snapshot_file;
mod snapshot_info;
mod snapshot_options;
mod stream;
mod stream_limits;
mod stream_options;
mod stream_wake;
mod text;
mod types;

pub use batch::{eval_batch, BatchItem, BatchOptions};
pub use cancel::Cancel;
pub use context::{Context, ContextOptions, CpuTier, LogLevel, ProfileEntry};
pub use convert::{ConvertOptions, ConvertReport, Estimate};
pub use error::{Error, Status};
pub use generate::{Generate, GenerateOptions, StopReason, Token};
pub use logits::Logits;
pub use model::{Model, ModelInfo, ModelOptions, SublayerInfo};
pub use pool::{Tasks, ThreadPool};
pub use prefix_cache::{
    PrefixCache, PrefixCacheOptions, PrefixCacheStats, PrefixReason, PrefixReport,
};
pub use reader::Reader;
pub use rewind::{RewindOptions, RewindReport};
pub use sampler::{Candidates, Penalties, Sampler, SamplerBuilder, SamplerState, TokenMask};
pub use session::{EvalOptions, Hidden, Outputs, Session, SessionOptions, SessionStats};
pub use snapshot::Snapshot;
pub use snapshot_info::{SectionKind, SnapshotInfo, SnapshotSection};
pub use snapshot_options::{Codec, SnapshotReadOptions, SnapshotWriteOptions};
pub use stream::Stream;
pub use stream_limits::{StreamLimits, StreamStats};
pub use stream_options::StreamOptions;
pub use stream_wake::StreamCancel;
pub use text::{Detokenizer, TokenizeOptions};
pub use types::{Candidate, Dtype, LogProb, RopeTable, TokenId};

/// Version of the C library that runs, for example "0.1.0".
pub fn library_version() -> String {
    // SAFETY: a zero-terminated string in static storage.
    unsafe { ffi::text(samba_lm_sys::samba_version_string()) }
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
