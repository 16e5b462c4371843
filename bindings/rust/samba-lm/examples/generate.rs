//! Continues a prompt; text is printed as it comes.
//!   generate MODEL [PROMPT [MAX_TOKENS]]
use samba_lm::{Context, GenerateOptions, Model, Session};
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args
        .next()
        .ok_or("usage: generate MODEL [PROMPT [MAX_TOKENS]]")?;
    let prompt = args
        .next()
        .unwrap_or_else(|| "It was a dark night, and".to_string());
    let max_tokens = args.next().map_or(Ok(64), |n| n.parse())?;

    let context = Context::new()?;
    let model = Model::load(&context, path)?;
    let mut session = Session::new(&model)?;
    session.feed_text(&prompt)?;
    for token in session.generate(GenerateOptions::new().max_tokens(max_tokens)) {
        print!("{}", token?.text);
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
