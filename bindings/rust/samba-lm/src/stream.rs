//! Streams: generation on a thread of the library, taken from as it comes. A stream borrows its
//! session, whose calls would be refused meanwhile, and holds model and sampler, so that one that is
//! forgotten rather than dropped still has all that it uses.
use crate::callback::{enter_in_drop, in_stream};
use crate::error::attempt;
use crate::generate::Utf8;
use crate::stream_wake::{on_ready, StreamCancel, Wake};
use crate::{ffi, Error, LogProb, Model, PrefixReport, Sampler, Session, Snapshot, Status};
use crate::{StopReason, StreamOptions, Token};
use samba_lm_sys as sys;
use std::iter::FusedIterator;
use std::mem::ManuallyDrop;
use std::os::raw::c_void;
use std::ptr::{null_mut, NonNull};
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

const WAIT_FOREVER: u64 = u64::MAX;

/// Tokens of a generation that runs on its own, as an iterator that waits for each; see
/// [`Session::stream`]. It works a few tokens ahead; the session follows what has come out, and
/// stands behind that once the stream is dropped, however far it was. After an error it ends.
///
/// It may move to another thread. A panic in a stage of its sampler ends it, and goes on in who takes
/// from it, after the tokens before.
///
/// The session is the stream's:
///
/// ```compile_fail,E0499
/// # use samba_lm::*;
/// fn both(session: &mut Session) -> Result<(), Error> {
///     let stream = session.stream(&StreamOptions::new())?;
///     session.eval(&[1])?;
///     drop(stream);
///     Ok(())
/// }
/// ```
#[must_use]
pub struct Stream<'s> {
    running: ManuallyDrop<Running>,
    session: &'s mut Session,
    text: Utf8,
    reason: Option<StopReason>,
    ended: bool, // DONE has come
    suspended: bool,
}

/// The C object, and what it uses until it is closed.
struct Running {
    raw: NonNull<sys::samba_stream>,
    wake: Arc<Wake>,
    _sampler: Option<Sampler>,
    _model: Model,
}

// SAFETY: one thread at a time takes from it, whichever, and any may close it; it is not Sync.
unsafe impl Send for Running {}

impl Drop for Running {
    fn drop(&mut self) {
        self.wake.set_stream(None);
        // SAFETY: the owner, and this is the last call.
        enter_in_drop(|| unsafe { sys::samba_stream_close(self.raw.as_ptr()) });
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if in_stream() {
            // As when the last waker of a task, and with it the task, goes in a wake-up: closing
            // would wait for that. If no thread can start, the stream leaks.
            // SAFETY: not used again.
            let running = ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.running) });
            let close = move || drop(ManuallyDrop::into_inner(running));
            let _ = std::thread::Builder::new().spawn(close);
        } else {
            // SAFETY: not used again.
            unsafe { ManuallyDrop::drop(&mut self.running) };
        }
    }
}

impl Session {
    /// Starts to generate on a thread of the library; this call evaluates nothing. The streams of a
    /// model share its passes; the tokens are those of [`Session::generate`], whatever runs beside.
    ///
    /// ```
    /// # fn main() -> Result<(), samba_lm::Error> {
    /// use samba_lm::{Context, Model, Session, StreamOptions};
    ///
    /// let context = Context::new()?;
    /// let model = Model::load(&context, "../../../examples/models/samba-13m.gguf")?;
    /// let (mut one, mut two) = (Session::new(&model)?, Session::new(&model)?);
    /// let options = StreamOptions::new().max_tokens(8);
    /// let night = one.stream(&options.clone().text("It was a dark night, and"))?;
    /// let day = two.stream(&options.text("It was a bright day, and"))?;
    /// for (night, day) in night.zip(day) {
    ///     println!("{:10} {}", night?.text, day?.text);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `State`: neither a prompt nor logits, or a proposal waits. `Unsupported`: text without a
    /// tokenizer.
    pub fn stream(&mut self, options: &StreamOptions) -> Result<Stream<'_>, Error> {
        let mut raw = null_mut();
        let sampler = options.sampler.clone();
        let wake = Arc::new(Wake::new(options.on_ready.clone()));
        let started = options.with_raw(|mut options| {
            options.on_ready = Some(on_ready);
            options.user_data = Arc::as_ptr(&wake) as *mut c_void;
            let sampler = sampler.as_ref().map_or(null_mut(), Sampler::raw);
            // SAFETY: live objects and room for the result; options are copied, and what wakes is
            // held until the close.
            attempt(|error| unsafe {
                sys::samba_stream_start(self.raw(), sampler, &options, &mut raw, error)
            })
        });
        started?;
        let raw = NonNull::new(raw).expect("a stream");
        wake.set_stream(Some(raw));
        Ok(Stream {
            running: ManuallyDrop::new(Running {
                raw,
                wake,
                _sampler: sampler,
                _model: self.model().clone(),
            }),
            session: self,
            text: Utf8::default(),
            reason: None,
            ended: false,
            suspended: false,
        })
    }
}

