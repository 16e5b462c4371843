//! Generation as an iterator: each step is a call of `samba_session_generate` for one token, which
//! makes the same tokens as one call for all of them, since a draw depends on seed, branch and
//! position alone.
use crate::error::attempt;
use crate::{ffi, Cancel, Error, LogProb, Sampler, Session, TokenId};
use samba_lm_sys as sys;
use std::iter::FusedIterator;
use std::os::raw::c_void;
use std::ptr::null_mut;

/// How tokens are generated; what is not set has the library's default.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct GenerateOptions {
    sampler: Option<Sampler>,
    max_tokens: Option<u64>,
    stop_tokens: Vec<TokenId>,
    ignore_eos: Option<bool>,
    top_logprobs: u32,
    branch: u64,
    skip_special: Option<bool>,
    cancel: Option<Cancel>,
}

const MAX_TOKENS: u64 = 256;

impl GenerateOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How tokens are drawn. Default: the likeliest each time.
    pub fn sampler(mut self, sampler: &Sampler) -> Self {
        self.sampler = Some(sampler.clone());
        self
    }

    /// Default: 256.
    pub fn max_tokens(mut self, n: u64) -> Self {
        self.max_tokens = Some(n);
        self
    }

    /// Tokens that end the text, besides the model's own; they are not delivered.
    pub fn stop_tokens(mut self, tokens: impl Into<Vec<TokenId>>) -> Self {
        self.stop_tokens = tokens.into();
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

    /// Ends the generation early, with the error `Cancelled`.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// For one token; points into `self`.
    fn to_raw(&self) -> sys::samba_generate_options {
        sys::samba_generate_options {
            max_tokens: 1,
            stop_tokens: self.stop_tokens.as_ptr(),
            n_stop_tokens: self.stop_tokens.len(),
            ignore_eos: ffi::switch(self.ignore_eos),
            top_logprobs: self.top_logprobs,
            branch: self.branch,
            skip_special: ffi::switch(self.skip_special),
            cancel: Cancel::raw(&self.cancel),
            ..ffi::output!(samba_generate_options)
        }
    }
}

/// A generated token; it has been fed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Log-probability in the raw distribution.
    pub logprob: f32,
    /// Where it stands.
    pub position: u64,
    /// The whole characters that it completes, maybe none; what can't be UTF-8 is U+FFFD.
    pub text: String,
    /// Alternatives, best first, as many as [`GenerateOptions::top_logprobs`] says.
    pub top: Vec<LogProb>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// This token, the model's end of text or a stop token, was drawn; it is not fed.
    Token(TokenId),
    /// As many tokens as were asked for.
    Length,
    /// The stop string with this index would have appeared. Of streams only, as the rest.
    String(usize),
    /// [`Stream::cancel`](crate::Stream::cancel) was called.
    Cancelled,
    /// The time was over.
    Deadline,
}

/// Tokens as they are generated; see [`Session::generate`]. After an error it ends. The session
/// stands after the last token that came out, however it ended.
#[must_use]
pub struct Generate<'s> {
    session: &'s mut Session,
    options: GenerateOptions,
    n_left: u64,
    text: Utf8,
    reason: Option<StopReason>,
    failed: bool,
}

impl Session {
    /// Continues the sequence. Feed something first.
    pub fn generate(&mut self, options: GenerateOptions) -> Generate<'_> {
        let n_left = options.max_tokens.unwrap_or(MAX_TOKENS);
        let text = Utf8::default();
        Generate {
            session: self,
            options,
            n_left,
            text,
            reason: None,
            failed: false,
        }
    }
}

