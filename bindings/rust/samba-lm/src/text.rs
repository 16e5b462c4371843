//! Text to tokens and back.
use crate::error::attempt;
use crate::{ffi, Error, Model, Status, TokenId};
use samba_lm_sys as sys;
use std::ptr::{null_mut, NonNull};

/// How text becomes tokens.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct TokenizeOptions {
    parse_special: Option<bool>,
    add_special: Option<bool>,
}

impl TokenizeOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Special tokens written in the text become tokens. Default: no, so that text from users
    /// can't forge them.
    pub fn parse_special(mut self, parse: bool) -> Self {
        self.parse_special = Some(parse);
        self
    }

    /// Add what the tokenizer puts around a text (BOS). Default: yes.
    pub fn add_special(mut self, add: bool) -> Self {
        self.add_special = Some(add);
        self
    }

    fn to_raw(self) -> sys::samba_tokenize_options {
        sys::samba_tokenize_options {
            parse_special: ffi::switch(self.parse_special),
            add_special: ffi::switch(self.add_special),
            ..ffi::output!(samba_tokenize_options)
        }
    }
}

/// Fills a vector through a C function that writes at most `capacity` elements and says how many
/// there are; `guess` spares a second call if it is enough.
fn fill<T>(
    guess: usize,
    call: impl Fn(*mut T, usize, *mut usize, *mut *mut sys::samba_error) -> sys::samba_status,
) -> Result<Vec<T>, Error> {
    let mut items = Vec::with_capacity(guess.max(1));
    let mut n = 0;
    match attempt(|error| call(items.as_mut_ptr(), items.capacity(), &mut n, error)) {
        Err(error) if error.status() == Status::Limit => {
            attempt(|error| call(null_mut(), 0, &mut n, error))?;
            items.reserve(n);
            attempt(|error| call(items.as_mut_ptr(), items.capacity(), &mut n, error))?;
        }
        other => other?,
    }
    // SAFETY: that many were written.
    unsafe { items.set_len(n) };
    Ok(items)
}

impl Model {
    /// Turns text into tokens; bytes that are not UTF-8 are kept by byte-level tokenizers.
    ///
    /// # Errors
    /// `Unsupported`: the model or the build has no tokenizer.
    pub fn tokenize(&self, text: impl AsRef<[u8]>) -> Result<Vec<TokenId>, Error> {
        self.tokenize_with(text, TokenizeOptions::new())
    }

    /// The same with options.
    pub fn tokenize_with(
        &self,
        text: impl AsRef<[u8]>,
        options: TokenizeOptions,
    ) -> Result<Vec<TokenId>, Error> {
        let (text, options) = (text.as_ref(), options.to_raw());
        fill(text.len() + 8, |to, capacity, n, error| {
            let (data, size) = (text.as_ptr().cast(), text.len());
            // SAFETY: a live model, text of that size, room for `capacity` tokens.
            unsafe { sys::samba_tokenize(self.raw(), data, size, &options, to, capacity, n, error) }
        })
    }

    /// Turns tokens into text; what is not UTF-8 becomes U+FFFD.
    pub fn detokenize(&self, tokens: &[TokenId]) -> Result<String, Error> {
        let bytes = self.detokenize_bytes(tokens, false)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Turns tokens into bytes as they are; special tokens give none if `skip_special`.
    pub fn detokenize_bytes(
        &self,
        tokens: &[TokenId],
        skip_special: bool,
    ) -> Result<Vec<u8>, Error> {
        let options = detokenize_options(skip_special);
        fill(tokens.len() * 6 + 8, |to: *mut u8, capacity, n, error| {
            let (data, size) = (tokens.as_ptr(), tokens.len());
            // SAFETY: a live model, that many tokens, room for `capacity` bytes.
            unsafe {
                let to = to.cast();
                sys::samba_detokenize(self.raw(), data, size, &options, to, capacity, n, error)
            }
        })
    }

    /// The token whose vocabulary entry (special tokens included) is `text`, if there is one.
    pub fn find_token(&self, text: impl AsRef<[u8]>) -> Result<Option<TokenId>, Error> {
        let text = text.as_ref();
        let mut token = 0;
        // SAFETY: a live model, text of that size, room for the result.
        let found = attempt(|error| unsafe {
            let data = text.as_ptr().cast();
            sys::samba_token_find(self.raw(), data, text.len(), &mut token, error)
        });
        match found {
            Ok(()) => Ok(Some(token)),
            Err(error) if error.status() == Status::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the token is a special (control) token.
    pub fn is_special(&self, token: TokenId) -> bool {
        // SAFETY: a live model.
        unsafe { sys::samba_token_is_special(self.raw(), token) != 0 }
    }

    /// Turns tokens into text one by one.
    pub fn detokenizer(&self, skip_special: bool) -> Result<Detokenizer, Error> {
        let options = detokenize_options(skip_special);
        let mut raw = null_mut();
        // SAFETY: a live model and room for the result.
        attempt(|error| unsafe {
            sys::samba_detokenizer_create(self.raw(), &options, &mut raw, error)
        })?;
        let raw = NonNull::new(raw).expect("a detokenizer");
        Ok(Detokenizer {
            raw,
            _model: self.clone(),
        })
    }
}

fn detokenize_options(skip_special: bool) -> sys::samba_detokenize_options {
    sys::samba_detokenize_options {
        skip_special: ffi::switch(Some(skip_special)),
        ..ffi::output!(samba_detokenize_options)
    }
}

/// Turns tokens into text one by one, in whole characters; see [`Model::detokenizer`].
pub struct Detokenizer {
    raw: NonNull<sys::samba_detokenizer>,
    _model: Model,
}

// SAFETY: one thread at a time may use it, whichever.
unsafe impl Send for Detokenizer {}

impl Drop for Detokenizer {
    fn drop(&mut self) {
        // SAFETY: the owner.
        unsafe { sys::samba_detokenizer_free(self.raw.as_ptr()) };
    }
}

impl Detokenizer {
    /// The characters that this token completes, maybe none. Bytes, since a tokenizer may give
    /// what is not UTF-8.
    pub fn push(&mut self, token: TokenId) -> Result<&[u8], Error> {
        self.text(|raw, text, size, error| {
            // SAFETY: a live object and room for the results.
            unsafe { sys::samba_detokenizer_push(raw, token, text, size, error) }
        })
    }

    /// What is still held back (an incomplete character); the next token begins a new text.
    pub fn flush(&mut self) -> Result<&[u8], Error> {
        self.text(|raw, text, size, error| {
            // SAFETY: as above.
            unsafe { sys::samba_detokenizer_flush(raw, text, size, error) }
        })
    }

    fn text(
        &mut self,
        call: impl FnOnce(
            *mut sys::samba_detokenizer,
            *mut *const std::os::raw::c_char,
            *mut usize,
            *mut *mut sys::samba_error,
        ) -> sys::samba_status,
    ) -> Result<&[u8], Error> {
        let (mut text, mut size) = (std::ptr::null(), 0);
        attempt(|error| call(self.raw.as_ptr(), &mut text, &mut size, error))?;
        // SAFETY: valid until the next call, which needs `self` again.
        Ok(unsafe { ffi::slice(text.cast(), size) })
    }
}
