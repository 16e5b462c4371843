//! Threads of the host's own. What the trait's user does wrong costs speed, never soundness: a task
//! begins at most once, and none can outlive the call.
use crate::callback::contain;
use std::os::raw::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

/// As bindgen writes the parameter of `samba_thread_pool.run`.
pub(crate) type RawTask = Option<TaskFn>;
type TaskFn = unsafe extern "C" fn(arg: *mut c_void, index: u32, n: u32);

/// Runs the library's work on threads of your own, see
/// [`ContextOptions::thread_pool`](crate::ContextOptions::thread_pool).
///
/// The library cuts its work into steps of microseconds to milliseconds, and calls
/// [`run`](ThreadPool::run) once for each: ten to a few hundred times per pass.
pub trait ThreadPool: Send + Sync {
    /// How many tasks may be at work at the same time, 1 to 1024.
    fn threads(&self) -> u16;

    /// Runs every task once, on any threads, best all at the same time. What has not begun when
    /// this returns (or panics) the calling thread does. Must not call the library.
    fn run(&self, tasks: Tasks<'_>);
}

/// The tasks of one step: `run(0)` to `run(len() - 1)`. Copies are the same tasks.
#[derive(Clone, Copy)]
pub struct Tasks<'a> {
    task: TaskFn,
    arg: *mut c_void,
    n: u32,
    begun: &'a [AtomicU64; MOST / 64],
}

const MOST: usize = 1024;

// SAFETY: the library's tasks run on any threads, at the same time; which have begun is atomic.
unsafe impl Send for Tasks<'_> {}
// SAFETY: as above.
unsafe impl Sync for Tasks<'_> {}

impl Tasks<'_> {
    /// How many there are.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.n as usize
    }

    /// Does a task, unless it has begun already or does not exist.
    pub fn run(&self, index: usize) {
        if index >= self.len() {
            return;
        }
        let bit = 1 << (index % 64);
        if self.begun[index / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            // SAFETY: once for every index, while the library waits (the lifetime ends there).
            unsafe { (self.task)(self.arg, index as u32, self.n) };
        }
    }
}

/// # Safety
/// `task` and `arg` are what the library gave, and valid until this returns.
pub(crate) unsafe fn run(pool: &dyn ThreadPool, task: TaskFn, arg: *mut c_void, n: u32) -> i32 {
    if n as usize > MOST {
        return 1;
    }
    let begun: [AtomicU64; MOST / 64] = Default::default();
    let tasks = Tasks {
        task,
        arg,
        n,
        begun: &begun,
    };
    contain(None, (), || pool.run(tasks));
    let ran: u32 = begun
        .iter()
        .map(|word| word.load(Ordering::Relaxed).count_ones())
        .sum();
    (ran != n).into()
}
