//! Small values that several parts share.
use crate::{ffi, Error, Status};
use samba_lm_sys as sys;
use std::fmt;
use std::str::FromStr;

/// Id of a token: 0 up to the size of the vocabulary.
pub type TokenId = sys::samba_token;

/// Element types of weights and of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// The upper half of a 32-bit floating point number.
    Bf16,
    /// Blocks of 32 8-bit numbers with one scale.
    Q8_0,
    /// Blocks of 32 4-bit numbers with one scale.
    Q4_0,
    /// Blocks of 256 4-bit numbers with 8 scales and minima.
    Q4K,
    /// Blocks of 256 6-bit numbers with 16 scales.
    Q6K,
}

impl Dtype {
    pub(crate) fn to_raw(self) -> sys::samba_dtype {
        match self {
            Dtype::F32 => sys::SAMBA_DTYPE_F32,
            Dtype::F16 => sys::SAMBA_DTYPE_F16,
            Dtype::Bf16 => sys::SAMBA_DTYPE_BF16,
            Dtype::Q8_0 => sys::SAMBA_DTYPE_Q8_0,
            Dtype::Q4_0 => sys::SAMBA_DTYPE_Q4_0,
            Dtype::Q4K => sys::SAMBA_DTYPE_Q4_K,
            Dtype::Q6K => sys::SAMBA_DTYPE_Q6_K,
        }
    }

    pub(crate) fn from_raw(raw: sys::samba_dtype) -> Option<Dtype> {
        use Dtype::*;
        [F32, F16, Bf16, Q8_0, Q4_0, Q4K, Q6K]
            .into_iter()
            .find(|dtype| dtype.to_raw() == raw)
    }
}

impl FromStr for Dtype {
    type Err = Error;

    /// As in files, in any case.
    fn from_str(name: &str) -> Result<Dtype, Error> {
        let text = ffi::c_string(name.as_bytes(), "the type's name")?;
        // SAFETY: a zero-terminated string.
        let raw = unsafe { sys::samba_dtype_from_name(text.as_ptr()) };
        Dtype::from_raw(raw).ok_or_else(|| {
            Error::new(
                Status::NotFound,
                format!("there is no type called {name:?}"),
            )
        })
    }
}

impl fmt::Display for Dtype {
    /// As in files: `f32`, `q4_k`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: a known dtype has a name, in static storage.
        f.write_str(&unsafe { crate::ffi::text(sys::samba_dtype_name(self.to_raw())) })
    }
}

/// Which table of cos and sin rotary positions use; each family's official code rounds its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RopeTable {
    /// That of microsoft/Samba.
    Bf16,
    /// That of flash-linear-attention in fp32.
    F32,
}

impl RopeTable {
    pub(crate) fn to_raw(self) -> sys::samba_rope_table {
        match self {
            RopeTable::Bf16 => sys::SAMBA_ROPE_TABLE_BF16,
            RopeTable::F32 => sys::SAMBA_ROPE_TABLE_F32,
        }
    }
}

/// A token with the natural logarithm of its probability in the model's raw distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct LogProb {
    /// The token.
    pub token: TokenId,
    /// At most 0.
    pub logprob: f32,
}

/// What [`Candidate`] and [`LogProb`] are cast from.
const _: () = {
    use std::mem::{align_of, size_of};
    assert!(size_of::<LogProb>() == size_of::<sys::samba_logprob>());
    assert!(align_of::<LogProb>() == align_of::<sys::samba_logprob>());
    assert!(size_of::<Candidate>() == size_of::<sys::samba_candidate>());
    assert!(align_of::<Candidate>() == align_of::<sys::samba_candidate>());
};

/// A token that may still be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Candidate {
    /// The token.
    pub token: TokenId,
    /// Its logit after the stages so far.
    pub logit: f32,
}
