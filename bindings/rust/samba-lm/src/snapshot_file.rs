//! Snapshots as bytes and files.
use crate::callback::contain;
use crate::error::attempt;
use crate::reader::ReaderState;
use crate::{
    ffi, Context, Error, Reader, Snapshot, SnapshotReadOptions, SnapshotWriteOptions, Status,
};
use samba_lm_sys as sys;
use std::io::{self, Write};
use std::os::raw::c_void;
use std::path::Path;
use std::ptr::null_mut;

/// Bytes that the library made, freed when dropped.
struct Bytes(*mut sys::samba_bytes);

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: the owner; NULL is allowed.
        unsafe { sys::samba_bytes_free(self.0) };
    }
}

impl Snapshot {
    /// Writes a file, which any later version of the library reads, with any backend and number of
    /// threads. Under its name stands the old file or the whole new one, whatever fails.
    ///
    /// ```
    /// # fn main() -> Result<(), samba_lm::Error> {
    /// use samba_lm::{Context, Model, Session, Snapshot};
    ///
    /// let context = Context::new()?;
    /// let model = Model::load(&context, "../../../examples/models/samba-13m.gguf")?;
    /// let mut session = Session::new(&model)?;
    /// session.feed_text("The old man said")?;
    /// let file = std::env::temp_dir().join(format!("doc-{}.samba", std::process::id()));
    /// session.snapshot_with(b"mine")?.write_file(&file)?;
    ///
    /// let saved = Snapshot::read_file(&context, &file)?; // in this process or another
    /// assert_eq!(saved.info()?.metadata, b"mine");
    /// assert_eq!(saved.session(&model)?.logits()?, session.logits()?);
    /// # std::fs::remove_file(&file).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Io`; `State`: it was read without its state, or the state is not finite.
    pub fn write_file(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.write_file_with(path, &SnapshotWriteOptions::new())
    }

    /// The same with options.
    pub fn write_file_with(
        &self,
        path: impl AsRef<Path>,
        options: &SnapshotWriteOptions,
    ) -> Result<(), Error> {
        let (path, options) = (ffi::c_path(path.as_ref())?, options.to_raw());
        // SAFETY: a live snapshot; the options point into what the caller holds.
        attempt(|error| unsafe {
            sys::samba_snapshot_write_file(self.raw(), path.as_ptr(), &options, error)
        })
    }

