//! Streams and what reaches them from elsewhere: wake-ups, cancels, panics, limits.
mod common;
use common::{context, model, model_path};
use samba_lm::{Candidates, Model, Sampler, SamplerState, Session, Status};
use samba_lm::{StopReason, Stream, StreamLimits, StreamOptions, Token};
use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::task::{self, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

const TEXT: &str = "It was a dark night, and the old man";

fn options(n: u64) -> StreamOptions {
    let options = StreamOptions::new().text(TEXT).max_tokens(n);
    options.ignore_eos(true)
}

fn tokens(model: &Model, n: u64) -> Vec<Token> {
    let mut session = Session::new(model).unwrap();
    let stream = session.stream(&options(n)).unwrap();
    stream.map(Result::unwrap).collect()
}

/// What a panic of `body` carries.
fn panic_of<R>(body: impl FnOnce() -> R) -> Box<dyn Any + Send> {
    catch_unwind(AssertUnwindSafe(body)).err().expect("a panic")
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.unwrap_or_else(|| payload.downcast_ref::<String>().expect("a text"))
}

/// A waker that counts, and wakes the thread that it was made on.
struct Count(AtomicUsize, thread::Thread);

impl Count {
    fn new() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0), thread::current()));
        (count.clone(), count.into())
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.unpark();
    }
}

#[test]
fn tasks_are_woken_until_the_end() {
    let model = model();
    let expected = tokens(&model, 30);
    let (count, waker) = Count::new();
    let mut task = task::Context::from_waker(&waker);
    let (mut session, mut got, mut pending) = (Session::new(&model).unwrap(), Vec::new(), 0);
    let mut stream = session.stream(&options(30)).unwrap();
    loop {
        match stream.poll_next(&mut task) {
            Poll::Ready(Some(token)) => got.push(token.unwrap()),
            Poll::Ready(None) => break,
            Poll::Pending => {
                pending += 1;
                // One that never comes fails here.
                for _ in 0..1000 {
                    if count.0.load(Ordering::SeqCst) >= pending {
                        break;
                    }
                    thread::park_timeout(Duration::from_millis(20));
                }
                assert!(count.0.load(Ordering::SeqCst) >= pending);
            }
        }
    }
    assert_eq!(got, expected);
    assert!(pending > 0 && stream.poll_next(&mut task).is_ready());
    assert_eq!(stream.reason(), Some(StopReason::Length));
    drop(stream);
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1);
}

/// A task that lives in its waker, as executors have it: here the last waker is used up on the
/// library's thread, and the stream goes there.
#[test]
fn a_stream_may_go_with_its_last_waker() {
    struct Task(Mutex<Option<Stream<'static>>>, mpsc::SyncSender<()>);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            while Arc::strong_count(&self) > 1 {
                thread::yield_now(); // until the test has let go
            }
            drop(self.0.lock().unwrap().take());
            self.1.send(()).unwrap();
        }
    }
    let model = model();
    let session = Box::leak(Box::new(Session::new(&model).unwrap()));
    let (gone, wait) = mpsc::sync_channel(1);
    let task = Arc::new(Task(Mutex::new(None), gone));
    let mut stream = session.stream(&options(5)).unwrap();
    let waker = Waker::from(task.clone());
    let polled = stream.poll_next(&mut task::Context::from_waker(&waker));
    assert!(polled.is_pending()); // a prompt takes its time
    drop(waker);
    // The one that the stream has goes on.
    let weak = Arc::downgrade(&task);
    *task.0.lock().unwrap() = Some(stream);
    drop(task);
    wait.recv_timeout(Duration::from_secs(20)).unwrap();
    for _ in 0..1000 {
        // The task goes when its wake-up, which has sent, returns.
        if weak.strong_count() == 0 && model.stream_stats().unwrap().n_open == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the stream was not closed, or the task is held");
}

