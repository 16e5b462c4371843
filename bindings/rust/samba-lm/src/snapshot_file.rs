//! Snapshots as bytes and files.
use crate::error::attempt;
use crate::{ffi, Cancel, Context, Dtype, Error, Snapshot, TokenId};
use samba_lm_sys as sys;
use std::path::Path;
use std::ptr::{null, null_mut};

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
    fn to_raw(self) -> sys::samba_codec {
        match self {
            Codec::Raw => sys::SAMBA_CODEC_RAW,
            Codec::Zstd => sys::SAMBA_CODEC_ZSTD,
        }
    }

    fn from_raw(raw: sys::samba_codec) -> Option<Codec> {
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

    /// Ends the call early.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Points into `self`.
    fn to_raw(&self) -> sys::samba_snapshot_write_options {
        let (mac_key, mac_key_size) = raw_key(&self.mac_key);
        sys::samba_snapshot_write_options {
            codec: self.codec.map_or(0, Codec::to_raw),
            zstd_level: self.level,
            lossy_kv: ffi::switch(self.lossy.then(|| true)),
            n_threads: self.threads.into(),
            mac_key,
            mac_key_size,
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

    /// Ends the call early.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Points into `self`.
    fn to_raw(&self) -> sys::samba_snapshot_read_options {
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

/// Bytes that the library made, freed when dropped.
struct Bytes(*mut sys::samba_bytes);

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: the owner; NULL is allowed.
        unsafe { sys::samba_bytes_free(self.0) };
    }
}

impl Snapshot {
    /// Writes a file, which any later version of the library reads, with any backend and number of
    /// threads. Under its name stands the old file or the whole new one, whatever fails.
    ///
    /// ```
    /// # fn main() -> Result<(), samba_lm::Error> {
    /// use samba_lm::{Context, Model, Session, Snapshot};
    ///
    /// let context = Context::new()?;
    /// let model = Model::load(&context, "../../../examples/models/samba-13m.gguf")?;
    /// let mut session = Session::new(&model)?;
    /// session.feed_text("The old man said")?;
    /// let file = std::env::temp_dir().join(format!("doc-{}.samba", std::process::id()));
    /// session.snapshot_with(b"mine")?.write_file(&file)?;
    ///
    /// let saved = Snapshot::read_file(&context, &file)?; // in this process or another
    /// assert_eq!(saved.info()?.metadata, b"mine");
    /// assert_eq!(saved.session(&model)?.logits()?, session.logits()?);
    /// # std::fs::remove_file(&file).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Io`; `State`: it was read without its state, or the state is not finite.
    pub fn write_file(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.write_file_with(path, &SnapshotWriteOptions::new())
    }

    /// The same with options.
    pub fn write_file_with(
        &self,
        path: impl AsRef<Path>,
        options: &SnapshotWriteOptions,
    ) -> Result<(), Error> {
        let (path, options) = (ffi::c_path(path.as_ref())?, options.to_raw());
        // SAFETY: a live snapshot; the options point into what the caller holds.
        attempt(|error| unsafe {
            sys::samba_snapshot_write_file(self.raw(), path.as_ptr(), &options, error)
        })
    }

    /// The bytes of such a file.
    ///
    /// ```
    /// # fn main() -> Result<(), samba_lm::Error> {
    /// use samba_lm::{Context, Model, Session, Snapshot};
    ///
    /// let context = Context::new()?;
    /// let model = Model::load(&context, "../../../examples/models/samba-13m.gguf")?;
    /// let mut session = Session::new(&model)?;
    /// session.feed_text("The old man said")?;
    /// let bytes: Vec<u8> = session.snapshot()?.to_bytes()?;
    /// let again = Snapshot::from_bytes(&context, &bytes)?.session(&model)?;
    /// assert_eq!(again.tokens()?, session.tokens()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        self.to_bytes_with(&SnapshotWriteOptions::new())
    }

    /// The same with options.
    pub fn to_bytes_with(&self, options: &SnapshotWriteOptions) -> Result<Vec<u8>, Error> {
        let options = options.to_raw();
        let mut bytes = Bytes(null_mut());
        // SAFETY: a live snapshot and room for the result, which is copied.
        unsafe {
            attempt(|error| {
                sys::samba_snapshot_write_memory(self.raw(), &options, &mut bytes.0, error)
            })?;
            let (data, n) = (
                sys::samba_bytes_data(bytes.0),
                sys::samba_bytes_size(bytes.0),
            );
            Ok(ffi::slice(data.cast::<u8>(), n).to_vec())
        }
    }

    /// Reads a file; a model is needed only for [`Snapshot::session`]. Every size and every float in
    /// it is checked.
    ///
    /// # Errors
    /// `Io`, `Format` (names the section), `Unsupported` (a later version of the format), `Limit`.
    pub fn read_file(context: &Context, path: impl AsRef<Path>) -> Result<Snapshot, Error> {
        Self::read_file_with(context, path, &SnapshotReadOptions::new())
    }

    /// The same with options.
    pub fn read_file_with(
        context: &Context,
        path: impl AsRef<Path>,
        options: &SnapshotReadOptions,
    ) -> Result<Snapshot, Error> {
        let (path, options) = (ffi::c_path(path.as_ref())?, options.to_raw());
        let (from, mut raw) = (path.as_ptr(), null_mut());
        // SAFETY: a live context and room for the result.
        attempt(|error| unsafe {
            sys::samba_snapshot_read_file(context.raw(), from, &options, &mut raw, error)
        })?;
        Ok(Snapshot::from_raw(raw, context, None))
    }

    /// Reads the bytes of a file.
    pub fn from_bytes(context: &Context, bytes: &[u8]) -> Result<Snapshot, Error> {
        Self::from_bytes_with(context, bytes, &SnapshotReadOptions::new())
    }

    /// The same with options.
    pub fn from_bytes_with(
        context: &Context,
        bytes: &[u8],
        options: &SnapshotReadOptions,
    ) -> Result<Snapshot, Error> {
        let (options, mut raw) = (options.to_raw(), null_mut());
        let (data, n) = (bytes.as_ptr().cast(), bytes.len());
        // SAFETY: a live context, bytes that are only borrowed, and room for the result.
        attempt(|error| unsafe {
            sys::samba_snapshot_read_memory(context.raw(), data, n, &options, &mut raw, error)
        })?;
        Ok(Snapshot::from_raw(raw, context, None))
    }

    /// What it is, read or taken.
    pub fn info(&self) -> Result<SnapshotInfo<'_>, Error> {
        let mut raw = ffi::output!(samba_snapshot_info);
        // SAFETY: a live snapshot and room for the result.
        attempt(|error| unsafe { sys::samba_snapshot_get_info(self.raw(), &mut raw, error) })?;
        // SAFETY: name and metadata stay as they are as long as the snapshot.
        let (name, metadata) = unsafe {
            (
                ffi::optional_text(raw.model_name),
                ffi::slice(raw.metadata.cast::<u8>(), raw.metadata_size),
            )
        };
        Ok(SnapshotInfo {
            position: raw.position,
            first_position: raw.first_position,
            n_tokens: raw.n_tokens,
            has_logits: raw.has_logits != 0,
            n_vocab: raw.n_vocab,
            kv_dtype: Dtype::from_raw(raw.kv_dtype),
            fingerprint: raw.fingerprint,
            model_name: name.unwrap_or_default(),
            metadata,
            raw_bytes: raw.raw_bytes,
            file_bytes: raw.file_bytes,
            format_version: raw.format_version,
            codec: Codec::from_raw(raw.codec),
            lossy: raw.lossy != 0,
            has_mac: raw.has_mac != 0,
            header_only: raw.mode == sys::SAMBA_SNAPSHOT_HEADER,
        })
    }

    /// The tokens kept, and the position of the first of them.
    pub fn tokens(&self) -> Result<(u64, &[TokenId]), Error> {
        let (mut tokens, mut first, mut n) = (null(), 0, 0);
        // SAFETY: a live snapshot, room for the results; what they point to stays as long as it.
        unsafe {
            attempt(|error| {
                sys::samba_snapshot_tokens(self.raw(), &mut tokens, &mut first, &mut n, error)
            })?;
            Ok((first, ffi::slice(tokens, n)))
        }
    }
}