impl Stream<'_> {
    /// The next token if it comes within `timeout`: `Pending` if none does, `Ready(None)` after the
    /// end. A timeout of zero does not wait.
    pub fn next_within(&mut self, timeout: Duration) -> Poll<Option<Result<Token, Error>>> {
        let ms = u64::try_from(timeout.as_nanos().saturating_add(999_999) / 1_000_000);
        self.take(ms.unwrap_or(WAIT_FOREVER).min(WAIT_FOREVER - 1))
    }

    /// The next token without waiting, for async code: if there is none yet, the task of `context`
    /// is woken when there is. Has the form of `Stream::poll_next` of the futures crate; with
    /// `poll_fn(move |context| stream.poll_next(context))` it is one. A suspended stream stays
    /// pending until it is resumed.
    ///
    /// ```
    /// # fn main() -> Result<(), samba_lm::Error> {
    /// use samba_lm::{Context, Model, Session, StreamOptions};
    /// use std::sync::Arc;
    /// use std::task::{Poll, Wake};
    /// use std::thread::{self, Thread};
    ///
    /// struct Unpark(Thread); // in place of an executor's waker
    ///
    /// impl Wake for Unpark {
    ///     fn wake(self: Arc<Self>) {
    ///         self.0.unpark();
    ///     }
    /// }
    ///
    /// let context = Context::new()?;
    /// let model = Model::load(&context, "../../../examples/models/samba-13m.gguf")?;
    /// let mut session = Session::new(&model)?;
    /// let options = StreamOptions::new().text("The old man said").max_tokens(8);
    /// let mut stream = session.stream(&options)?;
    /// let waker = Arc::new(Unpark(thread::current())).into();
    /// let mut task = std::task::Context::from_waker(&waker);
    /// loop {
    ///     match stream.poll_next(&mut task) {
    ///         Poll::Ready(Some(token)) => print!("{}", token?.text),
    ///         Poll::Ready(None) => break,
    ///         Poll::Pending => thread::park(),
    ///     }
    /// }
    /// # assert_eq!(stream.reason(), Some(samba_lm::StopReason::Length));
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_next(
        &mut self,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Token, Error>>> {
        if !self.ended {
            // First, or a wake-up in between would be lost.
            self.running.wake.set_waker(Some(context.waker()));
        }
        let taken = self.take(0);
        if taken.is_ready() {
            self.running.wake.set_waker(None);
        }
        taken
    }

    fn take(&mut self, timeout_ms: u64) -> Poll<Option<Result<Token, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.running.wake.resume_panic();
        let mut event = ffi::output!(samba_stream_event);
        let raw = self.running.raw.as_ptr();
        // SAFETY: a live stream that only this thread takes from, room for the result.
        let taken =
            attempt(|error| unsafe { sys::samba_stream_next(raw, timeout_ms, &mut event, error) });
        if let Err(error) = taken {
            self.ended = true;
            return Poll::Ready(Some(Err(error)));
        }
        match event.kind {
            sys::SAMBA_STREAM_NOTHING => Poll::Pending,
            sys::SAMBA_STREAM_TOKEN => {
                // SAFETY: text and alternatives are valid until the next call.
                Poll::Ready(Some(Ok(unsafe { self.token(&event) })))
            }
            _ => {
                // SAFETY: text and message are valid until the next call.
                Poll::Ready(unsafe { self.end(&event) }.map(Err))
            }
        }
    }

    /// # Safety
    /// A token's event, just taken.
    unsafe fn token(&mut self, event: &sys::samba_stream_event) -> Token {
        // SAFETY: by the caller; the layout of alternatives is that of ours.
        let (bytes, top) = unsafe {
            (
                ffi::slice(event.text.cast::<u8>(), event.text_size),
                ffi::slice(event.top.cast::<LogProb>(), event.n_top),
            )
        };
        Token {
            id: event.token,
            logprob: event.logprob,
            position: event.position,
            text: self.text.push(bytes),
            top: top.to_vec(),
        }
    }

    /// # Safety
    /// The event of the end, just taken.
    unsafe fn end(&mut self, event: &sys::samba_stream_event) -> Option<Error> {
        self.ended = true;
        // SAFETY: by the caller.
        let rest = unsafe { ffi::slice(event.text.cast::<u8>(), event.text_size) };
        self.text.held.extend_from_slice(rest);
        self.reason = match event.reason {
            sys::SAMBA_STOP_TOKEN => Some(StopReason::Token(event.stop_token)),
            sys::SAMBA_STOP_LENGTH => Some(StopReason::Length),
            sys::SAMBA_STOP_STRING => {
                let index = usize::try_from(event.stop_string).unwrap_or(0);
                Some(StopReason::String(index))
            }
            sys::SAMBA_STOP_CANCELLED => Some(StopReason::Cancelled),
            sys::SAMBA_STOP_DEADLINE => Some(StopReason::Deadline),
            _ => {
                // SAFETY: by the caller.
                let message = unsafe { ffi::optional_text(event.message) };
                let status = Status::from_raw(event.status);
                self.running.wake.draws.resume();
                return Some(Error::new(status, message.unwrap_or_default()));
            }
        };
        None
    }

    /// Why it ended; `None` while it has not, or after an error.
    pub fn reason(&self) -> Option<StopReason> {
        self.reason
    }

    /// Bytes of a character that is not complete; part of no token's text.
    pub fn rest(&self) -> &[u8] {
        &self.text.held
    }

    /// The session, which stands behind the last token that came out. Until the end it can be
    /// cloned, taken snapshots of and asked for its position; all else is `Busy`.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// What its prefix cache had for the session's tokens and the prompt together; `stored` grows
    /// until the prompt has been read.
    ///
    /// # Errors
    /// `State`: it was started without a cache.
    pub fn prefix_report(&self) -> Result<PrefixReport, Error> {
        let (stream, mut raw) = (self.running.raw.as_ptr(), ffi::output!(samba_prefix_report));
        // SAFETY: a live stream and room for the result.
        attempt(|error| unsafe { sys::samba_stream_get_prefix_report(stream, &mut raw, error) })?;
        Ok(PrefixReport::from_raw(&raw))
    }

    /// Ends it: what has not come out is dropped. Waits for nothing.
    pub fn cancel(&mut self) {
        self.running.wake.cancel();
    }

    /// What other threads can end it with, at any time.
    pub fn canceller(&self) -> StreamCancel {
        StreamCancel(self.running.wake.clone())
    }

    /// Stops for now, and tells where it stands: what has not come out is dropped, its memory
    /// freed. The deadline runs on.
    ///
    /// # Errors
    /// `State`: it has ended, or is suspended.
    pub fn suspend(&mut self) -> Result<Snapshot, Error> {
        let mut raw = null_mut();
        // SAFETY: a live stream and room for the result.
        attempt(|error| unsafe {
            sys::samba_stream_suspend(self.running.raw.as_ptr(), &mut raw, error)
        })?;
        self.suspended = true;
        let model = self.session.model();
        Ok(Snapshot::from_raw(raw, model.context(), Some(model)))
    }

    /// Goes on after the last token that came out.
    ///
    /// # Errors
    /// `State`: it is not suspended.
    pub fn resume(&mut self) -> Result<(), Error> {
        // SAFETY: a live stream.
        attempt(|error| unsafe { sys::samba_stream_resume(self.running.raw.as_ptr(), error) })?;
        self.suspended = false;
        Ok(())
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<Token, Error>;

    /// Waits for the next token. A suspended stream is resumed.
    fn next(&mut self) -> Option<Self::Item> {
        if self.suspended && !self.ended {
            // Nobody else could end the wait.
            match self.resume() {
                // It ended meanwhile; how comes out below.
                Err(error) if error.status() == Status::State => self.suspended = false,
                Err(error) => return Some(Err(error)),
                Ok(()) => {}
            }
        }
        match self.take(WAIT_FOREVER) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        }
    }
}

impl FusedIterator for Stream<'_> {}