#[test]
fn a_callback_signals_what_there_is() {
    let model = model();
    let expected = tokens(&model, 20);
    let (signal, signals) = mpsc::sync_channel(1);
    let mut session = Session::new(&model).unwrap();
    let options = options(20).on_ready(move || {
        let _ = signal.try_send(());
    });
    let mut stream = session.stream(&options).unwrap();
    let mut got = Vec::new();
    'all: loop {
        signals.recv_timeout(Duration::from_secs(20)).unwrap();
        loop {
            match stream.next_within(Duration::ZERO) {
                Poll::Ready(Some(token)) => got.push(token.unwrap()),
                Poll::Ready(None) => break 'all,
                Poll::Pending => break,
            }
        }
    }
    assert_eq!(got, expected);
}

#[test]
fn any_thread_cancels_at_any_time() {
    let model = model();
    let mut session = Session::new(&model).unwrap();
    let mut stream = session.stream(&options(u64::MAX)).unwrap();
    let canceller = stream.canceller();
    let other = thread::spawn({
        let canceller = canceller.clone();
        move || {
            thread::sleep(Duration::from_millis(30));
            canceller.cancel();
        }
    });
    assert!(stream.by_ref().all(|token| token.is_ok()));
    assert_eq!(stream.reason(), Some(StopReason::Cancelled));
    other.join().unwrap();
    canceller.cancel();
    drop(stream);
    canceller.cancel(); // it is gone

    // While streams start and go.
    for _ in 0..30 {
        let stream = session.stream(&options(3)).unwrap();
        let canceller = stream.canceller();
        thread::scope(|scope| {
            scope.spawn(|| canceller.cancel());
            scope.spawn(move || drop(stream));
        });
    }
    session.eval(&[1]).unwrap();
}

fn panicking(context: &samba_lm::Context, position: u64) -> Sampler {
    let stage = move |state: &SamplerState<'_>, _: &mut Candidates<'_>| {
        if state.position >= position {
            panic!("at {} of branch {}", state.position, state.branch);
        }
        ControlFlow::Continue(())
    };
    let builder = Sampler::builder(context).stage(stage);
    builder.greedy().build().unwrap()
}

#[test]
fn a_panic_of_a_draw_reaches_its_stream() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let expected = tokens(&model, 6);
    let start = model.tokenize(TEXT).unwrap().len() as u64;
    let sampler = panicking(&context, start + 6);
    let stop = format!("{}never", expected[5].text);
    let (mut one, mut two) = (Session::new(&model).unwrap(), Session::new(&model).unwrap());
    // Both fail with one sampler, and one loses a token that might begin a stop string.
    let options = options(50).sampler(&sampler);
    let held = options.clone().branch(9).stop_strings([stop]);
    let mut streams = [
        (0, 6, one.stream(&options).unwrap()),
        (9, 5, two.stream(&held).unwrap()),
    ];
    for (branch, n, stream) in streams.iter_mut().rev() {
        let mut got = Vec::new();
        let payload = panic_of(|| {
            for token in stream.by_ref() {
                got.push(token.unwrap());
            }
        });
        assert_eq!(got, expected[..*n as usize]);
        let text = format!("at {} of branch {branch}", start + 6);
        assert_eq!(text_of(&*payload), text);
        assert!(stream.next().is_none() && stream.reason().is_none());
        assert_eq!(stream.session().position(), start + *n);
    }
    drop(streams);
    assert_eq!(one.position(), start + 6);

    // Dropped without asking: nobody gets it, and it is not there for the next.
    let mut stream = one.stream(&options).unwrap();
    thread::sleep(Duration::from_millis(50));
    stream.cancel();
    drop(stream);
    let short = StreamOptions::new().text(TEXT).max_tokens(6);
    let mut session = Session::new(&model).unwrap();
    let short = short.ignore_eos(true).sampler(&sampler);
    assert_eq!(session.stream(&short).unwrap().count(), 6);
}

/// With one sampler, branch and position it is still the stream's own.
#[test]
fn panics_of_draws_are_not_mixed_up() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let stage = |state: &SamplerState<'_>, _: &mut Candidates<'_>| -> ControlFlow<()> {
        panic!("begins with {}", state.history[0])
    };
    let sampler = Sampler::builder(&context).stage(stage).build().unwrap();
    let options = StreamOptions::new().sampler(&sampler);
    let mut sessions: Vec<_> = (0..4).map(|_| Session::new(&model).unwrap()).collect();
    let streams = sessions.iter_mut().zip(5i32..).map(|(session, first)| {
        let stream = session.stream(&options.clone().prompt([first, 1, 2]));
        (first, stream.unwrap())
    });
    let mut streams: Vec<_> = streams.collect();
    for (first, stream) in streams.iter_mut().rev() {
        let payload = panic_of(|| drop(stream.next()));
        assert_eq!(text_of(&*payload), format!("begins with {first}"));
    }
}

