//! Small conversions between C and Rust.
use crate::{Error, Status};
use samba_lm_sys as sys;
use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::os::raw::c_char;
use std::path::Path;
use std::slice;

/// A copy of a zero-terminated string; what is not UTF-8 is replaced.
///
/// # Safety
/// `string` is zero-terminated.
pub(crate) unsafe fn text(string: *const c_char) -> String {
    // SAFETY: by the caller.
    unsafe { CStr::from_ptr(string) }
        .to_string_lossy()
        .into_owned()
}

/// The same of a string that may be NULL.
///
/// # Safety
/// `string` is NULL or zero-terminated.
pub(crate) unsafe fn optional_text(string: *const c_char) -> Option<String> {
    // SAFETY: by the caller.
    (!string.is_null()).then(|| unsafe { text(string) })
}

/// A slice of what C gives as pointer and length; the pointer may be NULL if there is nothing.
///
/// # Safety
/// Unless `n` is 0, `data` points to `n` initialised elements that stay as they are for `'a`.
pub(crate) unsafe fn slice<'a, T>(data: *const T, n: usize) -> &'a [T] {
    if n == 0 {
        return &[];
    }
    // SAFETY: by the caller.
    unsafe { slice::from_raw_parts(data, n) }
}

/// The same for a slice that may be written.
///
/// # Safety
/// As above, and nothing else uses the elements during `'a`.
pub(crate) unsafe fn slice_mut<'a, T>(data: *mut T, n: usize) -> &'a mut [T] {
    if n == 0 {
        return &mut [];
    }
    // SAFETY: by the caller.
    unsafe { slice::from_raw_parts_mut(data, n) }
}

/// Zero-terminated, or an error that names `what`.
pub(crate) fn c_string(bytes: &[u8], what: &str) -> Result<CString, Error> {
    CString::new(bytes).map_err(|error| {
        Error::new(Status::InvalidArgument, format!("{what} holds a zero byte")).because_of(error)
    })
}

/// A path as C takes it.
pub(crate) fn c_path(path: &Path) -> Result<CString, Error> {
    #[cfg(unix)]
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    #[cfg(not(unix))]
    let bytes = path
        .to_str()
        .ok_or_else(|| Error::new(Status::InvalidArgument, "the path is not Unicode"))?
        .as_bytes();
    c_string(bytes, "the path")
}

/// A switch that was set, as C's options take it.
pub(crate) fn switch(value: Option<bool>) -> i32 {
    match value {
        None => 0,
        Some(true) => sys::SAMBA_YES,
        Some(false) => sys::SAMBA_NO,
    }
}

/// What a callback returns to C.
pub(crate) fn flow(flow: ControlFlow<()>) -> i32 {
    match flow {
        ControlFlow::Continue(()) => sys::SAMBA_CONTINUE,
        ControlFlow::Break(()) => sys::SAMBA_STOP,
    }
}

/// An output struct, empty, with its size set.
macro_rules! output {
    ($type:ident) => {
        sys::$type {
            struct_size: std::mem::size_of::<sys::$type>(),
            ..Default::default()
        }
    };
}
pub(crate) use output;
