//! Ending calls early.
use crate::error::attempt;
use crate::{Context, Error};
use samba_lm_sys as sys;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

/// A request to end calls early, which holds until it is reset. Hand it to any number of calls
/// through their options; each fails with [`Status::Cancelled`](crate::Status::Cancelled) soon after
/// the request.
///
/// A handle: clones are the same request.
#[derive(Clone)]
pub struct Cancel(Arc<Inner>);

struct Inner {
    raw: NonNull<sys::samba_cancel>,
    _context: Context,
}

// SAFETY: requests may come from any thread; what it holds is atomic.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: calls that use it borrow a clone, so none does.
        unsafe { sys::samba_cancel_free(self.raw.as_ptr()) };
    }
}

impl Cancel {
    /// One that has not been requested.
    pub fn new(context: &Context) -> Result<Cancel, Error> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: a live context and room for the result.
        attempt(|error| unsafe { sys::samba_cancel_create(context.raw(), &mut raw, error) })?;
        let raw = NonNull::new(raw).expect("a cancel object");
        Ok(Cancel(Arc::new(Inner {
            raw,
            _context: context.clone(),
        })))
    }

    /// Ends the calls that it was handed to, and those still to come.
    pub fn request(&self) {
        // SAFETY: allowed from any thread at any time.
        unsafe { sys::samba_cancel_request(self.0.raw.as_ptr()) };
    }

    /// Makes it usable again. A call that runs meanwhile may or may not see the request.
    pub fn reset(&self) {
        // SAFETY: an atomic store.
        unsafe { sys::samba_cancel_reset(self.0.raw.as_ptr()) };
    }

    pub(crate) fn raw(cancel: &Option<Cancel>) -> *const sys::samba_cancel {
        cancel
            .as_ref()
            .map_or(std::ptr::null(), |cancel| cancel.0.raw.as_ptr())
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancel")
    }
}
