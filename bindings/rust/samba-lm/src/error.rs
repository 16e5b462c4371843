//! Errors: what the library says, copied, so that an error is a value like any other.
use crate::ffi::{self, text};
use samba_lm_sys as sys;
use std::error::Error as StdError;
use std::fmt;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// The caller broke a documented rule.
    InvalidArgument,
    /// Memory ran out.
    OutOfMemory,
    /// A file or callback could not be opened, read or written.
    Io,
    /// A file is malformed, truncated or hostile.
    Format,
    /// Well-formed, but not something this build can run.
    Unsupported,
    /// Two things that must agree do not.
    Mismatch,
    /// Larger than a stated limit.
    Limit,
    /// The object is not in a state in which this makes sense.
    State,
    /// The object is in use elsewhere.
    Busy,
    /// A [`Cancel`](crate::Cancel) or a callback asked for the end.
    Cancelled,
    /// A compute device failed.
    Backend,
    /// There is no such thing.
    NotFound,
    /// A bug in the library.
    Internal,
    /// A status of a later version of the library.
    Other(i32),
}

const STATUSES: [(i32, Status); 13] = [
    (sys::SAMBA_ERROR_INVALID_ARGUMENT, Status::InvalidArgument),
    (sys::SAMBA_ERROR_OUT_OF_MEMORY, Status::OutOfMemory),
    (sys::SAMBA_ERROR_IO, Status::Io),
    (sys::SAMBA_ERROR_FORMAT, Status::Format),
    (sys::SAMBA_ERROR_UNSUPPORTED, Status::Unsupported),
    (sys::SAMBA_ERROR_MISMATCH, Status::Mismatch),
    (sys::SAMBA_ERROR_LIMIT, Status::Limit),
    (sys::SAMBA_ERROR_STATE, Status::State),
    (sys::SAMBA_ERROR_BUSY, Status::Busy),
    (sys::SAMBA_ERROR_CANCELLED, Status::Cancelled),
    (sys::SAMBA_ERROR_BACKEND, Status::Backend),
    (sys::SAMBA_ERROR_NOT_FOUND, Status::NotFound),
    (sys::SAMBA_ERROR_INTERNAL, Status::Internal),
];

impl Status {
    pub(crate) fn from_raw(raw: sys::samba_status) -> Status {
        STATUSES
            .iter()
            .find(|s| s.0 == raw)
            .map_or(Status::Other(raw), |s| s.1)
    }

    fn to_raw(self) -> sys::samba_status {
        match self {
            Status::Other(raw) => raw,
            known => STATUSES.iter().find(|s| s.1 == known).map_or(0, |s| s.0),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: a zero-terminated string in static storage.
        f.write_str(&unsafe { text(sys::samba_status_string(self.to_raw())) })
    }
}

/// Why a call failed. After a failure every object is usable and stands where it stood.
pub struct Error(Box<Details>);

#[derive(Debug)]
struct Details {
    status: Status,
    message: String,
    file: Option<String>,
    tensor: Option<String>,
    offset: Option<u64>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Of what kind it is.
    pub fn status(&self) -> Status {
        self.0.status
    }

    /// One line for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The file concerned, if one is.
    pub fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// The tensor concerned, if one is.
    pub fn tensor(&self) -> Option<&str> {
        self.0.tensor.as_deref()
    }

    /// Byte offset in the file, if one is known.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    pub(crate) fn new(status: Status, message: impl Into<String>) -> Error {
        let message = message.into();
        let details = Details {
            status,
            message,
            file: None,
            tensor: None,
            offset: None,
            source: None,
        };
        Error(Box::new(details))
    }

    pub(crate) fn because_of(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Takes over the library's error object, which may be NULL.
    ///
    /// # Safety
    /// `raw` is NULL or an error that the caller owns.
    unsafe fn from_raw(status: sys::samba_status, raw: *mut sys::samba_error) -> Error {
        let mut error = Error::new(Status::from_raw(status), "");
        if raw.is_null() {
            error.0.message = error.0.status.to_string();
            return error;
        }
        // SAFETY: the strings are copied before the object is freed.
        unsafe {
            error.0.message = text(sys::samba_error_message(raw));
            error.0.file = ffi::optional_text(sys::samba_error_file(raw));
            error.0.tensor = ffi::optional_text(sys::samba_error_tensor(raw));
            let offset = sys::samba_error_offset(raw);
            error.0.offset = (offset != sys::SAMBA_NO_OFFSET).then(|| offset);
            sys::samba_error_free(raw);
        }
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = &self.0;
        f.debug_struct("Error")
            .field("status", &d.status)
            .field("message", &d.message)
            .field("file", &d.file)
            .field("tensor", &d.tensor)
            .field("offset", &d.offset)
            .field("source", &d.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// Runs one call into the library with room for its error; see [`crate::callback::enter`] for what
/// happens to panics of callbacks.
pub(crate) fn attempt(
    call: impl FnOnce(*mut *mut sys::samba_error) -> sys::samba_status,
) -> Result<(), Error> {
    crate::callback::assert_not_in_ready();
    let mut error = std::ptr::null_mut();
    let status = crate::callback::enter(|| call(&mut error));
    if status == sys::SAMBA_OK {
        return Ok(());
    }
    // SAFETY: the error of a failed call is the caller's.
    Err(unsafe { Error::from_raw(status, error) })
}
