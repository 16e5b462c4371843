//! Going back: positions, tokens and logits are those of that time.
mod common;
use common::{bits, model};
use samba_lm::{Cancel, GenerateOptions, RewindOptions, Session, SessionOptions, Status};

const PROMPT: &str = "It was a dark night, and the old man";

/// Generates `n` tokens; what the session looked like before the first and after each.
fn walk(session: &mut Session, n: u64) -> Vec<(u64, i32, Vec<u32>)> {
    let look = |session: &Session| {
        let last = *session.tokens().unwrap().1.last().unwrap();
        (session.position(), last, bits(session.logits().unwrap()))
    };
    let mut seen = vec![look(session)];
    let options = GenerateOptions::new().max_tokens(n).ignore_eos(true);
    let mut generate = session.generate(options);
    while let Some(token) = generate.next() {
        token.unwrap();
        seen.push(look(generate.session()));
    }
    seen
}

#[test]
fn every_position_comes_back_bit_for_bit() {
    let options = SessionOptions::new().checkpoint_interval(4);
    let mut session = options.create(&model()).unwrap();
    session.feed_text(PROMPT).unwrap();
    let seen = walk(&mut session, 12);
    for (position, last, logits) in seen.iter().rev() {
        let report = session.rewind(*position).unwrap();
        assert_eq!((report.position, report.exact), (*position, true));
        assert_eq!(report.restored_at + report.replayed, *position);
        assert_eq!(session.position(), *position);
        assert_eq!(session.tokens().unwrap().1.last(), Some(last));
        assert_eq!(bits(session.logits().unwrap()), *logits);
    }
    assert_eq!(walk(&mut session, 12), seen);
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut session = Session::new(&model()).unwrap();
    session.feed_text(PROMPT).unwrap();
    let seen = walk(&mut session, 6);
    let (back, now) = (&seen[3], &seen[6]);
    let dry = RewindOptions::new().dry_run(true);
    let planned = session.rewind_with(back.0, &dry).unwrap();
    assert_eq!(session.position(), now.0);
    assert_eq!(bits(session.logits().unwrap()), now.2);
    assert!(planned.replayed > 0, "{planned:?}");

    let refuse = |session: &mut Session, position, options: &RewindOptions| {
        let error = session.rewind_with(position, options).unwrap_err();
        assert_eq!(session.position(), now.0);
        assert_eq!(bits(session.logits().unwrap()), now.2);
        error.status()
    };
    let less = RewindOptions::new().max_replay(planned.replayed - 1);
    assert_eq!(refuse(&mut session, back.0, &less), Status::Limit);
    let none = RewindOptions::new().max_replay(0);
    assert_eq!(refuse(&mut session, back.0, &none), Status::Limit);
    let ahead = now.0 + 1;
    assert_eq!(refuse(&mut session, ahead, &dry), Status::InvalidArgument);
    let cancel = Cancel::new(session.model().context()).unwrap();
    cancel.request();
    let cancelled = RewindOptions::new().cancel(&cancel);
    assert_eq!(refuse(&mut session, back.0, &cancelled), Status::Cancelled);

    let enough = RewindOptions::new().max_replay(planned.replayed);
    assert_eq!(session.rewind_with(back.0, &enough).unwrap(), planned);
    assert_eq!(bits(session.logits().unwrap()), back.2);
}

#[test]
fn a_pinned_position_stays_without_a_budget() {
    let options = SessionOptions::new().checkpoint_bytes(0).max_history(4);
    let mut session = options.create(&model()).unwrap();
    session.feed_text(PROMPT).unwrap();
    let start = session.position();
    let before = bits(session.logits().unwrap());
    session.pin().unwrap();
    let seen = walk(&mut session, 8);
    let none = RewindOptions::new().max_replay(0);
    let report = session.rewind_with(start, &none).unwrap();
    assert_eq!((report.restored_at, report.replayed), (start, 0));
    assert_eq!(bits(session.logits().unwrap()), before);
    assert_eq!(walk(&mut session, 8), seen);

    session.unpin(start).unwrap();
    let error = session.unpin(start).unwrap_err();
    assert_eq!(error.status(), Status::NotFound);
    let error = session.rewind(start).unwrap_err();
    assert_eq!(error.status(), Status::State);
    assert_eq!(session.position(), seen[8].0);
}
