//! Sessions: one sequence of tokens and its state.
use crate::callback::enter_in_drop;
use crate::error::attempt;
use crate::{ffi, Cancel, Dtype, Error, LogProb, Model, Sampler, TokenId};
use samba_lm_sys as sys;
use std::ptr::{null, null_mut, NonNull};
use std::time::Duration;

/// How a [`Session`] is made; what is not set has the library's default.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SessionOptions {
    kv_dtype: Option<Dtype>,
    rows_per_pass: u32,
    max_history: Option<u64>,
    max_state_bytes: u64,
    first_position: u64,
    checkpoint_bytes: Option<u64>,
    checkpoint_interval: u32,
}

impl SessionOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Type of keys and values: F16 (default), F32, Bf16, Q8_0.
    pub fn kv_dtype(mut self, dtype: Dtype) -> Self {
        self.kv_dtype = Some(dtype);
        self
    }

    /// Most tokens evaluated in one pass. Default (or 0): 256.
    pub fn rows_per_pass(mut self, rows: u32) -> Self {
        self.rows_per_pass = rows;
        self
    }

    /// Tokens kept for penalties, [`Session::tokens`] and rewinding, oldest dropped; 0: none, and 1
    /// counts as 2. Default: all.
    pub fn max_history(mut self, tokens: u64) -> Self {
        self.max_history = Some(tokens);
        self
    }

    /// An eval that would need more fails with `Limit`. Default (or 0): no limit. Only models with
    /// full attention grow.
    pub fn max_state_bytes(mut self, bytes: u64) -> Self {
        self.max_state_bytes = bytes;
        self
    }

    /// Position of the first token, below 2^40. Default: 0.
    pub fn first_position(mut self, position: u64) -> Self {
        self.first_position = position;
        self
    }

    /// Budget for the checkpoints that rewinding goes back to; 0: none are kept. Default:
    /// what the session's whole state takes once its windows are full.
    pub fn checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_bytes = Some(bytes);
        self
    }

    /// Least tokens between two automatic checkpoints. Default (or 0): 64.
    pub fn checkpoint_interval(mut self, tokens: u32) -> Self {
        self.checkpoint_interval = tokens;
        self
    }

    /// Makes a session of the model.
    pub fn create(&self, model: &Model) -> Result<Session, Error> {
        let options = self.to_raw();
        let mut raw = null_mut();
        // SAFETY: a live model and room for the result.
        attempt(|error| unsafe {
            sys::samba_session_create(model.raw(), &options, &mut raw, error)
        })?;
        Ok(Session::from_raw(raw, model))
    }

    pub(crate) fn to_raw(&self) -> sys::samba_session_options {
        sys::samba_session_options {
            kv_dtype: self.kv_dtype.map_or(0, Dtype::to_raw),
            rows_per_pass: self.rows_per_pass,
            max_history: none_or(self.max_history, sys::SAMBA_HISTORY_NONE),
            max_state_bytes: self.max_state_bytes,
            first_position: self.first_position,
            checkpoint_bytes: none_or(self.checkpoint_bytes, sys::SAMBA_CHECKPOINTS_NONE),
            checkpoint_interval: self.checkpoint_interval,
            ..ffi::output!(samba_session_options)
        }
    }
}

/// C says 0 for the default and has a named constant for none.
fn none_or(value: Option<u64>, none: i32) -> u64 {
    match value {
        None => 0,
        Some(0) => none as u64,
        Some(n) => n.max(none as u64 + 1),
    }
}

/// Whose logits an eval keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outputs {
    /// The last token's (the default).
    Last,
    /// Every token's: `n * n_vocab` floats are held.
    All,
    /// None.
    None,
}

/// Which hidden states an eval keeps, of the rows that [`Outputs`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hidden {
    /// After the final norm: what the head reads.
    Final,
    /// The residual stream after this block.
    AfterBlock(u32),
}

/// How tokens are evaluated; what is not set has the library's default.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct EvalOptions {
    outputs: Option<Outputs>,
    hidden: Option<Hidden>,
    speculative: bool,
    cancel: Option<Cancel>,
}

