//! Models, and how they are loaded.
use crate::callback::{contain, enter_in_drop, Slot};
use crate::error::attempt;
use crate::reader::{Reader, ReaderState};
use crate::{ffi, Cancel, Context, Dtype, Error, Estimate, RopeTable, SessionOptions};
use samba_lm_sys as sys;
use std::ops::ControlFlow;
use std::os::raw::c_void;
use std::path::Path;
use std::ptr::{null, NonNull};
use std::sync::Arc;

pub(crate) type Progress<'a> = Box<dyn FnMut(u64, u64) -> ControlFlow<()> + 'a>;

/// How a [`Model`] is loaded; what is not set has the library's default.
#[derive(Default)]
#[must_use]
pub struct ModelOptions<'a> {
    progress: Option<Progress<'a>>,
    cancel: Option<Cancel>,
    weight_dtype: Option<Dtype>,
    rope_table: Option<RopeTable>,
    backend: Option<String>,
    device_index: i32,
    config_json: Option<String>,
    tokenizer_json: Option<String>,
    mmap: bool,
}

impl<'a> ModelOptions<'a> {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Called now and then with the bytes done and all bytes; `Break` cancels the loading.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Ends the loading early.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Convert the matrices while loading. Default: the file's type.
    pub fn weight_dtype(mut self, dtype: Dtype) -> Self {
        self.weight_dtype = Some(dtype);
        self
    }

    /// Default: the family's own.
    pub fn rope_table(mut self, table: RopeTable) -> Self {
        self.rope_table = Some(table);
        self
    }

    /// The compute backend by name. Default: "cpu".
    pub fn backend(mut self, name: impl Into<String>, device_index: i32) -> Self {
        self.backend = Some(name.into());
        self.device_index = device_index;
        self
    }

    /// The text of config.json, for a checkpoint given as one safetensors file or reader.
    pub fn config_json(mut self, text: impl Into<String>) -> Self {
        self.config_json = Some(text.into());
        self
    }

    /// The text of tokenizer.json, likewise.
    pub fn tokenizer_json(mut self, text: impl Into<String>) -> Self {
        self.tokenizer_json = Some(text.into());
        self
    }

    /// Map files while loading, which saves a copy. If a file is cut short by someone else
    /// meanwhile, the process gets SIGBUS instead of an error.
    pub fn mmap(mut self, mmap: bool) -> Self {
        self.mmap = mmap;
        self
    }

    /// Loads a Hugging Face style folder, one .safetensors file, or one .gguf file.
    pub fn load(self, context: &Context, path: impl AsRef<Path>) -> Result<Model, Error> {
        let path = ffi::c_path(path.as_ref())?;
        self.run(context, |options, model, error| {
            // SAFETY: live arguments; `run` keeps what the options point to.
            unsafe { sys::samba_model_load(context.raw(), path.as_ptr(), options, model, error) }
        })
    }

    /// The same from one file in memory.
    pub fn load_bytes(self, context: &Context, bytes: &[u8]) -> Result<Model, Error> {
        let (data, size) = (bytes.as_ptr().cast(), bytes.len());
        self.run(context, |options, model, error| {
            // SAFETY: as above.
            unsafe {
                sys::samba_model_load_memory(context.raw(), data, size, options, model, error)
            }
        })
    }

    /// The same from one file behind a [`Reader`]. If reading fails, the reader's own error is the
    /// [`source`](std::error::Error::source) of this one.
    pub fn load_reader(self, context: &Context, reader: Reader<'_>) -> Result<Model, Error> {
        let state = ReaderState::new(reader)?;
        let raw = state.raw();
        let result = self.run(context, |options, model, error| {
            // SAFETY: as above; the reader's state outlives the call.
            unsafe { sys::samba_model_load_reader(context.raw(), &raw, options, model, error) }
        });
        state.finish(result)
    }

    /// What the model at `path` and its sessions would take, from its headers alone.
    pub fn estimate(
        self,
        context: &Context,
        path: impl AsRef<Path>,
        sessions: &SessionOptions,
    ) -> Result<Estimate, Error> {
        let path = ffi::c_path(path.as_ref())?;
        let sessions = sessions.to_raw();
        let mut raw = ffi::output!(samba_estimate);
        self.with_raw(|options| {
            // SAFETY: live arguments, and room for the result.
            attempt(|error| unsafe {
                let path = path.as_ptr();
                sys::samba_model_estimate(context.raw(), path, options, &sessions, &mut raw, error)
            })
        })?;
        Ok(Estimate::from_raw(&raw))
    }

