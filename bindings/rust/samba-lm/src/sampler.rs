//! Samplers: how the next token is drawn from logits.
use crate::callback::{contain, contain_draw, enter_in_drop, is_elsewhere, Slot};
use crate::error::attempt;
use crate::stream_wake::Wake;
use crate::{ffi, Candidate, Context, Error, LogProb, TokenId};
use samba_lm_sys as sys;
use std::fmt;
use std::ops::{ControlFlow, Deref, DerefMut};
use std::os::raw::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

type StageFn = dyn Fn(&SamplerState<'_>, &mut Candidates<'_>) -> ControlFlow<()> + Send + Sync;
type MaskFn = dyn Fn(&SamplerState<'_>, &mut TokenMask<'_>) -> ControlFlow<()> + Send + Sync;

/// A chain of stages, applied in the order in which they were added, then one draw. A draw is a
/// function of seed, branch and position alone, so any number of sessions and threads may share a
/// sampler.
///
/// A handle: clones are the same sampler.
#[derive(Clone)]
pub struct Sampler(Arc<Inner>);

struct Inner {
    raw: NonNull<sys::samba_sampler>,
    _context: Context,
}

// SAFETY: after it was built nothing is added, and any thread may share it.
unsafe impl Send for Inner {}
// SAFETY: as above; stages are Send and Sync.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the owner.
        enter_in_drop(|| unsafe { sys::samba_sampler_free(self.raw.as_ptr()) });
    }
}

impl Sampler {
    /// Begins a chain; without any stage a draw is one from the plain softmax.
    pub fn builder(context: &Context) -> SamplerBuilder {
        SamplerBuilder {
            sampler: Sampler::create(context),
        }
    }

    fn create(context: &Context) -> Result<Sampler, Error> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: a live context and room for the result.
        attempt(|error| unsafe { sys::samba_sampler_create(context.raw(), &mut raw, error) })?;
        let raw = NonNull::new(raw).expect("a sampler");
        Ok(Sampler(Arc::new(Inner {
            raw,
            _context: context.clone(),
        })))
    }

    pub(crate) fn raw(&self) -> *mut sys::samba_sampler {
        self.0.raw.as_ptr()
    }

    /// Draws a token from logits of your own.
    pub fn draw(&self, state: &SamplerState<'_>, logits: &[f32]) -> Result<LogProb, Error> {
        let state = sys::samba_sampler_state {
            history: state.history.as_ptr(),
            n_history: state.history.len(),
            position: state.position,
            branch: state.branch,
            ..ffi::output!(samba_sampler_state)
        };
        let (data, n) = (logits.as_ptr(), logits.len());
        let (mut token, mut logprob) = (0, 0.0);
        // SAFETY: a live sampler, that many logits, room for the results.
        let drawn = attempt(|error| unsafe {
            sys::samba_sampler_draw(self.raw(), &state, data, n, &mut token, &mut logprob, error)
        });
        drawn.map(|()| LogProb { token, logprob })
    }
}

/// A [`Sampler`] on the way. The first stage that is refused is the error of
/// [`build`](SamplerBuilder::build).
#[must_use]
pub struct SamplerBuilder {
    sampler: Result<Sampler, Error>,
}

impl SamplerBuilder {
    /// The sampler as it is.
    pub fn build(self) -> Result<Sampler, Error> {
        self.sampler
    }

    fn add(
        mut self,
        add: impl FnOnce(&Sampler, *mut *mut sys::samba_error) -> sys::samba_status,
    ) -> Self {
        if let Ok(sampler) = &self.sampler {
            if let Err(error) = attempt(|error| add(sampler, error)) {
                self.sampler = Err(error);
            }
        }
        self
    }

    /// Keep the single best token.
    pub fn greedy(self) -> Self {
        // SAFETY: a live sampler that only this builder has, here and below.
        self.add(|s, error| unsafe { sys::samba_sampler_add_greedy(s.raw(), error) })
    }

    /// Divide logits by `t` > 0.
    pub fn temperature(self, t: f32) -> Self {
        // SAFETY: as above.
        self.add(|s, error| unsafe { sys::samba_sampler_add_temperature(s.raw(), t, error) })
    }

    /// Keep the `k` >= 1 best.
    pub fn top_k(self, k: u32) -> Self {
        // SAFETY: as above.
        self.add(|s, error| unsafe { sys::samba_sampler_add_top_k(s.raw(), k, error) })
    }

    /// Keep the smallest set of best candidates whose probability reaches `p`, 0 < `p` <= 1.
    pub fn top_p(self, p: f32) -> Self {
        // SAFETY: as above.
        self.add(|s, error| unsafe { sys::samba_sampler_add_top_p(s.raw(), p, error) })
    }