impl EvalOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whose logits are kept. Default: the last token's.
    pub fn outputs(mut self, outputs: Outputs) -> Self {
        self.outputs = Some(outputs);
        self
    }

    /// Also keep hidden states. Default: none.
    pub fn hidden(mut self, hidden: Hidden) -> Self {
        self.hidden = Some(hidden);
        self
    }

    /// Evaluate as a proposal: the session moves on with [`Session::keep`]. At most as many tokens
    /// as a pass has rows.
    pub fn speculative(mut self, speculative: bool) -> Self {
        self.speculative = speculative;
        self
    }

    /// Ends the call early.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    pub(crate) fn to_raw(&self) -> sys::samba_eval_options {
        sys::samba_eval_options {
            outputs: match self.outputs {
                None => 0,
                Some(Outputs::Last) => sys::SAMBA_OUTPUT_LAST,
                Some(Outputs::All) => sys::SAMBA_OUTPUT_ALL,
                Some(Outputs::None) => sys::SAMBA_OUTPUT_NONE,
            },
            hidden: match self.hidden {
                None => 0,
                Some(Hidden::Final) => sys::SAMBA_HIDDEN_FINAL,
                Some(Hidden::AfterBlock(block)) => i32::try_from(block)
                    .ok()
                    .and_then(|block| block.checked_add(1))
                    .unwrap_or(i32::MAX), // more than any model has: refused
            },
            speculative: ffi::switch(self.speculative.then(|| true)),
            cancel: Cancel::raw(&self.cancel),
            ..ffi::output!(samba_eval_options)
        }
    }
}

/// One sequence: its tokens and its state, in bounded memory. May move between threads, but is used
/// by one at a time.
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<samba_lm::Session>();
/// ```
pub struct Session {
    raw: NonNull<sys::samba_session>,
    model: Model,
}

// SAFETY: one thread at a time may use it, whichever; it is not Sync.
unsafe impl Send for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the owner.
        enter_in_drop(|| unsafe { sys::samba_session_free(self.raw.as_ptr()) });
    }
}

impl Session {
    /// A session with the default options.
    pub fn new(model: &Model) -> Result<Session, Error> {
        SessionOptions::new().create(model)
    }

    /// Takes over what a call that succeeded has made.
    pub(crate) fn from_raw(raw: *mut sys::samba_session, model: &Model) -> Session {
        Session {
            raw: NonNull::new(raw).expect("a session"),
            model: model.clone(),
        }
    }

    pub(crate) fn raw(&self) -> *mut sys::samba_session {
        self.raw.as_ptr()
    }

    /// Its model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// An independent copy, in microseconds: both share memory until one of them moves on.
    pub fn try_clone(&self) -> Result<Session, Error> {
        let mut raw = null_mut();
        // SAFETY: a live session and room for the result.
        attempt(|error| unsafe { sys::samba_session_clone(self.raw(), &mut raw, error) })?;
        Ok(Session::from_raw(raw, &self.model))
    }

    /// Back to its first position, as if new.
    pub fn reset(&mut self) -> Result<(), Error> {
        // SAFETY: a live session.
        attempt(|error| unsafe { sys::samba_session_reset(self.raw(), error) })
    }

    /// Position of the next token.
    pub fn position(&self) -> u64 {
        // SAFETY: a live session.
        unsafe { sys::samba_session_position(self.raw()) }
    }

    /// The tokens kept, and the position of the first of them.
    pub fn tokens(&self) -> Result<(u64, &[TokenId]), Error> {
        let (mut tokens, mut first, mut n) = (null(), 0, 0);
        // SAFETY: a live session, room for the results; what they point to stays until the session
        // changes, which needs `&mut self`.
        unsafe {
            attempt(|error| {
                sys::samba_session_tokens(self.raw(), &mut tokens, &mut first, &mut n, error)
            })?;
            Ok((first, ffi::slice(tokens, n)))
        }
    }

