//! The same calls give the same tokens and the same bits as the C program.
mod common;
use common::{bits, context, model, model_path, samba_lm};
use samba_lm::{
    Context, EvalOptions, GenerateOptions, Model, Outputs, Sampler, Session, StopReason,
};

const IDS: &str = "10,20,30,40,50,60,70,80,90,100,11,21,31";

/// Rows of the tensor that `samba-lm logits` writes: a header's length, the header, the floats.
fn c_logits(name: &str, all: &[&str]) -> Vec<u32> {
    let file = std::env::temp_dir().join(format!("samba-lm-{name}-{}", std::process::id()));
    let (model, out) = (model_path(), file.to_str().unwrap());
    let mut args = vec![
        "logits",
        model.to_str().unwrap(),
        "--ids",
        IDS,
        "--out",
        out,
    ];
    args.extend(all);
    samba_lm(&args);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let floats = bytes[8 + header..].chunks_exact(4);
    floats
        .map(|f| u32::from_le_bytes(f.try_into().unwrap()))
        .collect()
}

fn ids() -> Vec<i32> {
    IDS.split(',').map(|id| id.parse().unwrap()).collect()
}

#[test]
fn logits() {
    let mut session = Session::new(&model()).unwrap();
    session.eval(&ids()).unwrap();
    assert_eq!(bits(session.logits().unwrap()), c_logits("last", &[]));

    session.reset().unwrap();
    let all = EvalOptions::new().outputs(Outputs::All);
    session.eval_with(&ids(), &all).unwrap();
    let rows = 0..session.n_rows();
    assert_eq!(rows.len(), 13);
    let rows: Vec<u32> = rows
        .flat_map(|i| bits(session.logits_row(i).unwrap()))
        .collect();
    assert_eq!(rows, c_logits("all", &["--all"]));
}

/// "tokens": [..] and "text": ".." of the command's JSON, the text still escaped.
fn c_generate(more: &[&str]) -> (Vec<i32>, String) {
    let model = model_path();
    let mut args = vec![
        "generate",
        model.to_str().unwrap(),
        PROMPT,
        "--json",
        "--max-tokens",
        "60",
    ];
    args.extend(more);
    let json = samba_lm(&args);
    let after = |key: &str| &json[json.find(key).unwrap() + key.len()..];
    let tokens = after("\"tokens\": [").split(']').next().unwrap();
    let text = after("\"text\": \"").split("\", \"stop\"").next().unwrap();
    (
        tokens
            .split(", ")
            .map(|t| t.trim().parse().unwrap())
            .collect(),
        text.to_string(),
    )
}

const PROMPT: &str = "It was a dark night, and";

fn rust_generate(model: &Model, options: GenerateOptions) -> (Vec<i32>, String) {
    let mut session = Session::new(model).unwrap();
    session.feed_text(PROMPT).unwrap();
    let mut generate = session.generate(options.max_tokens(60));
    let tokens: Vec<_> = generate.by_ref().map(Result::unwrap).collect();
    let reason = generate.reason().unwrap();
    assert_eq!(reason == StopReason::Length, tokens.len() == 60);
    assert!(tokens
        .windows(2)
        .all(|pair| pair[0].position + 1 == pair[1].position));
    assert_eq!(session.position(), tokens.last().unwrap().position + 1);
    let text = tokens.iter().map(|token| &*token.text).collect::<String>();
    (
        tokens.iter().map(|token| token.id).collect(),
        text.replace('\n', "\\n").replace('"', "\\\""),
    )
}

fn sampler(context: &Context, seed: u64) -> Sampler {
    let builder = Sampler::builder(context)
        .temperature(0.9)
        .top_k(40)
        .top_p(0.95);
    builder.seed(seed).build().unwrap()
}

#[test]
fn tokens_and_text() {
    let context = context(1);
    let model = Model::load(&context, model_path()).unwrap();
    assert_eq!(
        rust_generate(&model, GenerateOptions::new()),
        c_generate(&["--greedy"])
    );
    for seed in 0..4 {
        let options = GenerateOptions::new().sampler(&sampler(&context, seed));
        let seed = seed.to_string();
        let chain = [
            "--temp", "0.9", "--top-k", "40", "--top-p", "0.95", "--seed", &seed,
        ];
        assert_eq!(rust_generate(&model, options), c_generate(&chain));
    }
}
