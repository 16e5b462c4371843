//! How a stream generates.
use crate::{ffi, Error, PrefixCache, Sampler, TokenId};
use samba_lm_sys as sys;
use std::ffi::CString;
use std::fmt;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Duration;

/// How a [`Stream`](crate::Stream) generates; what is not set has the library's default.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct StreamOptions {
    pub(crate) sampler: Option<Sampler>,
    prompt: Prompt,
    max_tokens: u64,
    stop_tokens: Vec<TokenId>,
    stop_strings: Vec<Vec<u8>>,
    ignore_eos: Option<bool>,
    top_logprobs: u32,
    pub(crate) branch: u64,
    skip_special: Option<bool>,
    deadline: Option<Duration>,
    priority: u8,
    queue_depth: u32,
    pub(crate) on_ready: Option<Ready>,
    prefix_cache: Option<PrefixCache>,
}

/// What wakes the host.
#[derive(Clone)]
pub(crate) struct Ready(pub(crate) Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}

#[derive(Clone, Debug)]
enum Prompt {
    Tokens(Vec<TokenId>),
    Text(Vec<u8>),
}

impl Default for Prompt {
    fn default() -> Self {
        Prompt::Tokens(Vec::new())
    }
}

impl StreamOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How tokens are drawn. Default: the likeliest each time.
    pub fn sampler(mut self, sampler: &Sampler) -> Self {
        self.sampler = Some(sampler.clone());
        self
    }

    /// What is fed first, in place of a [`text`](Self::text). Default: nothing.
    pub fn prompt(mut self, tokens: impl Into<Vec<TokenId>>) -> Self {
        self.prompt = Prompt::Tokens(tokens.into());
        self
    }

    /// What is fed first, as [`Session::feed_text`](crate::Session::feed_text) takes it, in place of
    /// a [`prompt`](Self::prompt). Default: nothing.
    pub fn text(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.prompt = Prompt::Text(text.into());
        self
    }

    /// Default (or 0): 256.
    pub fn max_tokens(mut self, n: u64) -> Self {
        self.max_tokens = n;
        self
    }

    /// Tokens that end the text, besides the model's own; they are not delivered.
    pub fn stop_tokens(mut self, tokens: impl Into<Vec<TokenId>>) -> Self {
        self.stop_tokens = tokens.into();
        self
    }

    /// The first of these to appear in the text ends it; no byte of it is delivered. The token in
    /// which it begins is, with the text before it, if there is any. At most 64, of at most 4096
    /// bytes, without zeros.
    pub fn stop_strings<S: Into<Vec<u8>>>(mut self, strings: impl IntoIterator<Item = S>) -> Self {
        self.stop_strings = strings.into_iter().map(Into::into).collect();
        self
    }

    /// The model's end-of-text token is one like any other. Default: no.
    pub fn ignore_eos(mut self, ignore: bool) -> Self {
        self.ignore_eos = Some(ignore);
        self
    }

    /// How many alternatives are delivered with each token; at most 64.
    pub fn top_logprobs(mut self, n: u32) -> Self {
        self.top_logprobs = n;
        self
    }

    /// Tells apart draws at one position (best of n). Default: 0.
    pub fn branch(mut self, branch: u64) -> Self {
        self.branch = branch;
        self
    }

    /// Special tokens give no text. Default: yes.
    pub fn skip_special(mut self, skip: bool) -> Self {
        self.skip_special = Some(skip);
        self
    }

    /// From the start; then no more tokens are made. Default: none.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// 1 to 100: its share of what streams have to share. Default (or 0): 10.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// How many tokens are made ahead. Default (or 0): 8.
    pub fn queue_depth(mut self, tokens: u32) -> Self {
        self.queue_depth = tokens;
        self
    }

    /// What the prompt is read by way of: the stream starts behind the longest beginning of the
    /// session's tokens and the prompt that is cached; see
    /// [`Stream::prefix_report`](crate::Stream::prefix_report). The session must be of the cache's
    /// model (`Mismatch`) and have begun at 0 (`State`). Default: none.
    pub fn prefix_cache(mut self, cache: &PrefixCache) -> Self {
        self.prefix_cache = Some(cache.clone());
        self
    }

    /// Called when there is something to take after a call has found nothing, and at first: on a
    /// thread of the library, or inside a cancel. It may only signal; to call the library there is
    /// a panic. One of its panics goes on in who takes from the stream next. For a
    /// [`Waker`](std::task::Waker) see [`Stream::poll_next`](crate::Stream::poll_next).
    ///
    /// ```
    /// # fn main() -> Result<(), samba_lm::Error> {
    /// use samba_lm::{Context, Model, Session, StreamOptions};
    /// use std::{sync::mpsc::sync_channel, task::Poll, time::Duration};
    ///
    /// let context = Context::new()?;
    /// let model = Model::load(&context, "../../../examples/models/samba-13m.gguf")?;
    /// let mut session = Session::new(&model)?;
    /// let (signal, signals) = sync_channel(1);
    /// let options = StreamOptions::new().text("The old man said").max_tokens(8);
    /// let options = options.on_ready(move || {
    ///     let _ = signal.try_send(()); // if there is one already, that will do
    /// });
    /// let mut stream = session.stream(&options)?;
    /// 'all: while signals.recv().is_ok() {
    ///     loop {
    ///         match stream.next_within(Duration::ZERO) {
    ///             Poll::Ready(Some(token)) => print!("{}", token?.text),
    ///             Poll::Ready(None) => break 'all,
    ///             Poll::Pending => break, // until the next signal
    ///         }
    ///     }
    /// }
    /// # assert_eq!(stream.reason(), Some(samba_lm::StopReason::Length));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_ready(mut self, ready: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_ready = Some(Ready(Arc::new(ready)));
        self
    }

    /// Calls `start` with the options as C takes them, which are valid during the call.
    pub(crate) fn with_raw(
        &self,
        start: impl FnOnce(sys::samba_stream_options) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let strings = self.stop_strings.iter();
        let strings: Vec<CString> = strings
            .map(|string| ffi::c_string(string, "a stop string"))
            .collect::<Result<_, _>>()?;
        let strings: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        let mut raw = sys::samba_stream_options {
            max_tokens: self.max_tokens,
            stop_tokens: self.stop_tokens.as_ptr(),
            n_stop_tokens: self.stop_tokens.len(),
            ignore_eos: ffi::switch(self.ignore_eos),
            top_logprobs: self.top_logprobs,
            branch: self.branch,
            skip_special: ffi::switch(self.skip_special),
            stop_strings: strings.as_ptr(),
            n_stop_strings: strings.len(),
            // 0 would be none.
            deadline_ms: self.deadline.map_or(0, |deadline| {
                u64::try_from(deadline.as_millis())
                    .unwrap_or(u64::MAX)
                    .max(1)
            }),
            priority: self.priority.into(),
            queue_depth: self.queue_depth,
            prefix_cache: self
                .prefix_cache
                .as_ref()
                .map_or(null_mut(), PrefixCache::raw),
            ..ffi::output!(samba_stream_options)
        };
        match &self.prompt {
            Prompt::Tokens(tokens) => {
                raw.prompt = tokens.as_ptr();
                raw.n_prompt = tokens.len();
            }
            Prompt::Text(text) => {
                raw.text = text.as_ptr().cast();
                raw.text_size = text.len();
            }
        }
        start(raw)
    }
}
