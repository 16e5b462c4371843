//! Streams give the tokens of generation, side by side, and hand their session back.
mod common;
use common::{bits, context, model, model_path};
use samba_lm::{
    Context, GenerateOptions, Model, Sampler, Session, Status, StopReason, Stream, StreamOptions,
    Token,
};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

const TEXT: &str = "It was a dark night, and the old man";
const OTHER: &str = "The old woman said that the day";

fn fed(model: &Model, text: &str) -> Session {
    let mut session = Session::new(model).unwrap();
    session.feed_text(text).unwrap();
    session
}

fn sampler(context: &Context, seed: u64) -> Sampler {
    let builder = Sampler::builder(context).temperature(0.9).top_p(0.95);
    builder.seed(seed).build().unwrap()
}

fn generated(session: &mut Session, sampler: &Sampler, n: u64) -> Vec<Token> {
    let options = GenerateOptions::new().sampler(sampler).top_logprobs(2);
    let options = options.max_tokens(n).ignore_eos(true);
    session.generate(options).map(Result::unwrap).collect()
}

fn options(sampler: &Sampler, n: u64) -> StreamOptions {
    let options = StreamOptions::new().sampler(sampler).top_logprobs(2);
    options.max_tokens(n).ignore_eos(true)
}

/// The session stands where the other does, and both go on alike.
fn assert_same(one: &mut Session, other: &mut Session, sampler: &Sampler) {
    assert_eq!(one.position(), other.position());
    assert_eq!(one.tokens().unwrap(), other.tokens().unwrap());
    let logits = bits(other.logits().unwrap());
    assert_eq!(bits(one.logits().unwrap()), logits);
    let (one, other) = (generated(one, sampler, 5), generated(other, sampler, 5));
    assert_eq!(one, other);
}

#[test]
fn streams_are_send() {
    fn send<T: Send>() {}
    send::<Stream<'static>>();
}

#[test]
fn tokens_are_those_of_generation() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    for seed in 0..3 {
        let sampler = sampler(&context, seed);
        let mut expected = fed(&model, TEXT);
        let tokens = generated(&mut expected, &sampler, 20);

        let mut session = fed(&model, TEXT);
        let mut stream = session.stream(&options(&sampler, 20)).unwrap();
        let got: Vec<_> = stream.by_ref().map(Result::unwrap).collect();
        assert_eq!(got, tokens);
        assert_eq!(stream.reason(), Some(StopReason::Length));
        assert!(stream.next().is_none());
        assert!(matches!(
            stream.next_within(Duration::ZERO),
            Poll::Ready(None)
        ));
        drop(stream);
        assert_same(&mut session, &mut expected, &sampler);

        let mut session = Session::new(&model).unwrap();
        let prompted = options(&sampler, 20).text(TEXT).queue_depth(1).priority(90);
        let stream = session.stream(&prompted).unwrap();
        assert_eq!(stream.map(Result::unwrap).collect::<Vec<_>>(), tokens);
        let mut session = Session::new(&model).unwrap();
        let prompt = model.tokenize(TEXT).unwrap();
        let stream = session.stream(&options(&sampler, 20).prompt(prompt));
        assert!(stream.unwrap().map(Result::unwrap).eq(tokens));
    }
}

#[test]
fn two_at_once_and_on_other_threads() {
    let context = context(2);
    let model = Model::load(&context, model_path()).unwrap();
    let (a, b) = (sampler(&context, 1), sampler(&context, 2));
    let (mut one, mut two) = (fed(&model, TEXT), fed(&model, OTHER));
    let expected = (
        generated(&mut one.try_clone().unwrap(), &a, 16),
        generated(&mut two.try_clone().unwrap(), &b, 16),
    );
    let first = one.stream(&options(&a, 16)).unwrap();
    let second = two.stream(&options(&b, 16)).unwrap();
    let pairs = first.zip(second).map(|(a, b)| (a.unwrap(), b.unwrap()));
    let got: (Vec<_>, Vec<_>) = pairs.unzip();
    assert_eq!(got, expected);

    let (mut one, mut two) = (fed(&model, TEXT), fed(&model, OTHER));
    let first = one.stream(&options(&a, 16)).unwrap();
    let second = two.stream(&options(&b, 16)).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| first.map(Result::unwrap).collect::<Vec<_>>());
        let second = second.map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!((first.join().unwrap(), second), expected);
    });
}

