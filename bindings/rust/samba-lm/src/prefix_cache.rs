//! What sessions have read before, for prompts that begin alike.
use crate::callback::enter_in_drop;
use crate::error::attempt;
use crate::{ffi, Error, EvalOptions, Model, Session, TokenId};
use samba_lm_sys as sys;
use std::fmt;
use std::path::PathBuf;
use std::ptr::{null, null_mut, NonNull};
use std::sync::Arc;

/// How a [`PrefixCache`] is made; what is not set has the library's default.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PrefixCacheOptions {
    max_bytes: u64,
    interval: Option<u32>,
    spill_directory: Option<PathBuf>,
    max_spill_bytes: u64,
}

impl PrefixCacheOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// State, logits and tokens of all entries; memory that they share counts once. Default (or 0):
    /// 16 states of a session.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// While a prompt is read every multiple of this is stored, besides where it leaves what is
    /// cached, and its end; 0: no multiples. Default: 512.
    pub fn interval(mut self, tokens: u32) -> Self {
        self.interval = Some(tokens);
        self
    }

    /// A folder that exists: what no longer fits is written there as snapshot files and found again,
    /// also by later processes with the same model. Default: none.
    pub fn spill_directory(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spill_directory = Some(folder.into());
        self
    }

    /// Of this model's files there. Default (or 0): 8 times [`max_bytes`](Self::max_bytes).
    pub fn max_spill_bytes(mut self, bytes: u64) -> Self {
        self.max_spill_bytes = bytes;
        self
    }

    /// Makes a cache for sessions of the model.
    ///
    /// # Errors
    /// `NotFound`, `Io`: the spill directory.
    pub fn create(&self, model: &Model) -> Result<PrefixCache, Error> {
        let folder = self.spill_directory.as_deref();
        let folder = folder.map(ffi::c_path).transpose()?;
        let options = sys::samba_prefix_cache_options {
            max_bytes: self.max_bytes,
            interval: match self.interval {
                None => 0,
                Some(0) => sys::SAMBA_PREFIX_INTERVAL_NONE as u32,
                Some(tokens) => tokens,
            },
            spill_directory: folder.as_ref().map_or(null(), |folder| folder.as_ptr()),
            max_spill_bytes: self.max_spill_bytes,
            ..ffi::output!(samba_prefix_cache_options)
        };
        let mut raw = null_mut();
        // SAFETY: a live model and room for the result; options are copied.
        attempt(|error| unsafe {
            sys::samba_prefix_cache_create(model.raw(), &options, &mut raw, error)
        })?;
        Ok(PrefixCache(Arc::new(Inner {
            raw: NonNull::new(raw).expect("a prefix cache"),
            _model: model.clone(),
        })))
    }
}

/// A system prompt, or a conversation so far, is evaluated once, and sessions after that start
/// behind it, with the same bits as if they had read everything.
///
/// A prompt's end is stored, multiples of the interval in it, and where later prompts leave it; so to
/// start behind a system prompt from the second session on, read that alone once.
///
/// A handle: clones are the same cache, which any number of threads use at once.
#[derive(Clone)]
pub struct PrefixCache(Arc<Inner>);

struct Inner {
    raw: NonNull<sys::samba_prefix_cache>,
    _model: Model,
}

// SAFETY: any number of threads may use a cache at once.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: calls that use it borrow a clone, so none does.
        enter_in_drop(|| unsafe { sys::samba_prefix_cache_free(self.raw.as_ptr()) });
    }
}

impl PrefixCache {
    /// A cache with the default options.
    pub fn new(model: &Model) -> Result<PrefixCache, Error> {
        PrefixCacheOptions::new().create(model)
    }

    pub(crate) fn raw(&self) -> *mut sys::samba_prefix_cache {
        self.0.raw.as_ptr()
    }

    /// Makes the session stand where a new one would stand after reading `tokens`: restores the
    /// longest cached prefix, evaluates the rest, and stores positions of it. Whatever the session
    /// held before is gone; its options stay. After a failure a new try needs no preparation.
    ///
    /// # Errors
    /// `Mismatch`: a session of another model. `State`: it begins at another position than 0.
    pub fn eval(&self, session: &mut Session, tokens: &[TokenId]) -> Result<PrefixReport, Error> {
        self.eval_with(session, tokens, &EvalOptions::new())
    }

    /// The same with options, of which outputs (all left out) and cancel may be set.
    pub fn eval_with(
        &self,
        session: &mut Session,
        tokens: &[TokenId],
        options: &EvalOptions,
    ) -> Result<PrefixReport, Error> {
        let (data, n, options) = (tokens.as_ptr(), tokens.len(), options.to_raw());
        let (session, mut raw) = (session.raw(), ffi::output!(samba_prefix_report));
        // SAFETY: live objects, that many tokens, room for the result.
        attempt(|error| unsafe {
            sys::samba_prefix_cache_eval(self.raw(), session, data, n, &options, &mut raw, error)
        })?;
        Ok(PrefixReport::from_raw(&raw))
    }

    /// Stores where a session stands, such as after an answer, for the prompt that repeats it and
    /// goes on.
    ///
    /// # Errors
    /// `State`: nothing has been fed, a proposal waits, it began elsewhere than at 0, or it has
    /// dropped tokens. `Limit`: it is larger than the cache. `Mismatch`: another model.
    pub fn put(&self, session: &Session) -> Result<(), Error> {
        // SAFETY: live objects.
        attempt(|error| unsafe { sys::samba_prefix_cache_put(self.raw(), session.raw(), error) })
    }

