//! Panics in callbacks. C code can't be unwound, so a panic is caught where C calls Rust, the
//! callback reports a failure, and the panic goes on in the Rust code that made the call, once C
//! has returned. If C called from a thread of its own, the panic waits in the [`Slot`] of the
//! object that the callback belongs to.
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};
use std::thread::LocalKey;

type Payload = Box<dyn Any + Send>;

thread_local! {
    /// Calls into C that this thread is in.
    static DEPTH: Cell<u32> = Cell::new(0);
    static PENDING: RefCell<Option<Payload>> = RefCell::new(None);
    /// Callbacks of streams that this thread is in: there C must not close one.
    static IN_STREAM: Cell<u32> = Cell::new(0);
    /// Of these, wake-ups, which must not call C at all.
    static IN_READY: Cell<u32> = Cell::new(0);
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

/// The body of a callback: `failed` stands for its result if it panics. `slot`: where a panic goes
/// if no Rust code waits on this thread.
pub(crate) fn contain<R>(slot: Option<&Slot>, failed: R, body: impl FnOnce() -> R) -> R {
    let payload = match panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => return result,
        Err(payload) => payload,
    };
    if is_elsewhere() {
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

/// Whether a callback comes from a thread of the library: no Rust code waits for it on this one.
pub(crate) fn is_elsewhere() -> bool {
    DEPTH.with(Cell::get) == 0
}

/// The same for a stage; `slot`: of the stream that draws.
pub(crate) fn contain_draw<R>(slot: Option<&Slot>, failed: R, body: impl FnOnce() -> R) -> R {
    if is_elsewhere() {
        inside(&IN_STREAM, || contain(slot, failed, body))
    } else {
        contain(slot, failed, body)
    }
}

/// The same for the wake-up of a stream.
pub(crate) fn contain_ready(slot: &Slot, body: impl FnOnce()) {
    inside(&IN_STREAM, || {
        inside(&IN_READY, || contain(Some(slot), (), body));
    });
}

/// `body` does not panic.
fn inside<R>(count: &'static LocalKey<Cell<u32>>, body: impl FnOnce() -> R) -> R {
    let outer = count.with(|count| count.replace(count.get() + 1));
    let result = body();
    count.with(|count| count.set(outer));
    result
}

/// Whether C has called from a stream, so that none can be closed before that call has returned.
pub(crate) fn in_stream() -> bool {
    IN_STREAM.with(Cell::get) > 0
}

/// A wake-up that called the library could wait for itself.
pub(crate) fn assert_not_in_ready() {
    let in_ready = IN_READY.with(Cell::get) > 0;
    assert!(!in_ready, "on_ready may only signal, not call the library");
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