#[test]
fn a_session_goes_on_after_cancel_and_drop() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let sampler = sampler(&context, 5);
    for n in [0, 1, 6] {
        let mut expected = fed(&model, TEXT);
        let tokens = generated(&mut expected, &sampler, n);

        let mut session = fed(&model, TEXT);
        let mut stream = session.stream(&options(&sampler, 10_000)).unwrap();
        let got: Vec<_> = stream
            .by_ref()
            .take(n as usize)
            .map(Result::unwrap)
            .collect();
        assert_eq!(got, tokens);
        stream.cancel();
        assert!(stream.next().is_none());
        assert_eq!(stream.reason(), Some(StopReason::Cancelled));
        assert_eq!(stream.session().position(), expected.position());
        drop(stream);
        assert_same(&mut session, &mut expected.try_clone().unwrap(), &sampler);

        let mut session = fed(&model, TEXT);
        let mut stream = session.stream(&options(&sampler, 10_000)).unwrap();
        assert_eq!(stream.by_ref().take(n as usize).count(), n as usize);
        drop(stream); // runs
        assert_same(&mut session, &mut expected, &sampler);
    }
}

#[test]
fn a_running_session_can_be_copied_only() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let sampler = sampler(&context, 7);
    let mut expected = fed(&model, TEXT);
    generated(&mut expected, &sampler, 3);

    let mut session = fed(&model, TEXT);
    let mut stream = session.stream(&options(&sampler, 10_000)).unwrap();
    assert_eq!(stream.by_ref().take(3).count(), 3);
    let mut clone = stream.session().try_clone().unwrap();
    let snapshot = stream.session().snapshot().unwrap();
    let busy = Some(Status::Busy);
    assert_eq!(stream.session().logits().err().map(|e| e.status()), busy);
    assert_eq!(stream.session().tokens().err().map(|e| e.status()), busy);
    assert_eq!(
        stream.session().sample(None, 0).err().map(|e| e.status()),
        busy
    );
    assert_eq!(stream.session().n_rows(), 0);
    assert_same(&mut clone, &mut expected.try_clone().unwrap(), &sampler);
    let mut again = snapshot.session(&model).unwrap();
    assert_same(&mut again, &mut expected, &sampler);

    // Forgotten, it keeps the session; nothing that it uses goes away under it.
    std::mem::forget(stream);
    assert_eq!(session.eval(&[1]).err().map(|e| e.status()), busy);
    assert_eq!(session.position(), snapshot.info().unwrap().position);
    drop((
        session, sampler, clone, again, snapshot, expected, model, context,
    ));
}

#[test]
fn suspended_streams_go_on() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let sampler = sampler(&context, 9);
    let expected = generated(&mut fed(&model, TEXT), &sampler, 12);

    let mut session = fed(&model, TEXT);
    let mut stream = session.stream(&options(&sampler, 12)).unwrap();
    assert_eq!(stream.resume().unwrap_err().status(), Status::State);
    let mut got: Vec<_> = stream.by_ref().take(4).map(Result::unwrap).collect();
    let snapshot = stream.suspend().unwrap();
    assert_eq!(stream.suspend().err().unwrap().status(), Status::State);
    let timeout = Duration::from_millis(20);
    assert!(stream.next_within(timeout).is_pending());
    stream.resume().unwrap();
    got.extend(stream.by_ref().take(2).map(Result::unwrap));
    stream.suspend().unwrap();
    got.extend(stream.map(Result::unwrap)); // resumes
    assert_eq!(got, expected);

    let mut other = snapshot.session(&model).unwrap();
    let stream = other.stream(&options(&sampler, 8)).unwrap();
    assert!(stream.map(Result::unwrap).eq(expected[4..].iter().cloned()));

    let mut stream = session.stream(&options(&sampler, 12)).unwrap();
    stream.suspend().unwrap();
    stream.cancel();
    assert!(stream.next().is_none());
    assert_eq!(stream.reason(), Some(StopReason::Cancelled));
    assert_eq!(stream.suspend().err().unwrap().status(), Status::State);
}

