//! Finds libsamba: an installed one through pkg-config (or one in a Meson build folder, by
//! `PKG_CONFIG_PATH=BUILD/meson-uninstalled`), else built here from the source tree around this
//! crate, or that in SAMBA_SOURCE_DIR, with meson and ninja. The feature `vendored` takes the
//! second way at once; SAMBA_MESON_OPTIONS goes to `meson setup` there. Calls the programs themselves, so that no other crate is needed.
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "0.1.0";

fn main() {
    for name in [
        "SAMBA_SOURCE_DIR",
        "SAMBA_MESON_OPTIONS",
        "PKG_CONFIG",
        "PKG_CONFIG_PATH",
        "PKG_CONFIG_LIBDIR",
        "PKG_CONFIG_SYSROOT_DIR",
    ] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    let installed = match env::var_os("CARGO_FEATURE_VENDORED") {
        Some(_) => Err("the feature `vendored` is on".to_string()),
        None => pkg_config(&[], None),
    };
    match installed {
        Ok(flags) => link(&flags, None),
        Err(reason) => match build_from_tree() {
            Ok((folder, flags)) => link(&flags, Some(&folder)),
            Err(error) => {
                eprintln!("libsamba {VERSION} was not found: {reason}");
                eprintln!("and it could not be built: {error}");
                std::process::exit(1);
            }
        },
    }
}

/// What `pkg-config --libs` says, with `folder` searched first.
fn pkg_config(more: &[&str], folder: Option<&Path>) -> Result<Vec<String>, String> {
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let mut command = Command::new(program);
    command
        .args(["--print-errors", "--libs"])
        .args(more)
        .arg(format!("samba >= {VERSION}"));
    if let Some(folder) = folder {
        let old = env::var_os("PKG_CONFIG_PATH").unwrap_or_default();
        let all = std::iter::once(folder.to_path_buf()).chain(env::split_paths(&old));
        command.env(
            "PKG_CONFIG_PATH",
            env::join_paths(all).map_err(|e| e.to_string())?,
        );
    }
    run(&mut command).map(|flags| flags.split_whitespace().map(str::to_string).collect())
}

/// Hands the flags on to rustc. `built`: the folder of a static library made here.
fn link(flags: &[String], built: Option<&Path>) {
    for flag in flags {
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
        } else if let Some(name) = flag.strip_prefix("-l") {
            let kind = if name == "samba" && built.is_some() {
                "static="
            } else {
                ""
            };
            println!("cargo:rustc-link-lib={kind}{name}");
        } else if flag == "-pthread" {
            println!("cargo:rustc-link-lib=pthread");
        }
    }
}

/// Builds the static library alone; ninja knows what is up to date.
fn build_from_tree() -> Result<(PathBuf, Vec<String>), String> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("not run by cargo")?);
    let source = match env::var_os("SAMBA_SOURCE_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => manifest.join("../../.."),
    };
    let header = source.join("include/samba.h");
    if !header.is_file() {
        return Err(format!(
            "no {}: set SAMBA_SOURCE_DIR to libsamba's tree",
            header.display()
        ));
    }
    for name in ["include", "lib", "meson.build", "meson_options.txt"] {
        println!("cargo:rerun-if-changed={}", source.join(name).display());
    }
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or("not run by cargo")?).join("samba");
    if !folder.join("build.ninja").is_file() {
        let more = env::var("SAMBA_MESON_OPTIONS").unwrap_or_default();
        let mut meson = Command::new("meson");
        meson
            .arg("setup")
            .arg(&folder)
            .arg(&source)
            .arg("--default-library=static");
        meson
            .args(["-Dtests=false", "-Dexamples=false"])
            .args(more.split_whitespace());
        run(&mut meson)?;
    }
    run(Command::new("ninja")
        .arg("-C")
        .arg(&folder)
        .arg("lib/libsamba.a"))?;
    let flags = pkg_config(&["--static"], Some(&folder.join("meson-uninstalled")))?;
    Ok((folder, flags))
}

/// Standard output of a program that succeeds.
fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| format!("{program} does not start: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!(
        "{program} failed ({}): {text}{errors}",
        output.status
    ))
}
