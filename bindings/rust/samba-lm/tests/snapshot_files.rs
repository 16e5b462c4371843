//! Snapshots as bytes and files, exchanged between contexts and with the C program.
mod common;
use common::{bits, context, model, model_path, samba_lm};
use samba_lm::{
    Cancel, Codec, GenerateOptions, Model, Session, Snapshot, SnapshotReadOptions,
    SnapshotWriteOptions, Status,
};
use std::path::{Path, PathBuf};

const TEXT: &str = "It was a dark night, and the old man";

fn fed(model: &Model) -> Session {
    let mut session = Session::new(model).unwrap();
    session.feed_text(TEXT).unwrap();
    session
}

/// A file of this test's own, gone when dropped.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str) -> TempFile {
        let name = format!("samba-lm-{name}-{}.samba", std::process::id());
        TempFile(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn text(session: &mut Session, n: u64) -> String {
    let options = GenerateOptions::new().max_tokens(n);
    session
        .generate(options)
        .map(|token| token.unwrap().text)
        .collect()
}

#[test]
fn what_one_context_saves_another_resumes() {
    let file = TempFile::new("resume");
    let (expected, tokens, fingerprint, after) = {
        let model = model();
        let mut session = fed(&model);
        let saved = session.snapshot_with(b"mine\0too").unwrap();
        assert_eq!(saved.info().unwrap().file_bytes, 0);
        saved.write_file(file.path()).unwrap();
        (
            bits(session.logits().unwrap()),
            session.tokens().unwrap().1.to_vec(),
            model.info().unwrap().fingerprint,
            text(&mut session, 12),
        )
    };

    let context = context(2);
    let model = Model::load(&context, model_path()).unwrap();
    let saved = Snapshot::read_file(&context, file.path()).unwrap();
    let info = saved.info().unwrap();
    assert_eq!(info.metadata, b"mine\0too");
    assert_eq!(
        (info.position, info.n_tokens),
        (tokens.len() as u64, info.position)
    );
    assert_eq!(
        info.file_bytes,
        std::fs::metadata(file.path()).unwrap().len()
    );
    assert_eq!(
        (info.codec, info.fingerprint),
        (Some(Codec::Zstd), fingerprint)
    );
    assert!(info.has_logits && !info.lossy && !info.has_mac && !info.header_only);
    assert_eq!(saved.tokens().unwrap(), (0, &tokens[..]));
    let mut session = saved.session(&model).unwrap();
    drop((saved, model, context)); // the session keeps what it needs
    assert_eq!(bits(session.logits().unwrap()), expected);
    assert_eq!(text(&mut session, 12), after);
}

#[test]
fn bytes_say_how_they_were_written() {
    let model = model();
    let context = model.context();
    let session = fed(&model);
    let expected = bits(session.logits().unwrap());
    let snapshot = session.snapshot().unwrap();
    let write = SnapshotWriteOptions::new;
    let raw = snapshot.to_bytes_with(&write().codec(Codec::Raw)).unwrap();
    let small = snapshot
        .to_bytes_with(&write().level(19).threads(2))
        .unwrap();
    let lossy = snapshot.to_bytes_with(&write().lossy(true)).unwrap();
    assert!(small.len() < raw.len() && lossy.len() < snapshot.to_bytes().unwrap().len());
    for (bytes, codec) in [(&raw, Codec::Raw), (&small, Codec::Zstd)] {
        let read = SnapshotReadOptions::new().threads(2);
        let read = Snapshot::from_bytes_with(context, bytes, &read).unwrap();
        assert_eq!(read.info().unwrap().codec, Some(codec));
        assert_eq!(
            bits(read.session(&model).unwrap().logits().unwrap()),
            expected
        );
    }
    assert!(
        Snapshot::from_bytes(context, &lossy)
            .unwrap()
            .info()
            .unwrap()
            .lossy
    );

    let read = SnapshotReadOptions::new().header_only(true);
    let header = Snapshot::from_bytes_with(context, &raw, &read).unwrap();
    assert!(header.info().unwrap().header_only);
    assert_eq!(header.tokens().unwrap(), session.tokens().unwrap());
    assert!(header.session(&model).is_err());
    assert_eq!(header.to_bytes().unwrap_err().status(), Status::State);
}

#[test]
fn damage_forgery_and_limits_are_refused() {
    let model = model();
    let context = model.context();
    let snapshot = fed(&model).snapshot().unwrap();
    let status = |bytes: &[u8], read: &SnapshotReadOptions| {
        Snapshot::from_bytes_with(context, bytes, read)
            .err()
            .map(|error| error.status())
    };
    let read = SnapshotReadOptions::new;
    let mut bytes = snapshot.to_bytes().unwrap();
    assert_eq!(status(&bytes, &read()), None);
    assert_eq!(status(&bytes, &read().max_bytes(100)), Some(Status::Limit));
    assert_eq!(
        status(&bytes, &read().mac_key([1; 32])),
        Some(Status::Format)
    );
    let half = bytes.len() / 2;
    assert_eq!(status(&bytes[..half], &read()), Some(Status::Format));
    bytes[half] ^= 1;
    assert_eq!(status(&bytes, &read()), Some(Status::Format));
    assert_eq!(status(&[], &read()), Some(Status::Format));

    match snapshot.to_bytes_with(&SnapshotWriteOptions::new().mac_key([1; 32])) {
        Err(error) => assert_eq!(error.status(), Status::Unsupported), // no libsodium
        Ok(bytes) => {
            assert_eq!(status(&bytes, &read().mac_key([1; 32])), None);
            assert_eq!(
                status(&bytes, &read().mac_key([2; 32])),
                Some(Status::Format)
            );
            let short = SnapshotWriteOptions::new().mac_key([1; 3]);
            let error = snapshot.to_bytes_with(&short).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument);
            let empty = SnapshotWriteOptions::new().mac_key([]);
            let error = snapshot.to_bytes_with(&empty).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument);
        }
    }

    let cancel = Cancel::new(context).unwrap();
    cancel.request();
    let error = snapshot
        .to_bytes_with(&SnapshotWriteOptions::new().cancel(&cancel))
        .unwrap_err();
    assert_eq!(error.status(), Status::Cancelled);
    let error = Snapshot::read_file(context, "no/such.samba").err().unwrap();
    assert_eq!(error.status(), Status::Io);
    assert_eq!(
        snapshot.write_file("no/such.samba").unwrap_err().status(),
        Status::Io
    );
}

