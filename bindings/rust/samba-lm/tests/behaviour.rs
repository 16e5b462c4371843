//! What the safe interface promises beyond C's: ownership, threads, errors, panics.
mod common;
use common::{bits, context, model, model_path, root};
use samba_lm::{
    eval_batch, BatchItem, Cancel, Context, ContextOptions, ConvertOptions, CpuTier, Dtype,
    EvalOptions, GenerateOptions, Hidden, LogLevel, Model, ModelOptions, Outputs, Penalties,
    Reader, Sampler, SamplerState, Session, SessionOptions, Snapshot, Status, StopReason, Tasks,
    ThreadPool, TokenizeOptions,
};
use std::error::Error as _;
use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, io, thread};

const TEXT: &str = "It was a dark night, and the old man";

fn fed(model: &Model) -> Session {
    let mut session = Session::new(model).unwrap();
    session.feed_text(TEXT).unwrap();
    session
}

fn next_tokens(session: &mut Session, n: u64) -> Vec<i32> {
    let options = GenerateOptions::new().max_tokens(n).ignore_eos(true);
    session
        .generate(options)
        .map(|token| token.unwrap().id)
        .collect()
}

/// What a panic of `body` carries.
fn panic_of<R>(body: impl FnOnce() -> R) -> &'static str {
    let payload = catch_unwind(AssertUnwindSafe(body)).err().expect("a panic");
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .expect("a panic with a text")
}

#[test]
fn handles_are_send_and_sync_as_promised() {
    fn send<T: Send>() {}
    fn handle<T: Clone + Send + Sync>() {}
    fn shared<T: Send + Sync>() {}
    send::<Session>();
    send::<samba_lm::Detokenizer>();
    send::<samba_lm::Generate<'static>>();
    handle::<Model>();
    handle::<Context>();
    handle::<Sampler>();
    handle::<Snapshot>();
    handle::<Cancel>();
    handle::<samba_lm::StreamCancel>();
    handle::<samba_lm::PrefixCache>();
    handle::<samba_lm::Logits>();
    handle::<samba_lm::SnapshotReadOptions>();
    shared::<samba_lm::Error>();
}

#[test]
fn errors_say_what_and_where() {
    let context = context(1);
    let error = Model::load(&context, "no/such.gguf").err().unwrap();
    assert_eq!(error.status(), Status::Io);
    assert!(error.file().unwrap().contains("no/such.gguf"), "{error:?}");
    assert!(error.to_string().contains("no/such.gguf"), "{error}");
    assert_eq!(
        Model::load(&context, "a\0b").err().unwrap().status(),
        Status::InvalidArgument
    );

    let mut bytes = fs::read(model_path()).unwrap();
    bytes.truncate(bytes.len() / 2);
    let error = ModelOptions::new()
        .load_bytes(&context, &bytes)
        .err()
        .unwrap();
    assert_eq!(error.status(), Status::Format, "{error:?}");
    assert!(
        error.tensor().is_some() || error.offset().is_some(),
        "{error:?}"
    );

    let mut session = fed(&model());
    let (position, before) = (session.position(), bits(session.logits().unwrap()));
    assert_eq!(
        session.eval(&[-1]).unwrap_err().status(),
        Status::InvalidArgument
    );
    assert_eq!(
        (session.position(), bits(session.logits().unwrap())),
        (position, before)
    );
    assert_eq!(Status::OutOfMemory.to_string(), "out of memory");
}

#[test]
fn users_keep_what_they_use_alive() {
    let model = model();
    let mut session = fed(&model);
    let snapshot = session.snapshot().unwrap();
    let mut detokenizer = model.detokenizer(false).unwrap();
    let expected = next_tokens(&mut session.try_clone().unwrap(), 4);
    drop(model);
    assert_eq!(next_tokens(&mut session, 4), expected);
    let of = session.model().clone();
    drop(session);
    let mut again = snapshot.session(&of).unwrap();
    drop((of, snapshot));
    assert_eq!(next_tokens(&mut again, 4), expected);
    let mut text = Vec::new();
    for token in expected {
        text.extend_from_slice(detokenizer.push(token).unwrap());
    }
    text.extend_from_slice(detokenizer.flush().unwrap());
    drop(again);
    assert!(!text.is_empty());
}

