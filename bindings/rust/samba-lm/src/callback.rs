//! Panics in callbacks. C code can't be unwound, so a panic is caught where C calls Rust, the
//! callback reports a failure, and the panic goes on in the Rust code that made the call, once C
//! has returned. If C called from a thread of its own, the panic waits in the [`Slot`] of the
//! object that the callback belongs to.
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

type Payload = Box<dyn Any + Send>;

thread_local! {
    /// Calls into C that this thread is in.
    static DEPTH: Cell<u32> = Cell::new(0);
    static PENDING: RefCell<Option<Payload>> = RefCell::new(None);
}

/// The first panic of an object's callbacks on threads of the library.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Payload>>);

impl Slot {
    fn keep(&self, payload: Payload) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *slot {
            None => *slot = Some(payload),
            Some(_) => discard(payload),
        }
    }

    /// Goes on with the panic, if there was one.
    pub(crate) fn resume(&self) {
        let payload = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = payload {
            panic::resume_unwind(payload);
        }
    }
}

/// Dropping what a panic carried may panic too.
fn discard(payload: Payload) {
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

/// The body of a callback: `failed` stands for its result if it panics.
pub(crate) fn contain<R>(slot: Option<&Slot>, failed: R, body: impl FnOnce() -> R) -> R {
    let payload = match panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => return result,
        Err(payload) => payload,
    };
    if DEPTH.with(Cell::get) == 0 {
        match slot {
            Some(slot) => slot.keep(payload),
            None => discard(payload),
        }
        return failed;
    }
    PENDING.with(|pending| {
        let mut pending = pending.borrow_mut();
        match *pending {
            None => *pending = Some(payload),
            Some(_) => discard(payload),
        }
    });
    failed
}

/// A call into C that may call back.
pub(crate) fn enter<R>(call: impl FnOnce() -> R) -> R {
    let outer = DEPTH.with(|depth| depth.replace(depth.get() + 1));
    let result = call();
    DEPTH.with(|depth| depth.set(outer));
    if let Some(payload) = PENDING.with(|pending| pending.borrow_mut().take()) {
        panic::resume_unwind(payload);
    }
    result
}

/// The same inside of `drop`, where a second panic would end the process.
pub(crate) fn enter_in_drop(call: impl FnOnce()) {
    if !std::thread::panicking() {
        return enter(call);
    }
    let outer = DEPTH.with(|depth| depth.replace(depth.get() + 1));
    call();
    DEPTH.with(|depth| depth.set(outer));
    if let Some(payload) = PENDING.with(|pending| pending.borrow_mut().take()) {
        discard(payload);
    }
}
