//! Files behind a callback.
use crate::callback::{contain, Slot};
use crate::{ffi, Error};
use samba_lm_sys as sys;
use std::cell::UnsafeCell;
use std::ffi::CString;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::raw::c_void;
use std::sync::{Mutex, PoisonError};

/// Random-access bytes that [`ModelOptions::load_reader`](crate::ModelOptions::load_reader) loads a
/// model from, or [`Snapshot::read_from`](crate::Snapshot::read_from) a snapshot: a function that fills the whole buffer from the given offset.
#[must_use]
pub struct Reader<'a> {
    size: u64,
    name: String,
    call: Call<'a>,
}

type ReadFn<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'a;
type ParallelReadFn<'a> = dyn Fn(u64, &mut [u8]) -> io::Result<()> + Sync + 'a;

enum Call<'a> {
    OneThread(UnsafeCell<Box<ReadFn<'a>>>),
    AnyThread(Box<ParallelReadFn<'a>>),
}

impl<'a> Reader<'a> {
    /// `size` bytes, read on the loading thread.
    pub fn new(size: u64, read: impl FnMut(u64, &mut [u8]) -> io::Result<()> + 'a) -> Self {
        let call = Call::OneThread(UnsafeCell::new(Box::new(read)));
        Reader {
            size,
            name: "reader".to_string(),
            call,
        }
    }

    /// `size` bytes, read on several threads at once.
    pub fn parallel(
        size: u64,
        read: impl Fn(u64, &mut [u8]) -> io::Result<()> + Sync + 'a,
    ) -> Self {
        Reader {
            size,
            name: "reader".to_string(),
            call: Call::AnyThread(Box::new(read)),
        }
    }

    /// All bytes of a file, or of anything that seeks, wherever it stands.
    pub fn seekable(mut file: impl Read + Seek + 'a) -> io::Result<Self> {
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Reader::new(size, move |offset, buffer| {
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(buffer)
        }))
    }

    /// What error messages call it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

/// A reader on its way through C, with what its calls have to say.
pub(crate) struct ReaderState<'a> {
    reader: Reader<'a>,
    name: CString,
    error: Mutex<Option<io::Error>>,
    slot: Slot,
}

impl<'a> ReaderState<'a> {
    pub(crate) fn new(reader: Reader<'a>) -> Result<Self, Error> {
        let name = ffi::c_string(reader.name.as_bytes(), "the reader's name")?;
        Ok(ReaderState {
            reader,
            name,
            error: Mutex::new(None),
            slot: Slot::default(),
        })
    }

    pub(crate) fn raw(&self) -> sys::samba_reader {
        sys::samba_reader {
            size: self.reader.size,
            read_at: Some(read_at),
            user_data: self as *const Self as *mut c_void,
            name: self.name.as_ptr(),
            parallel: ffi::switch(Some(matches!(self.reader.call, Call::AnyThread(_)))),
            ..ffi::output!(samba_reader)
        }
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &self.reader.call {
            // SAFETY: without `parallel` the library reads on the loading thread alone.
            Call::OneThread(read) => unsafe { (*read.get())(offset, buffer) },
            Call::AnyThread(read) => read(offset, buffer),
        }
    }

    /// Goes on with a panic, or says what the reader said.
    pub(crate) fn finish<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        self.slot.resume();
        let read_error = self
            .error
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        result.map_err(|error| match read_error {
            Some(source) => error.because_of(source),
            None => error,
        })
    }
}

unsafe extern "C" fn read_at(
    user_data: *mut c_void,
    offset: u64,
    buffer: *mut c_void,
    size: usize,
) -> i32 {
    // SAFETY: the state outlives the call; the buffer has `size` bytes. They are zeroed first,
    // since a slice must not show uninitialised memory to the reader.
    let (state, buffer) = unsafe {
        if size > 0 {
            std::ptr::write_bytes(buffer.cast::<u8>(), 0, size);
        }
        (
            &*user_data.cast::<ReaderState<'_>>(),
            ffi::slice_mut(buffer.cast::<u8>(), size),
        )
    };
    contain(Some(&state.slot), 1, || match state.read(offset, buffer) {
        Ok(()) => 0,
        Err(error) => {
            let mut first = state.error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
            1
        }
    })
}