impl Generate<'_> {
    /// Why it ended; `None` while it has not, or after an error.
    pub fn reason(&self) -> Option<StopReason> {
        self.reason
    }

    /// The session, to be read between two tokens.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// Bytes of a character that is not complete; part of no token's text yet.
    pub fn rest(&self) -> &[u8] {
        &self.text.held
    }

    /// One token, or none because of a stop token.
    fn step(&mut self) -> Result<Option<Token>, Error> {
        let options = self.options.to_raw();
        let sampler = self
            .options
            .sampler
            .as_ref()
            .map_or(null_mut(), Sampler::raw);
        let mut sink = Sink {
            token: None,
            text: &mut self.text,
        };
        let user_data = (&mut sink as *mut Sink<'_>).cast();
        let mut result = ffi::output!(samba_generate_result);
        let raw = self.session.raw();
        // SAFETY: live objects, and the sink is what `on_token` takes.
        attempt(|error| unsafe {
            sys::samba_session_generate(
                raw,
                sampler,
                &options,
                Some(on_token),
                user_data,
                &mut result,
                error,
            )
        })?;
        let token = sink.token;
        if token.is_none() {
            self.reason = Some(StopReason::Token(result.stop_token));
        }
        Ok(token)
    }
}

impl Iterator for Generate<'_> {
    type Item = Result<Token, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reason.is_some() {
            return None;
        }
        if self.n_left == 0 {
            self.reason = Some(StopReason::Length);
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        self.n_left -= 1;
        step.transpose()
    }
}

impl FusedIterator for Generate<'_> {}

/// Where one step's events go: the token, and its bytes, of which the library delivers an
/// incomplete character at the end in an event of its own.
struct Sink<'a> {
    token: Option<Token>,
    text: &'a mut Utf8,
}

unsafe extern "C" fn on_token(user_data: *mut c_void, event: *const sys::samba_token_event) -> i32 {
    // SAFETY: the sink of this step; what the event points to is valid during the call.
    let (sink, event, bytes, top) = unsafe {
        let event = &*event;
        let bytes = ffi::slice(event.text.cast::<u8>(), event.text_size);
        let top = ffi::slice(event.top.cast::<LogProb>(), event.n_top);
        (&mut *user_data.cast::<Sink<'_>>(), event, bytes, top)
    };
    match &mut sink.token {
        None => {
            sink.token = Some(Token {
                id: event.token,
                logprob: event.logprob,
                position: event.position,
                text: sink.text.push(bytes),
                top: top.to_vec(),
            })
        }
        Some(token) => token.text.push_str(&sink.text.push(bytes)),
    }
    sys::SAMBA_CONTINUE
}

/// Bytes to whole characters, across tokens.
#[derive(Default)]
pub(crate) struct Utf8 {
    pub(crate) held: Vec<u8>, // the beginning of a character
}

impl Utf8 {
    /// The characters that end in `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        if self.held.is_empty() {
            if let Ok(text) = std::str::from_utf8(bytes) {
                return text.to_string();
            }
        }
        self.held.extend_from_slice(bytes);
        let whole = self.held.len() - incomplete(&self.held);
        let text = String::from_utf8_lossy(&self.held[..whole]).into_owned();
        self.held.drain(..whole);
        text
    }
}

/// How many bytes at the end begin a character that more bytes could complete.
fn incomplete(mut bytes: &[u8]) -> usize {
    while let Err(error) = std::str::from_utf8(bytes) {
        let rest = &bytes[error.valid_up_to()..];
        match error.error_len() {
            None => return rest.len(),
            Some(bad) => bytes = &rest[bad..],
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::Utf8;

    /// However it is cut, the text is that of all bytes at once, and no character is cut.
    #[test]
    fn characters_stay_whole() {
        let all = "aé€😀"
            .bytes()
            .chain([0xff, 0xc3, b'x', 0xe2, 0x82])
            .collect::<Vec<u8>>();
        for cut in 0..=all.len() {
            for end in cut..=all.len() {
                let mut text = Utf8::default();
                let mut got = text.push(&all[..cut]);
                got += &text.push(&all[cut..end]);
                got += &text.push(&all[end..]);
                assert_eq!(got, "aé€😀\u{fffd}\u{fffd}x");
                assert_eq!(text.held, [0xe2, 0x82]);
            }
        }
    }
}