    /// Feeds tokens. Long inputs run as several passes; if one fails or is cancelled, the session
    /// stands at the end of the last whole pass.
    pub fn eval(&mut self, tokens: &[TokenId]) -> Result<(), Error> {
        self.eval_raw(tokens, null())
    }

    /// The same with options.
    pub fn eval_with(&mut self, tokens: &[TokenId], options: &EvalOptions) -> Result<(), Error> {
        self.eval_raw(tokens, &options.to_raw())
    }

    fn eval_raw(
        &mut self,
        tokens: &[TokenId],
        options: *const sys::samba_eval_options,
    ) -> Result<(), Error> {
        let (data, n) = (tokens.as_ptr(), tokens.len());
        // SAFETY: a live session, that many tokens.
        attempt(|error| unsafe { sys::samba_session_eval(self.raw(), data, n, options, error) })
    }

    /// Feeds a text. Special tokens written in it are text; what the tokenizer adds in front (BOS)
    /// it adds at the first position only.
    pub fn feed_text(&mut self, text: impl AsRef<[u8]>) -> Result<(), Error> {
        self.feed_text_with(text, &EvalOptions::new())
    }

    /// The same with options.
    pub fn feed_text_with(
        &mut self,
        text: impl AsRef<[u8]>,
        options: &EvalOptions,
    ) -> Result<(), Error> {
        let (text, options) = (text.as_ref(), options.to_raw());
        let (data, size) = (text.as_ptr().cast(), text.len());
        // SAFETY: a live session, text of that size.
        attempt(|error| unsafe {
            sys::samba_session_feed_text(self.raw(), data, size, &options, error)
        })
    }

    /// After a speculative eval: keeps the first `n_tokens` of the proposal.
    pub fn keep(&mut self, n_tokens: usize) -> Result<(), Error> {
        // SAFETY: a live session.
        attempt(|error| unsafe { sys::samba_session_keep(self.raw(), n_tokens, error) })
    }

    /// Logits of the last row: `n_vocab` floats.
    ///
    /// # Errors
    /// `State`: there are none.
    pub fn logits(&self) -> Result<&[f32], Error> {
        self.logits_row(sys::SAMBA_ROW_LAST)
    }

    /// Logits of one of the rows of the last eval.
    pub fn logits_row(&self, row: usize) -> Result<&[f32], Error> {
        let (mut logits, mut n) = (null(), 0);
        // SAFETY: a live session, room for the results; what they point to stays until the session
        // changes, which needs `&mut self`.
        unsafe {
            attempt(|error| {
                sys::samba_session_logits(self.raw(), row, &mut logits, &mut n, error)
            })?;
            Ok(ffi::slice(logits, n))
        }
    }

    /// How many rows of logits are held.
    pub fn n_rows(&self) -> usize {
        // SAFETY: a live session.
        unsafe { sys::samba_session_n_rows(self.raw()) }
    }

    /// Hidden state of the last row, if the eval asked for it: `d_model` floats.
    pub fn hidden(&self) -> Result<&[f32], Error> {
        self.hidden_row(sys::SAMBA_ROW_LAST)
    }

    /// Hidden state of one of the rows of the last eval.
    pub fn hidden_row(&self, row: usize) -> Result<&[f32], Error> {
        let (mut hidden, mut n) = (null(), 0);
        // SAFETY: as for the logits.
        unsafe {
            attempt(|error| {
                sys::samba_session_hidden(self.raw(), row, &mut hidden, &mut n, error)
            })?;
            Ok(ffi::slice(hidden, n))
        }
    }

    /// Feeds tokens and gives log p(token | everything before it) of each, without holding rows of
    /// logits. The first token of a session has nothing before it: 0.
    pub fn score(&mut self, tokens: &[TokenId]) -> Result<Vec<f32>, Error> {
        self.score_with(tokens, &EvalOptions::new())
    }