/// `samba-lm generate --greedy --no-prompt`; its standard output.
fn c_generate(more: &[&str]) -> String {
    let model = model_path();
    let mut args = vec!["generate", model.to_str().unwrap()];
    args.extend(["--greedy", "--no-prompt", "--threads", "1"]);
    args.extend(more);
    samba_lm(&args)
}

#[test]
fn the_command_and_rust_exchange_files() {
    let model = model();
    let mut session = fed(&model);
    let first = text(&mut session, 10);
    let ours = TempFile::new("from-rust");
    session.snapshot().unwrap().write_file(ours.path()).unwrap();
    let second = text(&mut session, 10);

    let resumed = c_generate(&["--resume", ours.path().to_str().unwrap(), "-n", "10"]);
    assert_eq!(
        resumed.trim_end_matches('\n'),
        second.trim_end_matches('\n')
    );

    let theirs = TempFile::new("from-c");
    let written = c_generate(&[TEXT, "--save", theirs.path().to_str().unwrap(), "-n", "10"]);
    assert_eq!(written.trim_end_matches('\n'), first.trim_end_matches('\n'));
    let saved = Snapshot::read_file(model.context(), theirs.path()).unwrap();
    assert_eq!(text(&mut saved.session(&model).unwrap(), 10), second);
}