#[test]
fn a_panic_of_a_wake_up_reaches_the_reader() {
    let model = model();
    let expected = tokens(&model, 4);
    let (called, calls) = mpsc::sync_channel(1);
    let panics = options(4).on_ready(move || {
        called.try_send(()).unwrap();
        panic!("ready")
    });
    let mut session = Session::new(&model).unwrap();
    let mut stream = session.stream(&panics).unwrap();
    calls.recv_timeout(Duration::from_secs(20)).unwrap();
    // The wake-up is still under way here; the end of the stream waits for it.
    let mut got = Vec::new();
    let mut seen = 0;
    while stream.reason().is_none() && seen < 2 {
        match catch_unwind(AssertUnwindSafe(|| stream.next())) {
            Ok(token) => got.extend(token.map(Result::unwrap)),
            Err(payload) => {
                seen += 1;
                assert_eq!(text_of(&*payload), "ready");
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((got, seen), (expected, 1)); // the stream has lost nothing
    drop(stream);

    // What it may not do says so, instead of waiting for itself.
    let place: Arc<Mutex<Option<samba_lm::StreamCancel>>> = Arc::default();
    let cancels = {
        let place = place.clone();
        options(u64::MAX).on_ready(move || place.lock().unwrap().as_ref().unwrap().cancel())
    };
    let mut guard = place.lock().unwrap();
    let mut stream = session.stream(&cancels).unwrap();
    *guard = Some(stream.canceller());
    drop(guard);
    let payload = panic_of(|| stream.by_ref().take(10_000).count());
    assert!(text_of(&*payload).starts_with("on_ready may only signal"));
    place.lock().unwrap_or_else(|e| e.into_inner()).take();
}

#[test]
fn streams_share_within_limits() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    assert_eq!(model.stream_stats().unwrap().n_passes, 0);
    let rows = StreamLimits::new().rows_per_pass(513);
    let error = model.set_stream_limits(&rows).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    let limits = StreamLimits::new().max_gap(Duration::from_millis(20));
    model.set_stream_limits(&limits.rows_per_pass(3)).unwrap();
    let expected = tokens(&model, 6);
    let stats = model.stream_stats().unwrap();
    let prompt = model.tokenize(TEXT).unwrap().len() as u64;
    assert_eq!((stats.n_open, stats.n_running), (0, 0));
    assert!(stats.n_rows >= prompt + 5 && stats.n_passes >= prompt / 3 + 5);
    assert!(stats.pass_time > Duration::ZERO);

    // Room for one at a time: the least that one starts with.
    let mut session = Session::new(&model).unwrap();
    let mut bytes = 1 << 16;
    loop {
        let limits = StreamLimits::new().max_state_bytes(bytes);
        model.set_stream_limits(&limits).unwrap();
        match session.stream(&options(u64::MAX)).map(drop) {
            Err(error) => assert_eq!(error.status(), Status::Limit),
            Ok(()) => break,
        }
        bytes += bytes / 4;
    }
    let first = session.stream(&options(u64::MAX)).unwrap();
    let mut sessions = [(); 2].map(|()| Session::new(&model).unwrap());
    let streams: Vec<_> = sessions
        .iter_mut()
        .map(|session| session.stream(&options(6)).unwrap())
        .collect();
    let waiting = || model.stream_stats().unwrap().n_waiting;
    for _ in 0..1000 {
        if waiting() == 2 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((waiting(), model.stream_stats().unwrap().n_open), (2, 3));
    drop(first);
    for stream in streams {
        assert_eq!(stream.map(Result::unwrap).collect::<Vec<_>>(), expected);
    }
    let tiny = StreamLimits::new().max_state_bytes(1);
    model.set_stream_limits(&tiny).unwrap();
    let refused = session.stream(&options(1)).err().unwrap();
    assert_eq!(refused.status(), Status::Limit);
}
