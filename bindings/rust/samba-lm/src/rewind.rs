//! Going back to an earlier position.
use crate::error::attempt;
use crate::{ffi, Cancel, Error, Session};
use samba_lm_sys as sys;

/// How a session is rewound; what is not set has the library's default.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RewindOptions {
    max_replay: Option<u64>,
    dry_run: bool,
    cancel: Option<Cancel>,
}

impl RewindOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Most tokens evaluated again, else the error `Limit`; 0: none at all. Default: no limit.
    pub fn max_replay(mut self, tokens: u64) -> Self {
        self.max_replay = Some(tokens);
        self
    }

    /// Only say what it would take.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Ends the call early.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }
}

/// What a rewind did; see [`Session::rewind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RewindReport {
    /// Where the session stands now.
    pub position: u64,
    /// Position of the checkpoint that it went back to.
    pub restored_at: u64,
    /// Tokens evaluated again from there.
    pub replayed: u64,
    /// State and logits are bit for bit those of that time.
    pub exact: bool,
}

impl Session {
    /// Back to an earlier position, tokens and logits included: restores the nearest checkpoint at
    /// or before it and evaluates the tokens in between again.
    ///
    /// # Errors
    /// All leave the session where it stands. `InvalidArgument`: the position is ahead, or before
    /// the first. `State`: no checkpoint from which the tokens are still kept.
    pub fn rewind(&mut self, position: u64) -> Result<RewindReport, Error> {
        self.rewind_with(position, &RewindOptions::new())
    }

    /// The same with options.
    pub fn rewind_with(
        &mut self,
        position: u64,
        options: &RewindOptions,
    ) -> Result<RewindReport, Error> {
        let options = sys::samba_rewind_options {
            max_replay: match options.max_replay {
                None => 0,
                Some(0) => sys::SAMBA_REPLAY_NONE,
                // One less than "none" is as good as no limit.
                Some(n) => n.min(sys::SAMBA_REPLAY_NONE - 1),
            },
            dry_run: ffi::switch(options.dry_run.then(|| true)),
            cancel: Cancel::raw(&options.cancel),
            ..ffi::output!(samba_rewind_options)
        };
        let mut report = ffi::output!(samba_rewind_report);
        // SAFETY: a live session and room for the result.
        attempt(|error| unsafe {
            sys::samba_session_rewind(self.raw(), position, &options, &mut report, error)
        })?;
        Ok(RewindReport {
            position: report.position,
            restored_at: report.restored_at,
            replayed: report.replayed,
            exact: report.exact != 0,
        })
    }

    /// Keeps a checkpoint of the present position, whatever the budget, until [`Session::unpin`], a
    /// rewind to before it or a reset.
    pub fn pin(&mut self) -> Result<(), Error> {
        // SAFETY: a live session.
        attempt(|error| unsafe { sys::samba_session_pin(self.raw(), error) })
    }

    /// Lets the pinned checkpoint at `position` go when the budget asks for it.
    pub fn unpin(&mut self, position: u64) -> Result<(), Error> {
        // SAFETY: a live session.
        attempt(|error| unsafe { sys::samba_session_unpin(self.raw(), position, error) })
    }
}
