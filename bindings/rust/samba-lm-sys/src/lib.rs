//! The C interface of libsamba as it is: `bindings.rs` is bindgen's output for `include/samba.h`,
//! which is the manual. Most programs want the safe crate `samba-lm` instead.
#![allow(non_camel_case_types)]
#![allow(clippy::all)]

mod bindings;
pub use bindings::*;

// What bindgen can't work out: macros that expand to UINT64_MAX or SIZE_MAX.

/// `samba_error_offset` where no offset is known.
pub const SAMBA_NO_OFFSET: u64 = u64::MAX;
/// The last output row.
pub const SAMBA_ROW_LAST: usize = usize::MAX;
/// `max_tokens` without a limit.
pub const SAMBA_TOKENS_UNLIMITED: u64 = u64::MAX;
/// `max_replay`: evaluate nothing again.
pub const SAMBA_REPLAY_NONE: u64 = u64::MAX;
/// `samba_stream_next` without a time limit.
pub const SAMBA_WAIT_FOREVER: u64 = u64::MAX;