#[test]
fn sessions_move_between_threads_and_models_are_shared() {
    let model = model();
    let expected = next_tokens(&mut fed(&model), 12);
    let mut session = fed(&model);
    let first = next_tokens(&mut session, 6);
    let moved = thread::spawn(move || next_tokens(&mut session, 6));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let model = model.clone();
            thread::spawn(move || next_tokens(&mut fed(&model), 12))
        })
        .collect();
    assert_eq!([first, moved.join().unwrap()].concat(), expected);
    for worker in workers {
        assert_eq!(worker.join().unwrap(), expected);
    }
}

#[test]
fn clones_snapshots_and_restores_go_on_alike() {
    let model = model();
    let mut session = fed(&model);
    let snapshot = session.snapshot_with(b"mine").unwrap();
    let mut clone = session.try_clone().unwrap();
    let expected = next_tokens(&mut session, 8);
    assert_eq!(next_tokens(&mut clone, 8), expected);
    clone.restore(&snapshot).unwrap();
    assert_eq!(next_tokens(&mut clone, 8), expected);
    let mut other = SessionOptions::new()
        .kv_dtype(Dtype::F32)
        .create(&model)
        .unwrap();
    assert_eq!(
        other.restore(&snapshot).unwrap_err().status(),
        Status::Mismatch
    );
    let (first, tokens) = clone.tokens().unwrap();
    assert_eq!((first, &tokens[tokens.len() - 8..]), (0, &expected[..]));
}

#[test]
fn evaluating_in_every_way_gives_the_same_bits() {
    let model = model();
    let tokens = model.tokenize(TEXT).unwrap();
    let expected = bits(fed(&model).logits().unwrap());

    let mut session = SessionOptions::new()
        .rows_per_pass(3)
        .create(&model)
        .unwrap();
    let all = EvalOptions::new()
        .outputs(Outputs::All)
        .hidden(Hidden::Final);
    session.eval_with(&tokens, &all).unwrap();
    assert_eq!(session.n_rows(), tokens.len());
    assert_eq!(
        bits(session.logits_row(tokens.len() - 1).unwrap()),
        expected
    );
    assert_eq!(
        session.hidden().unwrap().len(),
        model.info().unwrap().d_model as usize
    );

    let (mut one, mut two) = (Session::new(&model).unwrap(), Session::new(&model).unwrap());
    let mut items = [
        BatchItem::new(&mut one, &tokens),
        BatchItem::new(&mut two, &tokens[..5]),
    ];
    eval_batch(&mut items).unwrap();
    assert!(items.iter().all(|item| item.status().is_ok()));
    assert_eq!(bits(one.logits().unwrap()), expected);
    let bad = [1_000_000];
    let mut items = [
        BatchItem::new(&mut one, &bad),
        BatchItem::new(&mut two, &tokens[5..]),
    ];
    assert_eq!(
        eval_batch(&mut items).unwrap_err().status(),
        Status::InvalidArgument
    );
    assert_eq!(items[0].status(), Err(Status::InvalidArgument));
    assert_eq!(items[1].status(), Ok(()));
    assert_eq!(bits(two.logits().unwrap()), expected);

    let mut proposal = Session::new(&model).unwrap();
    proposal.eval(&tokens[..5]).unwrap();
    let wrong = [&tokens[5..], &[7, 8]].concat();
    proposal
        .eval_with(&wrong, &EvalOptions::new().speculative(true))
        .unwrap();
    assert_eq!(proposal.snapshot().err().unwrap().status(), Status::State);
    proposal.keep(tokens.len() - 5).unwrap();
    assert_eq!(bits(proposal.logits().unwrap()), expected);

    let mut scored = Session::new(&model).unwrap();
    let logprobs = scored.score(&tokens).unwrap();
    assert_eq!(logprobs[0], 0.0);
    assert!(logprobs[1..].iter().all(|p| *p < 0.0));
    assert_eq!(bits(scored.logits().unwrap()), expected);
    let top = scored.top_logprobs(3).unwrap();
    assert_eq!(top[0].token, scored.sample(None, 0).unwrap().token);
    assert!(top[0].logprob >= top[1].logprob && top[1].logprob >= top[2].logprob);
    assert!(scored.top_logprobs(usize::MAX).is_err());

    let held = session.hold_logits().unwrap();
    let last = session.logprob_row(4, tokens[5]).unwrap();
    assert_eq!(last.to_bits(), logprobs[5].to_bits());
    assert!((scored.logprob(top[0].token).unwrap() - top[0].logprob).abs() < 1e-5);
    session.reset().unwrap();
    assert_eq!(session.hold_logits().unwrap_err().status(), Status::State);
    assert_eq!(held.rows().len(), tokens.len());
    assert_eq!(bits(held.last()), expected);
    let (fifth, clone) = (held.rows().nth(4).unwrap(), held.clone());
    assert_eq!(fifth.len(), expected.len());
    drop((session, scored));
    let other = thread::spawn(move || bits(clone.rows().last().unwrap()));
    assert_eq!(other.join().unwrap(), expected);
}

