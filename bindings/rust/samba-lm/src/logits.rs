//! Output rows apart from their session.
use crate::error::attempt;
use crate::{ffi, Error, Model, Session, TokenId};
use samba_lm_sys as sys;
use std::fmt;
use std::ptr::{null_mut, NonNull};
use std::sync::Arc;

/// The output rows of an eval, which stay as they are whatever the session does next; see
/// [`Session::hold_logits`].
///
/// A handle: clones are the same rows.
#[derive(Clone)]
pub struct Logits(Arc<Inner>);

struct Inner {
    raw: NonNull<sys::samba_logits>,
    _model: Model,
}

// SAFETY: immutable; any number of threads may use it at once.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the one reference that holding it gave.
        crate::callback::enter_in_drop(|| unsafe { sys::samba_logits_release(self.raw.as_ptr()) });
    }
}

impl Session {
    /// The logits that [`logits_row`](Self::logits_row) reads now, shared rather than copied, to be
    /// kept while the session goes on.
    ///
    /// # Errors
    /// `State`: there are none.
    pub fn hold_logits(&self) -> Result<Logits, Error> {
        let mut raw = null_mut();
        // SAFETY: a live session and room for the result.
        attempt(|error| unsafe { sys::samba_session_hold_logits(self.raw(), &mut raw, error) })?;
        Ok(Logits(Arc::new(Inner {
            raw: NonNull::new(raw).expect("logits"),
            _model: self.model().clone(),
        })))
    }

    /// log p(`token`) after the last row: the bits that [`score`](Self::score) gives there.
    pub fn logprob(&self, token: TokenId) -> Result<f32, Error> {
        self.logprob_row(sys::SAMBA_ROW_LAST, token)
    }

    /// The same after one of the rows of the last eval.
    pub fn logprob_row(&self, row: usize, token: TokenId) -> Result<f32, Error> {
        let mut logprob = 0.0;
        // SAFETY: a live session and room for the result.
        attempt(|error| unsafe {
            sys::samba_session_logprob(self.raw(), row, token, &mut logprob, error)
        })?;
        Ok(logprob)
    }
}

impl Logits {
    /// All rows, one after another, and how many floats one has.
    fn all(&self) -> (&[f32], usize) {
        let (mut n_rows, mut n_vocab) = (0, 0);
        // SAFETY: `n_rows * n_vocab` floats, which stay as long as the object.
        unsafe {
            let data = sys::samba_logits_data(self.0.raw.as_ptr(), &mut n_rows, &mut n_vocab);
            (ffi::slice(data, n_rows * n_vocab), n_vocab)
        }
    }

    /// The rows, of `n_vocab` floats each.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        let (data, n_vocab) = self.all();
        data.chunks_exact(n_vocab.max(1))
    }

    /// The last row.
    pub fn last(&self) -> &[f32] {
        let (data, n_vocab) = self.all();
        &data[data.len() - n_vocab..]
    }
}

impl fmt::Debug for Logits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logits")
            .field("n_rows", &self.rows().len())
            .finish()
    }
}
