//! What a stream shares with callbacks and other threads: who wakes its reader, and who may cancel
//! it. Outlives the stream's C object, which calls [`on_ready`] until it is closed.
use crate::callback::{assert_not_in_ready, contain_ready, enter, Slot};
use crate::stream_options::Ready;
use samba_lm_sys as sys;
use std::fmt;
use std::os::raw::c_void;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

pub(crate) struct Wake {
    on_ready: Option<Ready>,
    waker: Mutex<Option<Waker>>,
    slot: Slot,
    /// Of its sampler's stages.
    pub(crate) draws: Slot,
    /// None before the start and from just before the close on. Locked by cancels, so that the close
    /// comes after them, but not while closing: C waits for a running `on_ready` there.
    raw: Mutex<Option<NonNull<sys::samba_stream>>>,
}

// SAFETY: any thread may cancel a stream that is not closed, and that is all that `raw` is used for.
unsafe impl Send for Wake {}
// SAFETY: as above.
unsafe impl Sync for Wake {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wake {
    pub(crate) fn new(on_ready: Option<Ready>) -> Wake {
        Wake {
            on_ready,
            waker: Mutex::default(),
            slot: Slot::default(),
            draws: Slot::default(),
            raw: Mutex::default(),
        }
    }

    /// The stream has started, or is about to be closed.
    pub(crate) fn set_stream(&self, raw: Option<NonNull<sys::samba_stream>>) {
        *lock(&self.raw) = raw;
    }

    /// Whom to wake from now on. What was there before is dropped without the lock.
    pub(crate) fn set_waker(&self, waker: Option<&Waker>) {
        let mut place = lock(&self.waker);
        let same = match (&*place, waker) {
            (Some(old), Some(new)) => old.will_wake(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if !same {
            let old = std::mem::replace(&mut *place, waker.cloned());
            drop(place);
            drop(old);
        }
    }

    /// Goes on with the panic of a wake-up, if there was one.
    pub(crate) fn resume_panic(&self) {
        self.slot.resume();
    }

    pub(crate) fn cancel(&self) {
        assert_not_in_ready();
        let raw = lock(&self.raw);
        if let Some(raw) = *raw {
            // SAFETY: the stream is not closed while the lock is held.
            enter(|| unsafe { sys::samba_stream_cancel(raw.as_ptr()) });
        }
    }
}

/// # Safety
/// `user_data` is the [`Wake`] of a stream that is not closed.
pub(crate) unsafe extern "C" fn on_ready(user_data: *mut c_void) {
    // SAFETY: by the caller.
    let wake = unsafe { &*user_data.cast::<Wake>() };
    contain_ready(&wake.slot, || {
        let waker = lock(&wake.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(Ready(ready)) = &wake.on_ready {
            ready();
        }
    });
}

/// Ends a stream from anywhere; see [`Stream::canceller`](crate::Stream::canceller). Does nothing
/// once the stream has ended or is gone.
///
/// A handle: clones are for the same stream.
#[derive(Clone)]
pub struct StreamCancel(pub(crate) Arc<Wake>);

impl StreamCancel {
    /// Ends the stream: what has not come out is dropped. Waits for nothing.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl fmt::Debug for StreamCancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamCancel")
    }
}