    /// The bytes of such a file.
    ///
    /// ```
    /// # fn main() -> Result<(), samba_lm::Error> {
    /// use samba_lm::{Context, Model, Session, Snapshot};
    ///
    /// let context = Context::new()?;
    /// let model = Model::load(&context, "../../../examples/models/samba-13m.gguf")?;
    /// let mut session = Session::new(&model)?;
    /// session.feed_text("The old man said")?;
    /// let bytes: Vec<u8> = session.snapshot()?.to_bytes()?;
    /// let again = Snapshot::from_bytes(&context, &bytes)?.session(&model)?;
    /// assert_eq!(again.tokens()?, session.tokens()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        self.to_bytes_with(&SnapshotWriteOptions::new())
    }

    /// The same with options.
    pub fn to_bytes_with(&self, options: &SnapshotWriteOptions) -> Result<Vec<u8>, Error> {
        let options = options.to_raw();
        let mut bytes = Bytes(null_mut());
        // SAFETY: a live snapshot and room for the result, which is copied.
        unsafe {
            attempt(|error| {
                sys::samba_snapshot_write_memory(self.raw(), &options, &mut bytes.0, error)
            })?;
            let (data, n) = (
                sys::samba_bytes_data(bytes.0),
                sys::samba_bytes_size(bytes.0),
            );
            Ok(ffi::slice(data.cast::<u8>(), n).to_vec())
        }
    }

    /// Writes the same to `sink`, a file, a socket or a compressor, and flushes it. After a failure
    /// what it got is to be thrown away; its own error is the [`source`](std::error::Error::source)
    /// of this one.
    pub fn write_to(&self, sink: impl Write) -> Result<(), Error> {
        self.write_to_with(sink, &SnapshotWriteOptions::new())
    }

    /// The same with options.
    pub fn write_to_with(
        &self,
        mut sink: impl Write,
        options: &SnapshotWriteOptions,
    ) -> Result<(), Error> {
        let mut state = SinkState {
            sink: &mut sink,
            error: None,
        };
        let raw_sink = sys::samba_sink {
            write: Some(write),
            user_data: (&mut state as *mut SinkState<'_>).cast(),
            ..ffi::output!(samba_sink)
        };
        let options = options.to_raw();
        // SAFETY: a live snapshot; the sink is borrowed during the call.
        let written = attempt(|error| unsafe {
            sys::samba_snapshot_write_sink(self.raw(), &raw_sink, &options, error)
        });
        let written = match (written, state.error) {
            (Err(error), Some(source)) => Err(error.because_of(source)),
            (written, _) => written,
        };
        written.and_then(|()| {
            sink.flush().map_err(|source| {
                let message = format!("the sink could not be flushed: {source}");
                Error::new(Status::Io, message).because_of(source)
            })
        })
    }

    /// Reads a file; a model is needed only for [`Snapshot::session`]. Every size and every float in
    /// it is checked.
    ///
    /// # Errors
    /// `Io`, `Format` (names the section), `Unsupported` (a later version of the format), `Limit`.
    pub fn read_file(context: &Context, path: impl AsRef<Path>) -> Result<Snapshot, Error> {
        Self::read_file_with(context, path, &SnapshotReadOptions::new())
    }

    /// The same with options.
    pub fn read_file_with(
        context: &Context,
        path: impl AsRef<Path>,
        options: &SnapshotReadOptions,
    ) -> Result<Snapshot, Error> {
        let (path, options) = (ffi::c_path(path.as_ref())?, options.to_raw());
        let (from, mut raw) = (path.as_ptr(), null_mut());
        // SAFETY: a live context and room for the result.
        attempt(|error| unsafe {
            sys::samba_snapshot_read_file(context.raw(), from, &options, &mut raw, error)
        })?;
        Ok(Snapshot::from_raw(raw, context, None))
    }

    /// Reads the bytes of a file.
    pub fn from_bytes(context: &Context, bytes: &[u8]) -> Result<Snapshot, Error> {
        Self::from_bytes_with(context, bytes, &SnapshotReadOptions::new())
    }

    /// The same with options.
    pub fn from_bytes_with(
        context: &Context,
        bytes: &[u8],
        options: &SnapshotReadOptions,
    ) -> Result<Snapshot, Error> {
        let (options, mut raw) = (options.to_raw(), null_mut());
        let (data, n) = (bytes.as_ptr().cast(), bytes.len());
        // SAFETY: a live context, bytes that are only borrowed, and room for the result.
        attempt(|error| unsafe {
            sys::samba_snapshot_read_memory(context.raw(), data, n, &options, &mut raw, error)
        })?;
        Ok(Snapshot::from_raw(raw, context, None))
    }

    /// Reads what is behind a [`Reader`]. If reading fails, the reader's own error is the
    /// [`source`](std::error::Error::source) of this one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use samba_lm::{Context, Model, Reader, Session, Snapshot};
    ///
    /// let context = Context::new()?;
    /// let model = Model::load(&context, "../../../examples/models/samba-13m.gguf")?;
    /// let mut session = Session::new(&model)?;
    /// session.feed_text("The old man said")?;
    /// let mut file = std::io::Cursor::new(Vec::new());
    /// session.snapshot()?.write_to(&mut file)?;
    /// let again = Snapshot::read_from(&context, Reader::seekable(file)?)?.session(&model)?;
    /// assert_eq!(again.logits()?, session.logits()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_from(context: &Context, reader: Reader<'_>) -> Result<Snapshot, Error> {
        Self::read_from_with(context, reader, &SnapshotReadOptions::new())
    }

    /// The same with options.
    pub fn read_from_with(
        context: &Context,
        reader: Reader<'_>,
        options: &SnapshotReadOptions,
    ) -> Result<Snapshot, Error> {
        let state = ReaderState::new(reader)?;
        let (reader, options, mut raw) = (state.raw(), options.to_raw(), null_mut());
        // SAFETY: a live context, a reader whose state outlives the call, room for the result.
        let read = attempt(|error| unsafe {
            sys::samba_snapshot_read_reader(context.raw(), &reader, &options, &mut raw, error)
        });
        state.finish(read)?;
        Ok(Snapshot::from_raw(raw, context, None))
    }

    /// Whether [`read_file`](Self::read_file) would succeed, in little memory.
    pub fn verify_file(context: &Context, path: impl AsRef<Path>) -> Result<(), Error> {
        Self::verify_file_with(context, path, &SnapshotReadOptions::new())
    }

    /// The same with options, [`header_only`](SnapshotReadOptions::header_only) left out.
    pub fn verify_file_with(
        context: &Context,
        path: impl AsRef<Path>,
        options: &SnapshotReadOptions,
    ) -> Result<(), Error> {
        let (path, options) = (ffi::c_path(path.as_ref())?, options.to_raw());
        // SAFETY: a live context.
        attempt(|error| unsafe {
            sys::samba_snapshot_verify_file(context.raw(), path.as_ptr(), &options, error)
        })
    }
}

/// A sink on its way through C, which calls it on the calling thread.
struct SinkState<'a> {
    sink: &'a mut dyn Write,
    error: Option<io::Error>,
}

unsafe extern "C" fn write(user_data: *mut c_void, data: *const c_void, size: usize) -> i32 {
    // SAFETY: the state outlives the call; `size` bytes are valid during it.
    let (state, data) = unsafe {
        (
            &mut *user_data.cast::<SinkState<'_>>(),
            ffi::slice(data.cast::<u8>(), size),
        )
    };
    contain(None, 1, || match state.sink.write_all(data) {
        Ok(()) => 0,
        Err(error) => {
            state.error = Some(error);
            1
        }
    })
}
