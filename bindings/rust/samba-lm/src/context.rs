//! What models share: threads, log, instruction set.
use crate::callback::{contain, enter, enter_in_drop};
use crate::error::attempt;
use crate::ffi;
use crate::pool::{self, ThreadPool};
use crate::Error;
use samba_lm_sys as sys;
use std::os::raw::{c_char, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// How serious a log message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warning,
    /// What is being done.
    Info,
    /// What only developers want to see.
    Debug,
}

impl LogLevel {
    fn to_raw(self) -> sys::samba_log_level {
        match self {
            LogLevel::Error => sys::SAMBA_LOG_ERROR,
            LogLevel::Warning => sys::SAMBA_LOG_WARNING,
            LogLevel::Info => sys::SAMBA_LOG_INFO,
            LogLevel::Debug => sys::SAMBA_LOG_DEBUG,
        }
    }

    fn from_raw(raw: sys::samba_log_level) -> LogLevel {
        match raw {
            sys::SAMBA_LOG_ERROR => LogLevel::Error,
            sys::SAMBA_LOG_WARNING => LogLevel::Warning,
            sys::SAMBA_LOG_INFO => LogLevel::Info,
            _ => LogLevel::Debug,
        }
    }
}

/// Instruction sets of the CPU backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CpuTier {
    /// Portable C.
    Reference,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
    /// AVX-512 with VNNI.
    Avx512Vnni,
    /// AVX-512 with VNNI and BF16.
    Avx512Bf16,
    /// 64-bit ARM.
    Neon,
    /// 64-bit ARM with dot products.
    NeonDotprod,
}

impl CpuTier {
    fn to_raw(self) -> sys::samba_cpu_tier {
        match self {
            CpuTier::Reference => sys::SAMBA_CPU_REFERENCE,
            CpuTier::Avx2 => sys::SAMBA_CPU_AVX2,
            CpuTier::Avx512 => sys::SAMBA_CPU_AVX512,
            CpuTier::Avx512Vnni => sys::SAMBA_CPU_AVX512_VNNI,
            CpuTier::Avx512Bf16 => sys::SAMBA_CPU_AVX512_BF16,
            CpuTier::Neon => sys::SAMBA_CPU_NEON,
            CpuTier::NeonDotprod => sys::SAMBA_CPU_NEON_DOTPROD,
        }
    }
}

type LogFn = Box<dyn Fn(LogLevel, &str) + Send + Sync>;

/// How a [`Context`] is made; what is not set has the library's default.
#[derive(Default)]
#[must_use]
pub struct ContextOptions {
    log: Option<LogFn>,
    log_level: Option<LogLevel>,
    threads: u16,
    cpu_tier: Option<CpuTier>,
    profile: bool,
    pool: Option<Box<dyn ThreadPool>>,
}

impl ContextOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where log messages go, one line each, from any thread. Default: nowhere.
    pub fn log(mut self, log: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        self.log = Some(Box::new(log));
        self
    }

    /// The most detailed level that is logged. Default: warnings.
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = Some(level);
        self
    }

    /// Threads per pass, the caller's included, 1 to 1024. Default (or 0): physical cores.
    pub fn threads(mut self, threads: u16) -> Self {
        self.threads = threads;
        self
    }

    /// The instruction set; one that the machine or the build lacks is refused. Default: the best.
    pub fn cpu_tier(mut self, tier: CpuTier) -> Self {
        self.cpu_tier = Some(tier);
        self
    }

    /// Count where passes spend their time, see [`Context::profile`].
    pub fn profile(mut self, profile: bool) -> Self {
        self.profile = profile;
        self
    }

    /// Threads of your own in place of those that the context would start.
    pub fn thread_pool(mut self, pool: impl ThreadPool + 'static) -> Self {
        self.pool = Some(Box::new(pool));
        self
    }

    /// Makes the context.
    pub fn create(self) -> Result<Context, Error> {
        let callbacks = Box::new(Callbacks {
            log: self.log,
            pool: self.pool,
        });
        let user_data = &*callbacks as *const Callbacks as *mut c_void;
        let thread_pool = callbacks.pool.as_ref().map(|pool| sys::samba_thread_pool {
            n_threads: pool.threads().into(),
            run: Some(pool_run),
            user_data,
            ..ffi::output!(samba_thread_pool)
        });
        let options = sys::samba_context_options {
            log: callbacks.log.as_ref().map(|_| log as _),
            log_user_data: user_data,
            log_level: self.log_level.map_or(0, LogLevel::to_raw),
            n_threads: self.threads.into(),
            cpu_tier: self.cpu_tier.map_or(0, CpuTier::to_raw),
            profile: ffi::switch(self.profile.then(|| true)),
            thread_pool: thread_pool.as_ref().map_or(std::ptr::null(), |pool| pool),
            ..ffi::output!(samba_context_options)
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: the callbacks live as long as the context, the rest is copied.
        attempt(|error| unsafe { sys::samba_context_create(&options, &mut raw, error) })?;
        let raw = NonNull::new(raw).expect("a context");
        Ok(Context(Arc::new(Inner {
            raw,
            _callbacks: callbacks,
        })))
    }
}