#[test]
fn types_have_names() {
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Q4K] {
        assert_eq!(dtype.to_string().parse::<Dtype>().unwrap(), dtype);
    }
    assert_eq!("Q8_0".parse::<Dtype>().unwrap(), Dtype::Q8_0);
    for wrong in ["", "q8", "f\x0032"] {
        assert!(wrong.parse::<Dtype>().is_err());
    }
}

#[test]
fn texts_go_there_and_back() {
    let model = model();
    for text in ["", "a", "Grüße, 世界 😀", &"long words ".repeat(300)] {
        let tokens = model
            .tokenize_with(text, TokenizeOptions::new().add_special(false))
            .unwrap();
        assert_eq!(model.detokenize(&tokens).unwrap(), *text);
    }
    let eos = model.info().unwrap().eos_token.unwrap();
    let text = String::from_utf8(model.detokenize_bytes(&[eos], false).unwrap()).unwrap();
    assert_eq!(model.find_token(&text).unwrap(), Some(eos));
    assert_eq!(model.find_token("no such entry at all").unwrap(), None);
    assert!(model.is_special(eos));
    let special = TokenizeOptions::new()
        .parse_special(true)
        .add_special(false);
    assert_eq!(model.tokenize_with(&text, special).unwrap(), [eos]);
    assert_eq!(model.detokenize_bytes(&[eos], true).unwrap(), b"");
}

#[test]
fn generation_stops_for_a_reason() {
    let model = model();
    let expected = next_tokens(&mut fed(&model), 10);
    let stop = expected.iter().position(|t| *t != expected[0]).unwrap();
    let mut session = fed(&model);
    let options = GenerateOptions::new()
        .stop_tokens([expected[stop]])
        .top_logprobs(2);
    let mut generate = session.generate(options.clone());
    let tokens: Vec<_> = generate.by_ref().map(Result::unwrap).collect();
    assert_eq!(generate.reason(), Some(StopReason::Token(expected[stop])));
    assert!(generate.next().is_none());
    assert_eq!(tokens.len(), stop);
    assert!(tokens
        .iter()
        .all(|t| t.top.len() == 2 && t.top[0].token == t.id));
    assert_eq!(
        next_tokens(&mut session, 10 - stop as u64),
        expected[stop..]
    );

    let mut empty = Session::new(&model).unwrap();
    let mut generate = empty.generate(options);
    assert_eq!(
        generate.next().unwrap().unwrap_err().status(),
        Status::State
    );
    assert!(generate.next().is_none());

    let cancel = Cancel::new(model.context()).unwrap();
    let mut session = fed(&model);
    let mut generate = session.generate(GenerateOptions::new().cancel(&cancel));
    assert_eq!(generate.next().unwrap().unwrap().id, expected[0]);
    thread::spawn({
        let cancel = cancel.clone();
        move || cancel.request()
    })
    .join()
    .unwrap();
    assert_eq!(
        generate.next().unwrap().unwrap_err().status(),
        Status::Cancelled
    );
    cancel.reset();
    assert_eq!(next_tokens(&mut session, 9), expected[1..]);
}