    /// Calls `body` with the options as C takes them.
    fn with_raw<R>(
        mut self,
        body: impl FnOnce(&sys::samba_model_options) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let backend = match &self.backend {
            Some(name) => Some(ffi::c_string(name.as_bytes(), "the backend's name")?),
            None => None,
        };
        let slot = Slot::default();
        let mut progress = self
            .progress
            .take()
            .map(|call| ProgressState { call, slot: &slot });
        let (config_json, config_json_size) = text_parts(&self.config_json);
        let (tokenizer_json, tokenizer_json_size) = text_parts(&self.tokenizer_json);
        let result = body(&sys::samba_model_options {
            progress: progress.as_ref().map(|_| on_progress as _),
            progress_user_data: progress_user_data(&mut progress),
            cancel: Cancel::raw(&self.cancel),
            weight_dtype: self.weight_dtype.map_or(0, Dtype::to_raw),
            rope_table: self.rope_table.map_or(0, RopeTable::to_raw),
            backend: backend.as_deref().map_or(null(), |name| name.as_ptr()),
            device_index: self.device_index,
            config_json,
            config_json_size,
            tokenizer_json,
            tokenizer_json_size,
            mmap: ffi::switch(self.mmap.then(|| true)),
            ..ffi::output!(samba_model_options)
        });
        slot.resume();
        result
    }

    fn run(
        self,
        context: &Context,
        load: impl FnOnce(
            *const sys::samba_model_options,
            *mut *mut sys::samba_model,
            *mut *mut sys::samba_error,
        ) -> sys::samba_status,
    ) -> Result<Model, Error> {
        let mut raw = std::ptr::null_mut();
        self.with_raw(|options| attempt(|error| load(options, &mut raw, error)))?;
        let raw = NonNull::new(raw).expect("a model");
        Ok(Model(Arc::new(Inner {
            raw,
            context: context.clone(),
        })))
    }
}

fn text_parts(text: &Option<String>) -> (*const std::os::raw::c_char, usize) {
    text.as_ref()
        .map_or((null(), 0), |text| (text.as_ptr().cast(), text.len()))
}

/// A progress callback on its way through C.
pub(crate) struct ProgressState<'a, 's> {
    pub(crate) call: Progress<'a>,
    pub(crate) slot: &'s Slot,
}

pub(crate) fn progress_user_data(state: &mut Option<ProgressState<'_, '_>>) -> *mut c_void {
    state.as_mut().map_or(std::ptr::null_mut(), |state| {
        (state as *mut ProgressState).cast()
    })
}

pub(crate) unsafe extern "C" fn on_progress(user_data: *mut c_void, done: u64, total: u64) -> i32 {
    // SAFETY: the state that `progress_user_data` gave; called on one thread at a time.
    let state = unsafe { &mut *user_data.cast::<ProgressState<'_, '_>>() };
    contain(Some(state.slot), sys::SAMBA_STOP, || {
        ffi::flow((state.call)(done, total))
    })
}

/// Weights, plan and tokenizer: immutable, shared by any number of threads and sessions.
///
/// A handle: clones are the same model, which lives as long as anything made with it.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    raw: NonNull<sys::samba_model>,
    context: Context,
}

// SAFETY: any number of threads may use a model at once.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the one reference that loading gave.
        enter_in_drop(|| unsafe { sys::samba_model_release(self.raw.as_ptr()) });
    }
}

impl Model {
    /// Loads a Hugging Face style folder (config.json and safetensors), one .safetensors file, or
    /// one .gguf file; the file's bytes decide what it is. See [`ModelOptions`] for more.
    ///
    /// # Errors
    /// `Io`, `Format`, `Unsupported` (names what is not supported), `Mismatch` (names file, tensor
    /// and both values), `OutOfMemory`.
    pub fn load(context: &Context, path: impl AsRef<Path>) -> Result<Model, Error> {
        ModelOptions::new().load(context, path)
    }

    pub(crate) fn raw(&self) -> *mut sys::samba_model {
        self.0.raw.as_ptr()
    }

    /// The context that it was loaded in.
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    /// What the model is.
    pub fn info(&self) -> Result<ModelInfo, Error> {
        let mut raw = ffi::output!(samba_model_info);
        // SAFETY: a live model and room for the result.
        attempt(|error| unsafe { sys::samba_model_get_info(self.raw(), &mut raw, error) })?;
        // SAFETY: its strings live as long as the model.
        Ok(unsafe { ModelInfo::from_raw(&raw) })
    }

    /// What one of its sublayers is: 0 up to [`ModelInfo::n_sublayers`].
    pub fn sublayer(&self, index: u32) -> Result<SublayerInfo, Error> {
        let mut raw = ffi::output!(samba_sublayer_info);
        // SAFETY: a live model and room for the result.
        attempt(|error| unsafe {
            sys::samba_model_get_sublayer(self.raw(), index, &mut raw, error)
        })?;
        // SAFETY: its strings live as long as the model.
        Ok(unsafe { SublayerInfo::from_raw(&raw) })
    }
}

