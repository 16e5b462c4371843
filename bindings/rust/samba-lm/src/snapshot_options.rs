//! How snapshots are written and read.
use crate::callback::contain;
use crate::{ffi, Cancel};
use samba_lm_sys as sys;
use std::ops::ControlFlow;
use std::os::raw::c_void;
use std::ptr::{null, null_mut};
use std::sync::Arc;

/// How the state is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// As it is.
    Raw,
    /// Floats split into byte planes, then zstd where it gains.
    Zstd,
}

impl Codec {
    pub(crate) fn to_raw(self) -> sys::samba_codec {
        match self {
            Codec::Raw => sys::SAMBA_CODEC_RAW,
            Codec::Zstd => sys::SAMBA_CODEC_ZSTD,
        }
    }

    pub(crate) fn from_raw(raw: sys::samba_codec) -> Option<Codec> {
        match raw {
            sys::SAMBA_CODEC_RAW => Some(Codec::Raw),
            sys::SAMBA_CODEC_ZSTD => Some(Codec::Zstd),
            _ => None,
        }
    }
}

/// How a snapshot is written; what is not set has the library's default.
#[derive(Clone, Default)]
#[must_use]
pub struct SnapshotWriteOptions {
    codec: Option<Codec>,
    level: i32,
    lossy: bool,
    threads: u16,
    mac_key: Option<Vec<u8>>,
    progress: Option<ProgressFn>,
    cancel: Option<Cancel>,
}

impl SnapshotWriteOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Default: [`Codec::Zstd`].
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Of zstd: negative ones are faster, up to 22 smaller. Default (or 0): 1.
    pub fn level(mut self, level: i32) -> Self {
        self.level = level;
        self
    }

    /// Keys and values are stored as Q8_0, which changes them; they come back in their own type.
    /// Default: no.
    pub fn lossy(mut self, lossy: bool) -> Self {
        self.lossy = lossy;
        self
    }

    /// That encode, the caller's included. Default (or 0): as many as the context has.
    pub fn threads(mut self, threads: u16) -> Self {
        self.threads = threads;
        self
    }

    /// 16 to 64 bytes that only those know who may write such files: adds a keyed BLAKE2b, by which
    /// a reader with the key finds forgery. `Unsupported` in builds without libsodium.
    pub fn mac_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.mac_key = Some(key.into());
        self
    }

    /// Called now and then with the bytes done and all bytes of the state; `Break` cancels.
    pub fn progress<F>(mut self, progress: F) -> Self
    where
        F: Fn(u64, u64) -> ControlFlow<()> + Send + Sync + 'static,
    {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Ends the call early.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Points into `self`.
    pub(crate) fn to_raw(&self) -> sys::samba_snapshot_write_options {
        let (mac_key, mac_key_size) = raw_key(&self.mac_key);
        sys::samba_snapshot_write_options {
            codec: self.codec.map_or(0, Codec::to_raw),
            zstd_level: self.level,
            lossy_kv: ffi::switch(self.lossy.then(|| true)),
            n_threads: self.threads.into(),
            mac_key,
            mac_key_size,
            progress: self.progress.as_ref().map(|_| on_progress as _),
            progress_user_data: progress_user_data(&self.progress),
            cancel: Cancel::raw(&self.cancel),
            ..ffi::output!(samba_snapshot_write_options)
        }
    }
}

/// How a snapshot is read; what is not set has the library's default.
#[derive(Clone, Default)]
#[must_use]
pub struct SnapshotReadOptions {
    header_only: bool,
    max_bytes: u64,
    threads: u16,
    mac_key: Option<Vec<u8>>,
    progress: Option<ProgressFn>,
    cancel: Option<Cancel>,
}

impl SnapshotReadOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only tokens, metadata and figures; the state is neither read nor checked, and no session can
    /// go on from it. Not together with a key. Default: no.
    pub fn header_only(mut self, header_only: bool) -> Self {
        self.header_only = header_only;
        self
    }

    /// A snapshot that takes more memory fails with `Limit`. Default (or 0): 1 GiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// That decode, the caller's included. Default (or 0): as many as the context has.
    pub fn threads(mut self, threads: u16) -> Self {
        self.threads = threads;
        self
    }

    /// `Format` unless the file was written with this key. Default: none is asked for.
    pub fn mac_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.mac_key = Some(key.into());
        self
    }

    /// Called now and then with the bytes done and all bytes of the file; `Break` cancels.
    pub fn progress<F>(mut self, progress: F) -> Self
    where
        F: Fn(u64, u64) -> ControlFlow<()> + Send + Sync + 'static,
    {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Ends the call early.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Points into `self`.
    pub(crate) fn to_raw(&self) -> sys::samba_snapshot_read_options {
        let (mac_key, mac_key_size) = raw_key(&self.mac_key);
        sys::samba_snapshot_read_options {
            mode: match self.header_only {
                true => sys::SAMBA_SNAPSHOT_HEADER,
                false => sys::SAMBA_SNAPSHOT_FULL,
            },
            max_bytes: self.max_bytes,
            mac_key,
            mac_key_size,
            n_threads: self.threads.into(),
            progress: self.progress.as_ref().map(|_| on_progress as _),
            progress_user_data: progress_user_data(&self.progress),
            cancel: Cancel::raw(&self.cancel),
            ..ffi::output!(samba_snapshot_read_options)
        }
    }
}

/// An empty key is not none: the library refuses it, so it must see a pointer.
fn raw_key(key: &Option<Vec<u8>>) -> (*const std::os::raw::c_void, usize) {
    key.as_ref()
        .map_or((null(), 0), |key| (key.as_ptr().cast(), key.len()))
}

type ProgressFn = Arc<dyn Fn(u64, u64) -> ControlFlow<()> + Send + Sync>;

/// Points into the options.
fn progress_user_data(progress: &Option<ProgressFn>) -> *mut c_void {
    progress
        .as_ref()
        .map_or(null_mut(), |call| (call as *const ProgressFn) as *mut _)
}

unsafe extern "C" fn on_progress(user_data: *mut c_void, done: u64, total: u64) -> i32 {
    // SAFETY: what `progress_user_data` gave; the options outlive the call, inside which this runs.
    let call = unsafe { &*user_data.cast::<ProgressFn>() };
    contain(None, sys::SAMBA_STOP, || ffi::flow(call(done, total)))
}
