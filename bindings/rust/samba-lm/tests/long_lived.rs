//! Figures: resident memory over 10,000 sessions, and what the iterator costs over the C loop. A
//! program of its own with one test at a time, so that nothing else moves the figures.
#![deny(unsafe_op_in_unsafe_fn)]
mod common;
use common::{context, resident, root};
use samba_lm::{GenerateOptions, Model, Sampler, Session};
use samba_lm_sys as sys;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

/// A model whose tokens take microseconds.
fn tiny() -> Model {
    Model::load(&context(1), tiny_path()).unwrap()
}

fn tiny_path() -> PathBuf {
    root().join("tests/golden/cases/ms_samba")
}

static ALONE: Mutex<()> = Mutex::new(());

/// Sessions fed, cloned, read and dropped leave nothing behind.
#[test]
fn ten_thousand_sessions_in_flat_memory() {
    let _alone = ALONE.lock();
    let model = tiny();
    let sampler = Sampler::builder(model.context())
        .top_p(0.9)
        .build()
        .unwrap();
    let mut settled = 0;
    for i in 0..10_000 {
        let mut session = Session::new(&model).unwrap();
        session.eval(&[i % 40]).unwrap();
        let options = GenerateOptions::new()
            .sampler(&sampler)
            .max_tokens(1)
            .top_logprobs(2);
        if i % 10 == 0 {
            let snapshot = session.try_clone().unwrap().snapshot().unwrap();
            snapshot
                .session(&model)
                .unwrap()
                .generate(options)
                .next()
                .unwrap()
                .unwrap();
        } else {
            session.sample(&sampler, 0).unwrap();
        }
        if i == 999 {
            settled = resident();
        }
    }
    let grown = resident() as isize - settled as isize;
    println!("10,000 sessions: resident memory grew by {grown} bytes over the last 9,000");
    assert!(grown < 512 * 1024, "grew by {grown} bytes");
}

const TOKENS: u64 = 400;

unsafe extern "C" fn count(
    user_data: *mut std::os::raw::c_void,
    event: *const sys::samba_token_event,
) -> i32 {
    // SAFETY: the counter that `c_loop` passes, and the event.
    unsafe { *user_data.cast::<u64>() += u64::from((*event).token >= 0) };
    sys::SAMBA_CONTINUE
}

/// The C program's loop, seconds per token. Takes the C objects, as a C program would.
unsafe fn c_loop(model: *mut sys::samba_model) -> f64 {
    let (mut session, error) = (std::ptr::null_mut(), std::ptr::null_mut());
    let options = sys::samba_generate_options {
        struct_size: std::mem::size_of::<sys::samba_generate_options>(),
        max_tokens: TOKENS,
        ignore_eos: sys::SAMBA_YES,
        ..Default::default()
    };
    let (mut n, first) = (0_u64, [1]);
    // SAFETY: live objects and room for the results.
    unsafe {
        assert_eq!(
            sys::samba_session_create(model, std::ptr::null(), &mut session, error),
            0
        );
        assert_eq!(
            sys::samba_session_eval(session, first.as_ptr(), 1, std::ptr::null(), error),
            0
        );
        let (started, user_data) = (Instant::now(), (&mut n as *mut u64).cast());
        let (greedy, result) = (std::ptr::null_mut(), std::ptr::null_mut());
        let status = sys::samba_session_generate(
            session,
            greedy,
            &options,
            Some(count),
            user_data,
            result,
            error,
        );
        let seconds = started.elapsed().as_secs_f64();
        assert_eq!((status, n), (0, TOKENS));
        sys::samba_session_free(session);
        seconds / TOKENS as f64
    }
}

fn rust_loop(model: &Model) -> f64 {
    let mut session = Session::new(model).unwrap();
    session.eval(&[1]).unwrap();
    let options = GenerateOptions::new().max_tokens(TOKENS).ignore_eos(true);
    let started = Instant::now();
    let n = session.generate(options).map(Result::unwrap).count();
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(n as u64, TOKENS);
    seconds / TOKENS as f64
}

/// The same model twice, once as C has it.
#[test]
fn a_token_costs_less_than_a_microsecond_more_than_in_c() {
    let _alone = ALONE.lock();
    let model = tiny();
    let c_path = std::ffi::CString::new(tiny_path().to_str().unwrap()).unwrap();
    let (mut c_context, mut c_model) = (std::ptr::null_mut(), std::ptr::null_mut());
    let options = sys::samba_context_options {
        struct_size: std::mem::size_of::<sys::samba_context_options>(),
        n_threads: 1,
        ..Default::default()
    };
    let (none, error) = (std::ptr::null(), std::ptr::null_mut());
    // SAFETY: live arguments and room for the results.
    unsafe {
        assert_eq!(
            sys::samba_context_create(&options, &mut c_context, error),
            0
        );
        let status = sys::samba_model_load(c_context, c_path.as_ptr(), none, &mut c_model, error);
        assert_eq!(status, 0);
    }
    // In turns, and the best of each: what else runs on the machine only adds time.
    let (mut c, mut rust, mut rounds) = (f64::MAX, f64::MAX, 0);
    while rounds < 40 || (rust - c > 1e-6 && rounds < 400) {
        // SAFETY: a live model.
        c = c.min(unsafe { c_loop(c_model) });
        rust = rust.min(rust_loop(&model));
        rounds += 1;
    }
    let (c, rust) = (c * 1e9, rust * 1e9);
    println!(
        "per token: C {c:.0} ns, Rust {rust:.0} ns: {:.0} ns more ({rounds} rounds)",
        rust - c
    );
    assert!(rust - c < 1000.0, "{:.0} ns more per token", rust - c);
    // SAFETY: the owners.
    unsafe {
        sys::samba_model_release(c_model);
        sys::samba_context_free(c_context);
    }
}