/// What a model is; see [`Model::info`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelInfo {
    /// "lit_gpt", "fla_samba", "mamba", "phi4flash", "samba" (GGUF), ...
    pub family: String,
    /// From the file; empty if it has none.
    pub name: String,
    /// "cpu", ...
    pub backend: String,
    /// Instruction set or device, for example "avx512-vnni".
    pub tier: String,
    /// Tensors by type, for example "q8_0 42, f32 97".
    pub weight_types: String,
    /// Text of the Jinja template, if the file has one.
    pub chat_template: Option<String>,
    /// Number of weights.
    pub n_parameters: u64,
    /// Bytes of the weights as held in memory.
    pub weight_bytes: u64,
    /// Size of the vocabulary.
    pub n_vocab: u32,
    /// Width of the residual stream.
    pub d_model: u32,
    /// Number of blocks.
    pub n_blocks: u32,
    /// Number of sublayers.
    pub n_sublayers: u32,
    /// Whether text can be turned into tokens.
    pub has_tokenizer: bool,
    /// Begins a text, if there is one.
    pub bos_token: Option<i32>,
    /// Ends a text, if there is one.
    pub eos_token: Option<i32>,
    /// Logits do not depend on chunking, batching or threads, bit for bit.
    pub invariant: bool,
    /// Of architecture, weights and tokenizer, whatever the container.
    pub fingerprint: [u8; 16],
    /// How long loading took.
    pub load_seconds: f64,
    /// Threads that a pass runs on, the caller's included.
    pub n_threads: u32,
    /// Type of the output matrix, or of the embedding that serves as one.
    pub head_dtype: Option<Dtype>,
}

impl ModelInfo {
    /// # Safety
    /// The strings of `raw` are valid.
    unsafe fn from_raw(raw: &sys::samba_model_info) -> ModelInfo {
        // SAFETY: by the caller.
        let text = |string| unsafe { ffi::optional_text(string) };
        ModelInfo {
            family: text(raw.family).unwrap_or_default(),
            name: text(raw.name).unwrap_or_default(),
            backend: text(raw.backend).unwrap_or_default(),
            tier: text(raw.tier).unwrap_or_default(),
            weight_types: text(raw.weight_types).unwrap_or_default(),
            chat_template: text(raw.chat_template),
            n_parameters: raw.n_parameters,
            weight_bytes: raw.weight_bytes,
            n_vocab: raw.n_vocab,
            d_model: raw.d_model,
            n_blocks: raw.n_blocks,
            n_sublayers: raw.n_sublayers,
            has_tokenizer: raw.has_tokenizer != 0,
            bos_token: (raw.bos_token >= 0).then(|| raw.bos_token),
            eos_token: (raw.eos_token >= 0).then(|| raw.eos_token),
            invariant: raw.invariant != 0,
            fingerprint: raw.fingerprint,
            load_seconds: raw.load_seconds,
            n_threads: raw.n_threads.try_into().unwrap_or(0),
            head_dtype: Dtype::from_raw(raw.head_dtype),
        }
    }
}

/// What a sublayer is; see [`Model::sublayer`]. Sizes that its kind does not have are 0.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SublayerInfo {
    /// "mamba", "attention", "diff_attention", "gmu", "gla", "retention", "swiglu".
    pub kind: String,
    /// "rms", "layer".
    pub norm: String,
    /// The block that it belongs to.
    pub block: u32,
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Keys seen, own included; 0: all, or no attention.
    pub window: u32,
    /// Mamba, GMU: inner width; SwiGLU: the MLP's width.
    pub d_inner: u32,
    /// Mamba: states per channel.
    pub d_state: u32,
    /// Mamba: taps of the convolution.
    pub d_conv: u32,
    /// Mamba: rank of dt.
    pub dt_rank: u32,
    /// GLA, retention: per head.
    pub key_dim: u32,
    /// GLA, retention: per head.
    pub value_dim: u32,
    /// Reads the keys and values of an earlier attention.
    pub cross: bool,
    /// Bytes of the weights as held.
    pub weight_bytes: u64,
    /// Bytes of its tensors in a file.
    pub file_bytes: u64,
    /// Recurrent state per session.
    pub slab_bytes: u64,
}

impl SublayerInfo {
    /// # Safety
    /// The strings of `raw` are valid.
    unsafe fn from_raw(raw: &sys::samba_sublayer_info) -> SublayerInfo {
        // SAFETY: by the caller.
        let text = |string| unsafe { ffi::optional_text(string) }.unwrap_or_default();
        SublayerInfo {
            kind: text(raw.kind),
            norm: text(raw.norm),
            block: raw.block,
            n_heads: raw.n_heads,
            n_kv_heads: raw.n_kv_heads,
            head_dim: raw.head_dim,
            window: raw.window,
            d_inner: raw.d_inner,
            d_state: raw.d_state,
            d_conv: raw.d_conv,
            dt_rank: raw.dt_rank,
            key_dim: raw.key_dim,
            value_dim: raw.value_dim,
            cross: raw.cross != 0,
            weight_bytes: raw.weight_bytes,
            file_bytes: raw.file_bytes,
            slab_bytes: raw.slab_bytes,
        }
    }
}
