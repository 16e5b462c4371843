//! What a snapshot is, and what it is made of.
use crate::error::attempt;
use crate::{ffi, Codec, Dtype, Error, Snapshot, TokenId};
use samba_lm_sys as sys;
use std::ptr::null;

impl Snapshot {
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
            n_sections: raw.n_sections,
            n_vocab: raw.n_vocab,
            kv_dtype: Dtype::from_raw(raw.kv_dtype),
            fingerprint: raw.fingerprint,
            architecture: raw.architecture,
            weights: raw.weights,
            tokenizer: raw.tokenizer,
            model_name: name.unwrap_or_default(),
            metadata,
            raw_bytes: raw.raw_bytes,
            file_bytes: raw.file_bytes,
            format_version: raw.format_version,
            library_version: raw.library_version,
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

    /// One of its sections: 0 up to [`SnapshotInfo::n_sections`].
    pub fn section(&self, index: u64) -> Result<SnapshotSection<'_>, Error> {
        let mut raw = ffi::output!(samba_snapshot_section_info);
        // SAFETY: a live snapshot and room for the result.
        attempt(|error| unsafe {
            sys::samba_snapshot_get_section(self.raw(), index, &mut raw, error)
        })?;
        // SAFETY: static strings, and content that stays as it is as long as the snapshot.
        let (name, element, stored_element, data) = unsafe {
            let n = usize::try_from(raw.raw_bytes).unwrap_or(0);
            let data = (!raw.data.is_null()).then(|| ffi::slice(raw.data.cast::<u8>(), n));
            let stored = ffi::optional_text(raw.stored_type);
            (ffi::text(raw.name), ffi::text(raw.type_), stored, data)
        };
        Ok(SnapshotSection {
            kind: SectionKind::from_raw(raw.kind),
            sublayer: u32::try_from(raw.sublayer).ok(),
            name,
            element,
            dims: raw.dims[..(raw.n_dims as usize).min(raw.dims.len())].to_vec(),
            raw_bytes: raw.raw_bytes,
            stored_bytes: raw.stored_bytes,
            codec: Codec::from_raw(raw.codec),
            stored_element,
            data,
        })
    }
}

/// What a section holds; lib/state/FORMAT.md says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SectionKind {
    /// The tokens kept.
    Tokens,
    /// Bytes of the host's own.
    Metadata,
    /// Of the last row.
    Logits,
    /// Mamba: the latest inputs of the convolution.
    Conv,
    /// Mamba: the recurrent state.
    Ssm,
    /// Attention: the latest inputs of the convolution over q, k and v.
    QkvConv,
    /// GLA, retention: the recurrent state.
    Matrix,
    /// Keys and values.
    Kv,
    /// Of a later version of the library.
    Other(i32),
}

impl SectionKind {
    fn from_raw(raw: sys::samba_section_kind) -> SectionKind {
        match raw {
            sys::SAMBA_SECTION_TOKENS => SectionKind::Tokens,
            sys::SAMBA_SECTION_METADATA => SectionKind::Metadata,
            sys::SAMBA_SECTION_LOGITS => SectionKind::Logits,
            sys::SAMBA_SECTION_CONV => SectionKind::Conv,
            sys::SAMBA_SECTION_SSM => SectionKind::Ssm,
            sys::SAMBA_SECTION_QKV_CONV => SectionKind::QkvConv,
            sys::SAMBA_SECTION_MATRIX => SectionKind::Matrix,
            sys::SAMBA_SECTION_KV => SectionKind::Kv,
            other => SectionKind::Other(other),
        }
    }
}

/// A part of a snapshot; see [`Snapshot::section`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotSection<'a> {
    /// What it holds.
    pub kind: SectionKind,
    /// Of which sublayer, if of one.
    pub sublayer: Option<u32>,
    /// "kv", "ssm", ...
    pub name: String,
    /// Type of its elements: "f16", "i32", ...
    pub element: String,
    /// Its shape.
    pub dims: Vec<u64>,
    /// Of its content.
    pub raw_bytes: u64,
    /// In the file that it was read from; else 0.
    pub stored_bytes: u64,
    /// In that file.
    pub codec: Option<Codec>,
    /// In that file; differs from `element` where the codec is lossy.
    pub stored_element: Option<String>,
    /// The content, little-endian; `None` where it is not kept in this form, as of a session's
    /// snapshot.
    pub data: Option<&'a [u8]>,
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
    /// How many there are for [`Snapshot::section`].
    pub n_sections: u64,
    /// Size of the vocabulary.
    pub n_vocab: u32,
    /// Type of keys and values.
    pub kv_dtype: Option<Dtype>,
    /// Of the model, as [`ModelInfo::fingerprint`](crate::ModelInfo::fingerprint).
    pub fingerprint: [u8; 16],
    /// Of the model's plan alone.
    pub architecture: [u8; 16],
    /// Of its weights alone.
    pub weights: [u8; 16],
    /// Of its tokenizer alone.
    pub tokenizer: [u8; 16],
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
    /// Of the library that wrote that file: major * 1000000 + minor * 1000 + patch.
    pub library_version: u32,
    /// Of that file.
    pub codec: Option<Codec>,
    /// Keys and values are not bit for bit what they were.
    pub lossy: bool,
    /// The file was written with a key.
    pub has_mac: bool,
    /// Read by [`header_only`](crate::SnapshotReadOptions::header_only).
    pub header_only: bool,
}