#[test]
fn stages_masks_and_draws() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let session = fed(&model);
    let best = session.sample(None, 0).unwrap().token;
    let position = session.position();
    let stage = Sampler::builder(&context)
        .stage(move |state, candidates| {
            assert_eq!(
                (state.position, state.history.len() as u64),
                (position, position)
            );
            candidates.retain(|c| c.token != best);
            candidates.sort_by(|a, b| b.logit.partial_cmp(&a.logit).unwrap());
            candidates.truncate(1);
            ControlFlow::Continue(())
        })
        .build()
        .unwrap();
    let second = session.top_logprobs(2).unwrap()[1].token;
    assert_eq!(session.sample(&stage, 0).unwrap().token, second);
    let mask = Sampler::builder(&context)
        .mask(move |_, mask| {
            mask.forbid(best);
            assert!(!mask.allows(best) && mask.allows(second) && !mask.allows(-1));
            ControlFlow::Continue(())
        })
        .greedy()
        .build()
        .unwrap();
    assert_eq!(session.sample(&mask, 0).unwrap().token, second);
    let logits = session.logits().unwrap();
    let state = SamplerState {
        position,
        ..SamplerState::default()
    };
    assert_eq!(mask.draw(&state, logits).unwrap().token, second);
    let bias = Sampler::builder(&context)
        .logit_bias(&[(best, f32::NEG_INFINITY)])
        .greedy();
    assert_eq!(
        session.sample(&bias.build().unwrap(), 0).unwrap().token,
        second
    );

    let none = Sampler::builder(&context).stage(|_, c| {
        c.truncate(0);
        ControlFlow::Continue(())
    });
    let error = session.sample(&none.build().unwrap(), 0).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    let stop = Sampler::builder(&context)
        .stage(|_, _| ControlFlow::Break(()))
        .build()
        .unwrap();
    assert_eq!(
        session.sample(&stop, 0).unwrap_err().status(),
        Status::Cancelled
    );
    let refused = Sampler::builder(&context)
        .top_p(7.0)
        .greedy()
        .build()
        .err()
        .unwrap();
    assert_eq!(refused.status(), Status::InvalidArgument);
    let chain = Sampler::builder(&context)
        .penalties(Penalties::default())
        .min_p(0.1)
        .typical_p(0.9);
    chain.temperature(0.7).seed(3).build().unwrap();
}

#[test]
fn panics_of_callbacks_reach_the_caller() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let mut session = fed(&model);
    let (position, expected) = (session.position(), next_tokens(&mut fed(&model), 3));
    let owned = Arc::new(()); // held by a stage: tells when the stage is dropped
    let held = owned.clone();
    let stage = Sampler::builder(&context)
        .stage(move |_, _| {
            if Arc::strong_count(&held) > 0 {
                panic!("stage")
            } else {
                ControlFlow::Break(())
            }
        })
        .build()
        .unwrap();
    assert_eq!(panic_of(|| session.sample(&stage, 0)), "stage");
    let options = GenerateOptions::new().sampler(&stage);
    assert_eq!(panic_of(|| session.generate(options).next()), "stage");
    assert_eq!(session.position(), position);
    drop(stage);
    assert_eq!(Arc::strong_count(&owned), 1);
    let mask = Sampler::builder(&context)
        .mask(|_, _| panic!("mask"))
        .build()
        .unwrap();
    assert_eq!(panic_of(|| session.sample(&mask, 0)), "mask");
    assert_eq!(next_tokens(&mut session, 3), expected);

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("drop")
        }
    }
    let bomb = Bomb;
    let stage = Sampler::builder(&context).stage(move |_, _| {
        let _ = &bomb;
        ControlFlow::Continue(())
    });
    assert_eq!(panic_of(|| drop(stage.build().unwrap())), "drop");

    let progress = ModelOptions::new().progress(|_, _| panic!("progress"));
    assert_eq!(
        panic_of(|| progress.load(&context, model_path())),
        "progress"
    );
    for reader in [
        Reader::new(1000, |_, _| panic!("reader")),
        Reader::parallel(1000, |_, _| panic!("reader")),
    ] {
        let load = || ModelOptions::new().load_reader(&context, reader);
        assert_eq!(panic_of(load), "reader");
    }
}

#[test]
fn models_load_from_bytes_and_readers() {
    let context = context(2);
    let bytes = fs::read(model_path()).unwrap();
    let size = bytes.len() as u64;
    let expected = model().info().unwrap();
    let read = |offset: u64, to: &mut [u8]| {
        to.copy_from_slice(&bytes[offset as usize..][..to.len()]);
        Ok(())
    };
    let mut calls = 0;
    let one = Reader::new(size, |offset, to| {
        calls += 1;
        read(offset, to)
    });
    let (mut last, mut total) = (0, 0);
    let options = ModelOptions::new().progress(|done, all| {
        assert!(done >= last && done <= all);
        (last, total) = (done, all);
        ControlFlow::Continue(())
    });
    let models = [
        options.load_reader(&context, one).unwrap(),
        ModelOptions::new()
            .load_reader(&context, Reader::parallel(size, read))
            .unwrap(),
        ModelOptions::new().load_bytes(&context, &bytes).unwrap(),
        ModelOptions::new()
            .mmap(true)
            .load(&context, model_path())
            .unwrap(),
    ];
    for model in models {
        assert_eq!(model.info().unwrap().fingerprint, expected.fingerprint);
    }
    assert!(calls > 0 && total > 0 && last == total);

    let broken = Reader::parallel(size, |offset, to| match offset {
        0..=99_999 => read(offset, to),
        _ => Err(io::Error::new(io::ErrorKind::Other, "the cable is out")),
    });
    let error = ModelOptions::new()
        .load_reader(&context, broken.name("cable"))
        .err()
        .unwrap();
    assert_eq!(error.status(), Status::Io);
    assert!(error.to_string().contains("cable"), "{error}");
    assert_eq!(error.source().unwrap().to_string(), "the cable is out");
    let stop = ModelOptions::new().progress(|_, _| ControlFlow::Break(()));
    assert_eq!(
        stop.load(&context, model_path()).err().unwrap().status(),
        Status::Cancelled
    );
}

