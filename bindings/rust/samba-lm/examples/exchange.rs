//! One half of tests/api/exchange.sh: a snapshot that another binding resumes, or resumes one.
//!   exchange write|read MODEL SNAPSHOT RESULT
//! RESULT gets what comes after the snapshot: logits, 12 tokens (i32), logits, little-endian.
use samba_lm::{Context, Error, GenerateOptions, Model, Sampler, Session, Snapshot};

fn go_on(session: &mut Session, sampler: &Sampler, n: u64) -> Result<Vec<u8>, Error> {
    let options = GenerateOptions::new().sampler(sampler).max_tokens(n);
    let tokens = session.generate(options.ignore_eos(true));
    let ids = tokens.map(|token| Ok(token?.id.to_le_bytes()));
    Ok(ids.collect::<Result<Vec<_>, Error>>()?.concat())
}

fn logits(session: &Session) -> Result<Vec<u8>, Error> {
    let floats = session.logits()?.iter();
    Ok(floats.flat_map(|logit| logit.to_le_bytes()).collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let (command, model, file, result) = match &args[..] {
        [command, model, file, result] => (&**command, model, file, result),
        _ => return Err("usage: exchange write|read MODEL SNAPSHOT RESULT".into()),
    };
    let context = Context::new()?;
    let model = Model::load(&context, model)?;
    let sampler = Sampler::builder(&context).temperature(0.9).top_p(0.95);
    let sampler = sampler.seed(11).build()?;
    let mut session = if command == "write" {
        let mut session = Session::new(&model)?;
        session.feed_text("It was a dark night, and the old man")?;
        go_on(&mut session, &sampler, 40)?;
        session.snapshot_with(b"exchange")?.write_file(file)?;
        session
    } else {
        let saved = Snapshot::read_file(&context, file)?;
        if saved.info()?.metadata != b"exchange" {
            return Err("the metadata is another".into());
        }
        saved.session(&model)?
    };
    let before = logits(&session)?;
    let tokens = go_on(&mut session, &sampler, 12)?;
    std::fs::write(result, [before, tokens, logits(&session)?].concat())?;
    Ok(())
}
