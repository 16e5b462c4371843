//! A cached prefix gives the bits of reading it all.
mod common;
use common::{bits, context, model_path};
use samba_lm::{Cancel, EvalOptions, Model, PrefixCache, PrefixCacheOptions, PrefixReason};
use samba_lm::{Session, SessionOptions, Status, StreamOptions};

const SYSTEM: &str = "The old man answers every question, whatever it is, in a few words.";

fn read(model: &Model, tokens: &[i32]) -> Vec<u32> {
    let mut session = Session::new(model).unwrap();
    session.eval(tokens).unwrap();
    bits(session.logits().unwrap())
}

fn prompt(model: &Model, question: &str) -> Vec<i32> {
    model.tokenize(format!("{SYSTEM} {question}")).unwrap()
}

#[test]
fn prompts_that_begin_alike_are_read_once() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let cache = PrefixCacheOptions::new()
        .interval(8)
        .create(&model)
        .unwrap();
    let moon = prompt(&model, "What is the moon?");
    let mut session = Session::new(&model).unwrap();
    let report = cache.eval(&mut session, &moon).unwrap();
    assert_eq!((report.restored, report.reason), (0, PrefixReason::New));
    assert_eq!(report.replayed, moon.len() as u64);
    assert!(report.stored > 1 && report.exact);
    assert_eq!(bits(session.logits().unwrap()), read(&model, &moon));

    // Several threads share it.
    let questions = ["What is the sea?", "What is the moon?", "Who are you?"];
    std::thread::scope(|scope| {
        for question in questions {
            let (cache, model) = (cache.clone(), model.clone());
            scope.spawn(move || {
                let tokens = prompt(&model, question);
                let mut session = Session::new(&model).unwrap();
                let report = cache.eval(&mut session, &tokens).unwrap();
                assert!(report.restored >= 8 && report.exact, "{report:?}");
                assert_eq!(report.restored + report.replayed, tokens.len() as u64);
                assert_eq!(bits(session.logits().unwrap()), read(&model, &tokens));
            });
        }
    });
    let report = cache.eval(&mut session, &moon).unwrap();
    assert_eq!((report.reason, report.replayed), (PrefixReason::Whole, 0));
    assert!(PrefixReason::New.to_string().contains("cached"));

    // An answer, and the prompt that repeats it.
    session.eval(&[3, 4, 5]).unwrap();
    cache.put(&session).unwrap();
    let longer = [&moon[..], &[3, 4, 5, 6]].concat();
    let report = cache.eval(&mut session, &longer).unwrap();
    assert_eq!(report.restored, moon.len() as u64 + 3);
    assert_eq!(bits(session.logits().unwrap()), read(&model, &longer));

    let stats = cache.stats().unwrap();
    assert_eq!((stats.n_hits, stats.n_misses), (5, 1));
    assert!(stats.bytes > 0 && stats.bytes <= stats.max_bytes && stats.n_entries > 1);
    cache.clear();
    assert_eq!(cache.stats().unwrap().n_entries, 0);
}

#[test]
fn prompts_of_streams_are_read_once_too() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let cache = PrefixCache::new(&model).unwrap();
    let tokens = prompt(&model, "What is the moon?");
    let options = StreamOptions::new().prompt(tokens.clone()).max_tokens(4);
    let mut plain = Session::new(&model).unwrap();
    let expected: Vec<_> = plain
        .stream(&options)
        .unwrap()
        .map(|t| t.unwrap().id)
        .collect();
    let cached = options.clone().prefix_cache(&cache);
    for reason in [PrefixReason::New, PrefixReason::Whole] {
        let mut session = Session::new(&model).unwrap();
        let mut stream = session.stream(&cached).unwrap();
        let ids: Vec<_> = stream.by_ref().map(|token| token.unwrap().id).collect();
        let report = stream.prefix_report().unwrap();
        assert_eq!((ids, report.reason), (expected.clone(), reason));
        assert_eq!(report.restored + report.replayed, tokens.len() as u64);
        drop(stream);
        assert_eq!(session.position(), plain.position());
    }
    let mut session = Session::new(&model).unwrap();
    let report = session.stream(&options).unwrap().prefix_report();
    assert_eq!(report.map_err(|error| error.status()), Err(Status::State));
    let other = Model::load(&context, model_path()).unwrap();
    let mut foreign = Session::new(&other).unwrap();
    let refused = foreign.stream(&cached).map(drop);
    let status = refused.map_err(|error| error.status());
    assert_eq!(status, Err(Status::Mismatch));
}

#[test]
fn failures_say_why() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let cache = PrefixCache::new(&model).unwrap();
    let status = |result: Result<(), samba_lm::Error>| result.err().map(|error| error.status());
    let mut session = Session::new(&model).unwrap();
    assert_eq!(status(cache.put(&session)), Some(Status::State));
    assert_eq!(status(cache.flush()), Some(Status::State));
    let cancel = Cancel::new(&context).unwrap();
    cancel.request();
    let options = EvalOptions::new().cancel(&cancel);
    let cancelled = cache.eval_with(&mut session, &[1, 2], &options);
    assert_eq!(status(cancelled.map(drop)), Some(Status::Cancelled));
    let mut late = SessionOptions::new()
        .first_position(5)
        .create(&model)
        .unwrap();
    let begun = cache.eval(&mut late, &[1]);
    assert_eq!(status(begun.map(drop)), Some(Status::State));
    let other = Model::load(&context, model_path()).unwrap();
    let mut foreign = Session::new(&other).unwrap();
    let refused = cache.eval(&mut foreign, &[1]);
    assert_eq!(status(refused.map(drop)), Some(Status::Mismatch));
    let nowhere = PrefixCacheOptions::new().spill_directory("no/such/folder");
    let refused = nowhere.create(&model).map(drop);
    assert_eq!(status(refused), Some(Status::NotFound));
}

#[test]
fn what_is_spilled_is_found_again() {
    let name = format!("samba-lm-spill-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    let options = PrefixCacheOptions::new()
        .interval(0)
        .spill_directory(&folder);
    let tokens = prompt(&model, "What is the moon?");
    let mut session = Session::new(&model).unwrap();
    let cache = options.create(&model).unwrap();
    cache.eval(&mut session, &tokens).unwrap();
    cache.flush().unwrap();
    assert!(cache.stats().unwrap().n_written > 0);
    drop(cache);

    let cache = options.create(&model).unwrap();
    let report = cache.eval(&mut session, &tokens).unwrap();
    assert!(
        report.from_file && report.restored == tokens.len() as u64,
        "{report:?}"
    );
    assert_eq!(bits(session.logits().unwrap()), read(&model, &tokens));
    drop(cache);
    std::fs::remove_dir_all(&folder).unwrap();
}
