//! Images of sessions.
use crate::callback::enter_in_drop;
use crate::error::attempt;
use crate::{ffi, Context, Error, Model, Session, SessionOptions};
use samba_lm_sys as sys;
use std::ptr::{null_mut, NonNull};
use std::sync::Arc;

impl Session {
    /// An image of the session, in microseconds.
    ///
    /// # Errors
    /// `State`: a proposal waits for [`Session::keep`].
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        self.snapshot_with(&[])
    }

    /// The same with bytes of your own in it, at most 16 MiB.
    pub fn snapshot_with(&self, metadata: &[u8]) -> Result<Snapshot, Error> {
        let options = sys::samba_snapshot_options {
            metadata: metadata.as_ptr().cast(),
            metadata_size: metadata.len(),
            ..ffi::output!(samba_snapshot_options)
        };
        let mut raw = null_mut();
        // SAFETY: a live session and room for the result.
        attempt(|error| unsafe {
            sys::samba_session_snapshot(self.raw(), &options, &mut raw, error)
        })?;
        let model = self.model();
        Ok(Snapshot::from_raw(raw, model.context(), Some(model)))
    }

    /// Puts the session where the snapshot's was. Its own options stay; its checkpoints go.
    ///
    /// # Errors
    /// `Mismatch`: another model, tokenizer or type of keys and values.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        // SAFETY: live objects.
        attempt(|error| unsafe { sys::samba_session_restore(self.raw(), snapshot.raw(), error) })
    }
}

/// An immutable image of a session: tokens kept, position, all state, the last logits. The next
/// token after restoring one needs no pass over the past. Threads may share it while its session
/// goes on elsewhere.
///
/// A handle: clones are the same snapshot.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

struct Inner {
    raw: NonNull<sys::samba_snapshot>,
    _model: Option<Model>, // none if it was read
    _context: Context,
}

// SAFETY: immutable; any number of threads may use it at once.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the one reference that taking it gave.
        enter_in_drop(|| unsafe { sys::samba_snapshot_release(self.raw.as_ptr()) });
    }
}

impl Snapshot {
    /// Takes over what a call that succeeded has made.
    pub(crate) fn from_raw(
        raw: *mut sys::samba_snapshot,
        context: &Context,
        model: Option<&Model>,
    ) -> Snapshot {
        Snapshot(Arc::new(Inner {
            raw: NonNull::new(raw).expect("a snapshot"),
            _model: model.cloned(),
            _context: context.clone(),
        }))
    }

    pub(crate) fn raw(&self) -> *mut sys::samba_snapshot {
        self.0.raw.as_ptr()
    }

    /// A new session where the snapshot's was.
    pub fn session(&self, model: &Model) -> Result<Session, Error> {
        self.session_with(model, &SessionOptions::new())
    }

    /// The same with options; type of keys and values and first position are the snapshot's, and
    /// naming others is a `Mismatch`.
    pub fn session_with(&self, model: &Model, options: &SessionOptions) -> Result<Session, Error> {
        let options = options.to_raw();
        let mut raw = null_mut();
        // SAFETY: live objects and room for the result.
        attempt(|error| unsafe {
            let snapshot = self.raw();
            sys::samba_session_create_from(model.raw(), snapshot, &options, &mut raw, error)
        })?;
        Ok(Session::from_raw(raw, model))
    }
}