    /// Forgets all entries; spilled files stay.
    pub fn clear(&self) {
        // SAFETY: a live cache.
        crate::callback::enter(|| unsafe { sys::samba_prefix_cache_clear(self.raw()) });
    }

    /// Writes all entries to the spill directory that are not there yet.
    ///
    /// # Errors
    /// `State`: there is none. `Io`.
    pub fn flush(&self) -> Result<(), Error> {
        // SAFETY: a live cache.
        attempt(|error| unsafe { sys::samba_prefix_cache_flush(self.raw(), error) })
    }

    /// What it holds and has done.
    pub fn stats(&self) -> Result<PrefixCacheStats, Error> {
        let mut raw = ffi::output!(samba_prefix_cache_stats);
        // SAFETY: a live cache and room for the result.
        attempt(|error| unsafe { sys::samba_prefix_cache_get_stats(self.raw(), &mut raw, error) })?;
        Ok(PrefixCacheStats {
            n_entries: raw.n_entries,
            bytes: raw.bytes,
            max_bytes: raw.max_bytes,
            n_hits: raw.n_hits,
            n_misses: raw.n_misses,
            n_restored: raw.n_restored,
            n_replayed: raw.n_replayed,
            n_stored: raw.n_stored,
            n_evicted: raw.n_evicted,
            n_files: raw.n_files,
            file_bytes: raw.file_bytes,
            n_written: raw.n_written,
            n_file_hits: raw.n_file_hits,
            n_file_failures: raw.n_file_failures,
        })
    }
}

impl fmt::Debug for PrefixCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrefixCache")
    }
}

/// Why a session did not start further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrefixReason {
    /// It did: all tokens were found.
    Whole,
    /// Nothing cached begins with more of the tokens.
    New,
    /// More is cached, but no image stands at that position.
    NotStored,
    /// There is one after the last token, without logits.
    NoLogits,
    /// More is cached, with keys and values of another type.
    OtherKvDtype,
    /// More lies in a spilled file that could not be restored.
    FileFailed,
    /// A reason of a later version of the library.
    Other(i32),
}

const REASONS: [(i32, PrefixReason); 6] = [
    (sys::SAMBA_PREFIX_WHOLE, PrefixReason::Whole),
    (sys::SAMBA_PREFIX_NEW, PrefixReason::New),
    (sys::SAMBA_PREFIX_NOT_STORED, PrefixReason::NotStored),
    (sys::SAMBA_PREFIX_NO_LOGITS, PrefixReason::NoLogits),
    (sys::SAMBA_PREFIX_OTHER_KV_DTYPE, PrefixReason::OtherKvDtype),
    (sys::SAMBA_PREFIX_FILE_FAILED, PrefixReason::FileFailed),
];

impl PrefixReason {
    fn from_raw(raw: sys::samba_prefix_reason) -> PrefixReason {
        let known = REASONS.iter().find(|reason| reason.0 == raw);
        known.map_or(PrefixReason::Other(raw), |reason| reason.1)
    }

    fn to_raw(self) -> sys::samba_prefix_reason {
        match self {
            PrefixReason::Other(raw) => raw,
            known => REASONS.iter().find(|r| r.1 == known).map_or(0, |r| r.0),
        }
    }
}

impl fmt::Display for PrefixReason {
    /// A sentence part for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: a zero-terminated string in static storage.
        f.write_str(&unsafe { ffi::text(sys::samba_prefix_reason_string(self.to_raw())) })
    }
}

/// How a prompt was read; see [`PrefixCache::eval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrefixReport {
    /// Tokens that the prompt shares with something cached.
    pub matched: u64,
    /// Of these, tokens that the session did not have to read: where it began.
    pub restored: u64,
    /// Tokens evaluated from there on.
    pub replayed: u64,
    /// Positions of this prompt that are now cached and were not before.
    pub stored: u64,
    /// Why `restored` is not more.
    pub reason: PrefixReason,
    /// State and logits are bit for bit those of reading it all.
    pub exact: bool,
    /// `restored` of them came from a spilled file.
    pub from_file: bool,
}

impl PrefixReport {
    pub(crate) fn from_raw(raw: &sys::samba_prefix_report) -> PrefixReport {
        PrefixReport {
            matched: raw.matched,
            restored: raw.restored,
            replayed: raw.replayed,
            stored: raw.stored,
            reason: PrefixReason::from_raw(raw.reason),
            exact: raw.exact != 0,
            from_file: raw.from_file != 0,
        }
    }
}

/// What a cache holds and has done; see [`PrefixCache::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrefixCacheStats {
    /// Positions held in memory.
    pub n_entries: u64,
    /// By them together, at most `max_bytes`.
    pub bytes: u64,
    /// The budget.
    pub max_bytes: u64,
    /// Evals that restored something.
    pub n_hits: u64,
    /// Evals that restored nothing.
    pub n_misses: u64,
    /// Tokens restored, of all evals.
    pub n_restored: u64,
    /// Tokens evaluated, of all evals.
    pub n_replayed: u64,
    /// Positions stored.
    pub n_stored: u64,
    /// Positions that had to go.
    pub n_evicted: u64,
    /// Files in the spill directory, as far as known.
    pub n_files: u64,
    /// Their size.
    pub file_bytes: u64,
    /// Positions spilled by this cache.
    pub n_written: u64,
    /// Evals that restored a file.
    pub n_file_hits: u64,
    /// Files that could not be written, or not restored.
    pub n_file_failures: u64,
}