/// What models share: threads, log, compute backends. One pass at a time uses a context's threads;
/// for independent passes side by side create several contexts.
///
/// A handle: clones are the same context, which lives as long as anything made with it.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    raw: NonNull<sys::samba_context>,
    _callbacks: Box<Callbacks>, // the library calls them until the context is gone
}

// SAFETY: any number of threads may use a context at once; the callbacks are Send and Sync.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: all that was made with the context holds a clone, so this is the end of it.
        enter_in_drop(|| unsafe { sys::samba_context_free(self.raw.as_ptr()) });
    }
}

impl Context {
    /// A context with the default options.
    pub fn new() -> Result<Context, Error> {
        ContextOptions::new().create()
    }

    pub(crate) fn raw(&self) -> *mut sys::samba_context {
        self.0.raw.as_ptr()
    }

    /// Where the passes spent their time since the context was made or last reset: empty unless
    /// [`ContextOptions::profile`] was set. Entries do not overlap. Waits for a running pass.
    pub fn profile(&self) -> Result<Vec<ProfileEntry>, Error> {
        let item_size = std::mem::size_of::<sys::samba_profile_entry>();
        let mut entries = Vec::new();
        loop {
            let (capacity, mut n) = (entries.len(), 0);
            // SAFETY: there is room for `capacity` entries.
            attempt(|error| unsafe {
                let to: *mut sys::samba_profile_entry = entries.as_mut_ptr();
                sys::samba_context_get_profile(self.raw(), to, capacity, item_size, &mut n, error)
            })?;
            entries.resize(n, sys::samba_profile_entry::default());
            if n <= capacity {
                break;
            }
        }
        Ok(entries.iter().map(ProfileEntry::from_raw).collect())
    }

    /// Starts counting anew.
    pub fn reset_profile(&self) {
        // SAFETY: a live context.
        enter(|| unsafe { sys::samba_context_reset_profile(self.raw()) });
    }
}

/// Time spent in one kind of work, as the calling thread saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProfileEntry {
    /// For example "linear q8_0", "scan", "waiting for threads".
    pub name: String,
    /// How often it was done.
    pub calls: u64,
    /// All of them together.
    pub time: Duration,
}

impl ProfileEntry {
    fn from_raw(raw: &sys::samba_profile_entry) -> ProfileEntry {
        ProfileEntry {
            // SAFETY: a string in static storage.
            name: unsafe { ffi::text(raw.name) },
            calls: raw.calls,
            time: Duration::from_secs_f64(raw.seconds.max(0.0)),
        }
    }
}

struct Callbacks {
    log: Option<LogFn>,
    pool: Option<Box<dyn ThreadPool>>,
}

unsafe extern "C" fn log(
    user_data: *mut c_void,
    level: sys::samba_log_level,
    message: *const c_char,
) {
    contain(None, (), || {
        // SAFETY: the callbacks outlive the context; the message is valid during the call.
        let (callbacks, message) = unsafe { (&*user_data.cast::<Callbacks>(), ffi::text(message)) };
        if let Some(log) = &callbacks.log {
            log(LogLevel::from_raw(level), &message);
        }
    });
}

unsafe extern "C" fn pool_run(
    user_data: *mut c_void,
    task: pool::RawTask,
    arg: *mut c_void,
    n: u32,
) -> i32 {
    // SAFETY: the callbacks outlive the context.
    let callbacks = unsafe { &*user_data.cast::<Callbacks>() };
    match (&callbacks.pool, task) {
        // SAFETY: as the library gave them.
        (Some(pool), Some(task)) => unsafe { pool::run(&**pool, task, arg, n) },
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{catch_unwind, AssertUnwindSafe};

    /// As a backend's message arrives: on a thread of the library, and inside a call.
    #[test]
    fn a_panic_of_the_log_does_not_unwind_c() {
        let callbacks = Callbacks {
            log: Some(Box::new(|level, line| panic!("{level:?}: {line}"))),
            pool: None,
        };
        let user_data = &callbacks as *const Callbacks as *mut c_void;
        let line = b"a line\0".as_ptr().cast();
        // SAFETY: live callbacks, a zero-terminated message.
        let write = || unsafe { log(user_data, sys::SAMBA_LOG_INFO, line) };
        write();
        let mut returned = false;
        let call = || {
            enter(|| {
                write();
                returned = true;
            })
        };
        let payload = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        assert_eq!(text, Some("Info: a line"));
        assert!(returned);
    }
}