    /// Keep candidates of at least `p` times the best one's probability, 0 < `p` <= 1.
    pub fn min_p(self, p: f32) -> Self {
        // SAFETY: as above.
        self.add(|s, error| unsafe { sys::samba_sampler_add_min_p(s.raw(), p, error) })
    }

    /// Locally typical sampling, 0 < `p` <= 1.
    pub fn typical_p(self, p: f32) -> Self {
        // SAFETY: as above.
        self.add(|s, error| unsafe { sys::samba_sampler_add_typical_p(s.raw(), p, error) })
    }

    /// Make tokens of the history less likely.
    pub fn penalties(self, penalties: Penalties) -> Self {
        let raw = sys::samba_penalties {
            repeat: penalties.repeat,
            frequency: penalties.frequency,
            presence: penalties.presence,
            last_n: penalties.last_n,
            ..ffi::output!(samba_penalties)
        };
        // SAFETY: as above.
        self.add(|s, error| unsafe { sys::samba_sampler_add_penalties(s.raw(), &raw, error) })
    }

    /// Add to the logits of some tokens; minus infinity forbids one.
    pub fn logit_bias(self, biases: &[(TokenId, f32)]) -> Self {
        let (tokens, values): (Vec<_>, Vec<_>) = biases.iter().copied().unzip();
        let n = tokens.len();
        // SAFETY: as above, with `n` tokens and values, which are copied.
        self.add(|s, error| unsafe {
            sys::samba_sampler_add_logit_bias(s.raw(), tokens.as_ptr(), values.as_ptr(), n, error)
        })
    }

    /// Seed of the draw; its place in the chain does not matter. Default: 0.
    pub fn seed(self, seed: u64) -> Self {
        // SAFETY: as above.
        self.add(|s, error| unsafe { sys::samba_sampler_add_seed(s.raw(), seed, error) })
    }

    /// A stage of your own, which reorders, changes or drops candidates and leaves at least one.
    /// `Break` fails the draw with `Cancelled`; a panic goes on in the caller of the draw, or in who
    /// takes from the stream that drew.
    pub fn stage<F>(self, stage: F) -> Self
    where
        F: Fn(&SamplerState<'_>, &mut Candidates<'_>) -> ControlFlow<()> + Send + Sync + 'static,
    {
        self.add(|s, error| {
            let (user_data, free) = (
                user_data::<StageFn>(Box::new(stage)),
                Some(free::<StageFn> as _),
            );
            // SAFETY: as above; the sampler owns the callback from here on, whatever comes.
            unsafe { sys::samba_sampler_add_stage(s.raw(), Some(on_stage), user_data, free, error) }
        })
    }

    /// A grammar's hook, which forbids tokens. `Break` and panics as for [`stage`](Self::stage).
    pub fn mask<F>(self, mask: F) -> Self
    where
        F: Fn(&SamplerState<'_>, &mut TokenMask<'_>) -> ControlFlow<()> + Send + Sync + 'static,
    {
        self.add(|s, error| {
            let (user_data, free) = (
                user_data::<MaskFn>(Box::new(mask)),
                Some(free::<MaskFn> as _),
            );
            // SAFETY: as above.
            unsafe { sys::samba_sampler_add_mask(s.raw(), Some(on_mask), user_data, free, error) }
        })
    }
}

/// How much less likely tokens of the history get.
#[derive(Clone, Copy, Debug)]
pub struct Penalties {
    /// Positive logits are divided by it, others multiplied; 1: none.
    pub repeat: f32,
    /// Subtracted once per occurrence.
    pub frequency: f32,
    /// Subtracted once.
    pub presence: f32,
    /// Tokens of history looked at (0: 64); `u64::MAX`: all kept.
    pub last_n: u64,
}

impl Default for Penalties {
    fn default() -> Self {
        Penalties {
            repeat: 1.0,
            frequency: 0.0,
            presence: 0.0,
            last_n: 64,
        }
    }
}

/// What a stage may look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct SamplerState<'a> {
    /// Tokens kept, oldest first.
    pub history: &'a [TokenId],
    /// Position of the token to be drawn.
    pub position: u64,
    /// Tells apart draws at one position.
    pub branch: u64,
}

impl<'a> SamplerState<'a> {
    /// # Safety
    /// `raw` is what C gave to a callback, which lasts at least for `'a`.
    unsafe fn from_raw(raw: *const sys::samba_sampler_state) -> SamplerState<'a> {
        // SAFETY: by the caller.
        let raw = unsafe { &*raw };
        SamplerState {
            // SAFETY: by the caller.
            history: unsafe { ffi::slice(raw.history, raw.n_history) },
            position: raw.position,
            branch: raw.branch,
        }
    }
}