#[test]
fn streams_end_for_a_reason() {
    let model = model();
    let tokens: Vec<_> = {
        let mut session = fed(&model, TEXT);
        let options = GenerateOptions::new().max_tokens(20);
        session.generate(options).map(Result::unwrap).collect()
    };
    let all: String = tokens.iter().map(|token| &*token.text).collect();

    let at = all.char_indices().nth(all.chars().count() / 2).unwrap().0;
    let stop: String = all[at..].chars().take(7).collect();
    let before = &all[..all.find(&stop).unwrap()];
    let mut session = fed(&model, TEXT);
    let strings = StreamOptions::new().stop_strings(["no such text", &stop]);
    let mut stream = session.stream(&strings).unwrap();
    let text: String = stream.by_ref().map(|token| token.unwrap().text).collect();
    assert_eq!(text, before);
    assert_eq!(stream.reason(), Some(StopReason::String(1)));
    drop(stream);

    let stop = tokens.iter().position(|t| t.id != tokens[0].id).unwrap();
    let mut session = fed(&model, TEXT);
    let options = StreamOptions::new().stop_tokens([tokens[stop].id]);
    let mut stream = session.stream(&options).unwrap();
    assert_eq!(stream.by_ref().count(), stop);
    let reason = Some(StopReason::Token(tokens[stop].id));
    assert_eq!(stream.reason(), reason);
    drop(stream);

    let mut session = fed(&model, TEXT);
    let options = StreamOptions::new().max_tokens(u64::MAX).ignore_eos(true);
    let start = Instant::now();
    let late = options.deadline(Duration::from_millis(100));
    let mut stream = session.stream(&late).unwrap();
    assert!(stream.by_ref().all(|token| token.is_ok()));
    assert_eq!(stream.reason(), Some(StopReason::Deadline));
    assert!(start.elapsed() >= Duration::from_millis(100));
    drop(stream);

    let options = StreamOptions::new().max_tokens(3).ignore_eos(true);
    for (deadline, n) in [(Duration::MAX, 3), (Duration::ZERO, 0)] {
        let text = options.clone().deadline(deadline).text(OTHER.repeat(20));
        let mut session = Session::new(&model).unwrap();
        assert_eq!(session.stream(&text).unwrap().count(), n);
    }
}

#[test]
fn what_cannot_start_or_go_on_says_so() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let mut session = Session::new(&model).unwrap();
    let refused = |session: &mut Session, options: StreamOptions| {
        session.stream(&options).err().map(|error| error.status())
    };
    let state = refused(&mut session, StreamOptions::new());
    assert_eq!(state, Some(Status::State));
    for options in [
        StreamOptions::new().prompt([-1]),
        StreamOptions::new().text("a").priority(101),
        StreamOptions::new().text("a").stop_strings(["a\0b"]),
        StreamOptions::new().text("a").stop_strings([""]),
    ] {
        let status = refused(&mut session, options);
        assert_eq!(status, Some(Status::InvalidArgument));
    }
    session.feed_text(TEXT).unwrap(); // it is free

    // A stage that fails on the library's thread; for panics see stream_threads.rs.
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let stage = move |_: &samba_lm::SamplerState<'_>, _: &mut samba_lm::Candidates<'_>| match count
        .fetch_add(1, Ordering::Relaxed)
    {
        0..=2 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    };
    let sampler = Sampler::builder(&context).stage(stage).build().unwrap();
    let position = session.position();
    let mut stream = session.stream(&options(&sampler, 10)).unwrap();
    assert_eq!(stream.by_ref().take(3).filter(Result::is_ok).count(), 3);
    let error = stream.next().unwrap().unwrap_err();
    assert_eq!(error.status(), Status::Cancelled, "{error:?}");
    assert!(!error.message().is_empty());
    assert!(stream.next().is_none() && stream.reason().is_none());
    drop((stream, sampler));
    assert_eq!(session.position(), position + 3);
    assert_eq!(Arc::strong_count(&calls), 1);
    session.eval(&[1]).unwrap();
}
