//! Several sessions evaluated together.
use crate::error::attempt;
use crate::{ffi, Cancel, Error, EvalOptions, Session, Status, TokenId};
use samba_lm_sys as sys;

/// One session's part of a batch.
pub struct BatchItem<'a> {
    session: &'a mut Session,
    tokens: &'a [TokenId],
    options: EvalOptions,
    status: Result<(), Status>,
}

impl<'a> BatchItem<'a> {
    /// Feed `tokens` to `session`.
    pub fn new(session: &'a mut Session, tokens: &'a [TokenId]) -> Self {
        BatchItem {
            session,
            tokens,
            options: EvalOptions::new(),
            status: Ok(()),
        }
    }

    /// How its tokens are evaluated; cancelling is the batch's.
    #[must_use]
    pub fn options(mut self, options: EvalOptions) -> Self {
        self.options = options;
        self
    }

    /// How it went, once the batch has been evaluated.
    pub fn status(&self) -> Result<(), Status> {
        self.status
    }
}

/// How a batch is evaluated; what is not set has the library's default.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct BatchOptions {
    rows_per_pass: u32,
    cancel: Option<Cancel>,
}

impl BatchOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows of all items together. Default (or 0): the largest of the sessions'.
    pub fn rows_per_pass(mut self, rows: u32) -> Self {
        self.rows_per_pass = rows;
        self
    }

    /// Ends the call early.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Evaluates several sessions of one model together; the results are those of evaluating each
    /// alone. Items fail one by one ([`BatchItem::status`]); the error is that of the first.
    pub fn eval(&self, items: &mut [BatchItem<'_>]) -> Result<(), Error> {
        let item_options: Vec<_> = items.iter().map(|item| item.options.to_raw()).collect();
        let mut raw: Vec<_> = items
            .iter()
            .zip(&item_options)
            .map(|(item, options)| sys::samba_eval_item {
                session: item.session.raw(),
                tokens: item.tokens.as_ptr(),
                n_tokens: item.tokens.len(),
                options,
                status: sys::SAMBA_OK,
            })
            .collect();
        let options = sys::samba_batch_options {
            rows_per_pass: self.rows_per_pass,
            cancel: Cancel::raw(&self.cancel),
            ..ffi::output!(samba_batch_options)
        };
        let (data, n) = (raw.as_mut_ptr(), raw.len());
        let item_size = std::mem::size_of::<sys::samba_eval_item>();
        // SAFETY: live sessions, each borrowed mutably by its item alone.
        let result =
            attempt(|error| unsafe { sys::samba_eval_batch(data, n, item_size, &options, error) });
        for (item, raw) in items.iter_mut().zip(&raw) {
            item.status = match raw.status {
                sys::SAMBA_OK => Ok(()),
                status => Err(Status::from_raw(status)),
            };
        }
        result
    }
}

/// Evaluates several sessions of one model together, with the default options; see
/// [`BatchOptions::eval`].
pub fn eval_batch(items: &mut [BatchItem<'_>]) -> Result<(), Error> {
    BatchOptions::new().eval(items)
}