/// The candidates of a stage: a slice that can get shorter.
pub struct Candidates<'a> {
    items: &'a mut [Candidate],
    n: usize,
}

impl Candidates<'_> {
    /// Keeps the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.n = self.n.min(n);
    }

    /// Keeps those for which `keep` says so, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&Candidate) -> bool) {
        let mut kept = 0;
        for i in 0..self.n {
            if keep(&self.items[i]) {
                self.items[kept] = self.items[i];
                kept += 1;
            }
        }
        self.n = kept;
    }
}

impl Deref for Candidates<'_> {
    type Target = [Candidate];

    fn deref(&self) -> &[Candidate] {
        &self.items[..self.n]
    }
}

impl DerefMut for Candidates<'_> {
    fn deref_mut(&mut self) -> &mut [Candidate] {
        &mut self.items[..self.n]
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sampler")
    }
}

/// Which tokens are allowed: all, until they are forbidden.
pub struct TokenMask<'a> {
    words: &'a mut [u32],
    n_vocab: usize,
}

impl TokenMask<'_> {
    /// Size of the vocabulary.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.n_vocab
    }

    /// Forbids a token; one that does not exist is forbidden already.
    pub fn forbid(&mut self, token: TokenId) {
        if let Some((word, bit)) = self.place(token) {
            self.words[word] &= !bit;
        }
    }

    /// Allows a token again.
    pub fn allow(&mut self, token: TokenId) {
        if let Some((word, bit)) = self.place(token) {
            self.words[word] |= bit;
        }
    }

    /// Forbids all tokens.
    pub fn forbid_all(&mut self) {
        self.words.fill(0);
    }

    /// Whether a token is allowed.
    pub fn allows(&self, token: TokenId) -> bool {
        self.place(token)
            .map_or(false, |(word, bit)| self.words[word] & bit != 0)
    }

    /// The bits: `t % 32` of word `t / 32` is token `t`.
    pub fn words_mut(&mut self) -> &mut [u32] {
        self.words
    }

    fn place(&self, token: TokenId) -> Option<(usize, u32)> {
        let token = usize::try_from(token)
            .ok()
            .filter(|&token| token < self.n_vocab)?;
        Some((token / 32, 1 << (token % 32)))
    }
}

fn user_data<F: ?Sized>(call: Box<F>) -> *mut c_void {
    Box::into_raw(Box::new(call)).cast()
}

/// # Safety
/// `user_data` comes from the function above, for the same type; once.
unsafe extern "C" fn free<F: ?Sized>(user_data: *mut c_void) {
    // SAFETY: by the caller.
    let call = unsafe { Box::from_raw(user_data.cast::<Box<F>>()) };
    contain(None, (), || drop(call));
}

/// Where a stage's panic goes: to the stream that draws, if one does.
///
/// # Safety
/// The state that a stage has been given.
unsafe fn slot_of<'a>(state: *const sys::samba_sampler_state) -> Option<&'a Slot> {
    if !is_elsewhere() {
        return None; // to who made the call
    }
    // SAFETY: on threads of the library streams draw, whose user data is this; they hold it.
    unsafe { (*state).user_data.cast::<Wake>().as_ref() }.map(|wake| &wake.draws)
}

unsafe extern "C" fn on_stage(
    user_data: *mut c_void,
    state: *const sys::samba_sampler_state,
    candidates: *mut sys::samba_candidate,
    n: *mut usize,
) -> i32 {
    // SAFETY: `n` candidates, whose layout is that of ours, are the stage's during the call.
    unsafe {
        let items = ffi::slice_mut(candidates.cast::<Candidate>(), *n);
        let mut candidates = Candidates {
            n: items.len(),
            items,
        };
        let slot = slot_of(state);
        let state = SamplerState::from_raw(state);
        let stage = &*user_data.cast::<Box<StageFn>>();
        let failed = contain_draw(slot, 1, || ffi::flow(stage(&state, &mut candidates)));
        *n = candidates.n;
        failed
    }
}

unsafe extern "C" fn on_mask(
    user_data: *mut c_void,
    state: *const sys::samba_sampler_state,
    allowed: *mut u32,
    n_vocab: usize,
) -> i32 {
    // SAFETY: the bits of `n_vocab` tokens are the stage's during the call.
    unsafe {
        let words = ffi::slice_mut(allowed, (n_vocab + 31) / 32);
        let mut mask = TokenMask { words, n_vocab };
        let slot = slot_of(state);
        let state = SamplerState::from_raw(state);
        let stage = &*user_data.cast::<Box<MaskFn>>();
        contain_draw(slot, 1, || ffi::flow(stage(&state, &mut mask)))
    }
}