/// What a snapshot is; see [`Snapshot::info`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotInfo<'a> {
    /// Position of the next token.
    pub position: u64,
    /// Of the session's first token.
    pub first_position: u64,
    /// Tokens kept; the last one stands at `position - 1`.
    pub n_tokens: u64,
    /// The next token can be drawn without a pass.
    pub has_logits: bool,
    /// Size of the vocabulary.
    pub n_vocab: u32,
    /// Type of keys and values.
    pub kv_dtype: Option<Dtype>,
    /// Of the model, as [`ModelInfo::fingerprint`](crate::ModelInfo::fingerprint).
    pub fingerprint: [u8; 16],
    /// Empty if it has none.
    pub model_name: String,
    /// The bytes given to [`Session::snapshot_with`](crate::Session::snapshot_with).
    pub metadata: &'a [u8],
    /// Of all sections, decoded.
    pub raw_bytes: u64,
    /// Of the file that it was read from; else 0, as `format_version`.
    pub file_bytes: u64,
    /// Of that file.
    pub format_version: u32,
    /// Of that file.
    pub codec: Option<Codec>,
    /// Keys and values are not bit for bit what they were.
    pub lossy: bool,
    /// The file was written with a key.
    pub has_mac: bool,
    /// Read by [`SnapshotReadOptions::header_only`].
    pub header_only: bool,
}