/// Runs half of the tasks, some twice, on threads of its own; the library does the rest.
struct Lazy(Arc<AtomicUsize>);

impl ThreadPool for Lazy {
    fn threads(&self) -> u16 {
        4
    }

    fn run(&self, tasks: Tasks<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        thread::scope(|scope| {
            scope.spawn(move || (0..tasks.len() / 2).for_each(|i| tasks.run(i)));
            (0..2).chain([99]).for_each(|i| tasks.run(i));
        });
    }
}

#[test]
fn contexts_take_threads_logs_and_tiers() {
    let expected = next_tokens(&mut fed(&model()), 2);
    let runs = Arc::new(AtomicUsize::new(0));
    let pool = ContextOptions::new()
        .thread_pool(Lazy(runs.clone()))
        .profile(true);
    let context = pool.create().unwrap();
    let model = Model::load(&context, model_path()).unwrap();
    assert_eq!(next_tokens(&mut fed(&model), 2), expected);
    assert!(runs.load(Ordering::Relaxed) > 10);
    assert!(context
        .profile()
        .unwrap()
        .iter()
        .any(|entry| entry.calls > 0));
    context.reset_profile();
    assert!(context
        .profile()
        .unwrap()
        .iter()
        .all(|entry| entry.calls == 0));
    drop((model, context));
    assert_eq!(Arc::strong_count(&runs), 1);

    let lines = Arc::new(Mutex::new(Vec::new()));
    let to = lines.clone();
    let options = ContextOptions::new()
        .log_level(LogLevel::Debug)
        .log(move |level, line| {
            assert!(level <= LogLevel::Debug);
            to.lock().unwrap().push(line.to_string());
        });
    let context = options.cpu_tier(CpuTier::Reference).create().unwrap();
    let model = Model::load(&context, model_path()).unwrap();
    assert_eq!(model.info().unwrap().tier, "reference");
    drop((model, context));
    assert_eq!(Arc::strong_count(&lines), 1);
    println!("logged: {:?}", lines.lock().unwrap());
}

#[test]
fn estimates_and_conversion() {
    let context = context(1);
    let estimate = ModelOptions::new()
        .estimate(&context, model_path(), &SessionOptions::new())
        .unwrap();
    let info = model().info().unwrap();
    let off = estimate.weight_bytes.abs_diff(info.weight_bytes);
    assert!(off < info.weight_bytes / 100, "{estimate:?}");
    assert_eq!(estimate.state_bytes_per_token, 0);
    let kinds: Vec<_> = (0..info.n_sublayers)
        .map(|i| model().sublayer(i).unwrap().kind)
        .take(3)
        .collect();
    assert!(kinds.contains(&"mamba".to_string()), "{kinds:?}");

    let to = std::env::temp_dir().join(format!("samba-lm-convert-{}.gguf", std::process::id()));
    let from = root().join("tests/golden/cases/ms_samba");
    let options = ConvertOptions::new()
        .weight_dtype(Dtype::Q8_0)
        .name("small");
    let report = options.convert(&context, from, &to).unwrap();
    assert_eq!(report.file_bytes, fs::metadata(&to).unwrap().len());
    let model = Model::load(&context, &to).unwrap();
    fs::remove_file(&to).unwrap();
    assert_eq!(model.info().unwrap().name, "small");
    let stats = fed(&common::model()).stats().unwrap();
    assert!(stats.position > 5 && stats.state_bytes > 0 && stats.prefill_tokens > 0);
}
