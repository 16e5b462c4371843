//! What the tests share: the bundled model, and the C programs to compare with.
#![allow(dead_code)] // every test program uses a part
use samba_lm::{Context, ContextOptions, Model};
use std::path::PathBuf;
use std::process::Command;

pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.."))
}

pub fn model_path() -> PathBuf {
    root().join("examples/models/samba-13m.gguf")
}

pub fn context(threads: u16) -> Context {
    ContextOptions::new().threads(threads).create().unwrap()
}

pub fn model() -> Model {
    Model::load(&context(1), model_path()).unwrap()
}

/// The folder that Meson built the C library and `samba-lm` in.
pub fn build_dir() -> PathBuf {
    std::env::var_os("SAMBA_BUILD_DIR").map_or_else(|| root().join("build"), PathBuf::from)
}

/// Standard output of `samba-lm ARGS`.
pub fn samba_lm(args: &[&str]) -> String {
    let program = build_dir().join("examples/samba-lm");
    let output = Command::new(&program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{} (set SAMBA_BUILD_DIR): {e}", program.display()));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Resident memory of this process, in bytes.
pub fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// The bits of floats, which compare as memory does.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