    /// The same with options, of which only [`EvalOptions::cancel`] may be set.
    pub fn score_with(
        &mut self,
        tokens: &[TokenId],
        options: &EvalOptions,
    ) -> Result<Vec<f32>, Error> {
        let mut logprobs = vec![0.0; tokens.len()];
        let (data, n, options) = (tokens.as_ptr(), tokens.len(), options.to_raw());
        let to = logprobs.as_mut_ptr();
        // SAFETY: a live session, that many tokens, room for as many results.
        attempt(|error| unsafe {
            sys::samba_session_score(self.raw(), data, n, &options, to, error)
        })?;
        Ok(logprobs)
    }

    /// The `n` most likely tokens after the last row, best first.
    pub fn top_logprobs(&self, n: usize) -> Result<Vec<LogProb>, Error> {
        self.top_logprobs_row(sys::SAMBA_ROW_LAST, n)
    }

    /// The same after one of the rows of the last eval.
    pub fn top_logprobs_row(&self, row: usize, n: usize) -> Result<Vec<LogProb>, Error> {
        let n_vocab = self.logits_row(row)?.len();
        if n > n_vocab {
            return Err(Error::new(
                crate::Status::InvalidArgument,
                format!("{n} tokens are asked for, the vocabulary has {n_vocab}"),
            ));
        }
        let mut top = vec![
            LogProb {
                token: 0,
                logprob: 0.0
            };
            n
        ];
        let to = top.as_mut_ptr().cast();
        // SAFETY: a live session, room for `n` results, whose layout is that of C's.
        attempt(|error| unsafe { sys::samba_session_top_logprobs(self.raw(), row, n, to, error) })?;
        Ok(top)
    }

    /// Draws the next token from the last logits and feeds nothing. Without a sampler: the
    /// likeliest. `branch` tells apart draws at one position (best of n); usually 0.
    pub fn sample<'a>(
        &self,
        sampler: impl Into<Option<&'a Sampler>>,
        branch: u64,
    ) -> Result<LogProb, Error> {
        let sampler = sampler.into();
        let raw_sampler = sampler.map_or(null_mut(), Sampler::raw);
        let (mut token, mut logprob) = (0, 0.0);
        // SAFETY: live objects and room for the results.
        let drawn = attempt(|error| unsafe {
            sys::samba_session_sample(
                self.raw(),
                raw_sampler,
                branch,
                &mut token,
                &mut logprob,
                error,
            )
        });
        drawn.map(|()| LogProb { token, logprob })
    }

    /// Where it stands, what it holds, how fast it was.
    pub fn stats(&self) -> Result<SessionStats, Error> {
        let mut raw = ffi::output!(samba_session_stats);
        // SAFETY: a live session and room for the result.
        attempt(|error| unsafe { sys::samba_session_get_stats(self.raw(), &mut raw, error) })?;
        Ok(SessionStats {
            position: raw.position,
            state_bytes: raw.state_bytes,
            history_bytes: raw.history_bytes,
            n_passes: raw.n_passes,
            prefill_tokens: raw.prefill_tokens,
            prefill_time: Duration::from_secs_f64(raw.prefill_seconds.max(0.0)),
            decode_tokens: raw.decode_tokens,
            decode_time: Duration::from_secs_f64(raw.decode_seconds.max(0.0)),
            n_checkpoints: raw.n_checkpoints,
            checkpoint_bytes: raw.checkpoint_bytes,
        })
    }
}

/// What a session holds and has done; see [`Session::stats`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Position of the next token.
    pub position: u64,
    /// State and logits held, memory shared with others included.
    pub state_bytes: u64,
    /// Token history.
    pub history_bytes: u64,
    /// Passes that it took part in.
    pub n_passes: u64,
    /// Tokens of passes with more than one token of this session.
    pub prefill_tokens: u64,
    /// How long those passes took.
    pub prefill_time: Duration,
    /// Tokens of passes with one.
    pub decode_tokens: u64,
    /// How long those passes took.
    pub decode_time: Duration,
    /// Checkpoints kept.
    pub n_checkpoints: u64,
    /// What only checkpoints hold; not in `state_bytes`.
    pub checkpoint_bytes: u64,
}
