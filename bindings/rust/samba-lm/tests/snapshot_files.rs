//! Snapshots as bytes and files, exchanged between contexts and with the C program.
mod common;
use common::{bits, context, model, model_path, samba_lm};
use samba_lm::{
    Cancel, Codec, GenerateOptions, Model, Reader, SectionKind, Session, Snapshot,
    SnapshotReadOptions, SnapshotWriteOptions, Status,
};
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

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

#[test]
fn snapshots_go_through_sinks_and_readers() {
    let (model, file) = (model(), TempFile::new("sink"));
    let mut session = fed(&model);
    let saved = session.snapshot_with(b"mine").unwrap();
    let mut bytes = Vec::new();
    saved.write_to(&mut bytes).unwrap();
    assert_eq!(bytes, saved.to_bytes().unwrap());
    saved.write_to(File::create(file.path()).unwrap()).unwrap();
    Snapshot::verify_file(model.context(), file.path()).unwrap();

    let parallel = Reader::parallel(bytes.len() as u64, |offset, buffer| {
        buffer.copy_from_slice(&bytes[offset as usize..][..buffer.len()]);
        Ok(())
    });
    let seekable = Reader::seekable(File::open(file.path()).unwrap()).unwrap();
    let expected = text(&mut session, 6);
    for reader in [parallel, seekable] {
        let again = Snapshot::read_from(model.context(), reader).unwrap();
        assert_eq!(again.info().unwrap().metadata, b"mine");
        assert_eq!(text(&mut again.session(&model).unwrap(), 6), expected);
    }

    // What a sink or a reader says is the source of the error.
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(data.len()).ok_or_else(full)?;
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(full())
        }
    }
    fn full() -> io::Error {
        io::Error::new(io::ErrorKind::Other, "full")
    }
    for room in [1000, usize::MAX] {
        let error = saved.write_to(Full(room)).unwrap_err();
        assert_eq!(error.status(), Status::Io);
        assert_eq!(error.source().unwrap().to_string(), "full");
    }
    let reader = Reader::new(1 << 20, |_, _| Err(full()));
    let error = Snapshot::read_from(model.context(), reader).err().unwrap();
    assert_eq!(error.status(), Status::Io);
    assert_eq!(error.source().unwrap().to_string(), "full");

    // Damage anywhere is found without keeping what is read.
    let n = bytes.len();
    for at in [n / 3, n / 2, n - 100] {
        bytes[at] ^= 1;
        std::fs::write(file.path(), &bytes).unwrap();
        let error = Snapshot::verify_file(model.context(), file.path()).unwrap_err();
        assert_eq!(error.status(), Status::Format);
        bytes[at] ^= 1;
    }
}

#[test]
fn progress_is_told_and_cancels() {
    let (model, file) = (model(), TempFile::new("progress"));
    let saved = fed(&model).snapshot().unwrap();
    let last = Arc::new(Mutex::new((0, 0)));
    let tell = {
        let last = last.clone();
        move |done, total| {
            *last.lock().unwrap() = (done, total);
            ControlFlow::Continue(())
        }
    };
    let options = SnapshotWriteOptions::new().progress(tell.clone());
    saved.write_file_with(file.path(), &options).unwrap();
    let (done, total) = std::mem::take(&mut *last.lock().unwrap());
    assert!(done > 0 && done == total);
    let options = SnapshotReadOptions::new().progress(tell);
    Snapshot::read_file_with(model.context(), file.path(), &options).unwrap();
    let (done, total) = *last.lock().unwrap();
    let size = std::fs::metadata(file.path()).unwrap().len();
    assert!(done == size && total == size);

    let stop = |_, _| ControlFlow::Break(());
    let options = SnapshotWriteOptions::new().progress(stop);
    let error = saved.to_bytes_with(&options).unwrap_err();
    assert_eq!(error.status(), Status::Cancelled);
    let options = SnapshotReadOptions::new().progress(stop);
    let error = Snapshot::verify_file_with(model.context(), file.path(), &options).unwrap_err();
    assert_eq!(error.status(), Status::Cancelled);
}

#[test]
fn panics_go_on_where_the_call_was_made() {
    struct Panics;
    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("sink")
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let model = model();
    let saved = fed(&model).snapshot().unwrap();
    let text_of = |call: &dyn Fn()| {
        let payload = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
        *payload.downcast_ref::<&str>().unwrap()
    };
    assert_eq!(text_of(&|| drop(saved.write_to(Panics))), "sink");
    let reader = || Reader::new(1 << 20, |_, _| panic!("reader"));
    let context = model.context();
    let read = text_of(&|| drop(Snapshot::read_from(context, reader())));
    assert_eq!(read, "reader");
    let options = SnapshotWriteOptions::new().progress(|_, _| panic!("progress"));
    let write = text_of(&|| drop(saved.to_bytes_with(&options)));
    assert_eq!(write, "progress");
    assert_eq!(text_of(&|| drop(saved.write_to(Panics))), "sink"); // all is usable
}

#[test]
fn sections_say_what_there_is() {
    let model = model();
    let mut session = fed(&model);
    let taken = session.snapshot_with(b"mine").unwrap();
    let read = Snapshot::from_bytes(model.context(), &taken.to_bytes().unwrap()).unwrap();
    let info = read.info().unwrap();
    assert_eq!(info.fingerprint, model.info().unwrap().fingerprint);
    assert!(info.weights != info.tokenizer && info.architecture != [0; 16]);
    assert_eq!(taken.info().unwrap().n_sections, info.n_sections);
    let mut raw_bytes = 0;
    for index in 0..info.n_sections {
        let (section, other) = (read.section(index).unwrap(), taken.section(index).unwrap());
        assert_eq!((section.kind, &section.dims), (other.kind, &other.dims));
        let data = section.data.unwrap();
        assert_eq!(data.len() as u64, section.raw_bytes);
        raw_bytes += section.raw_bytes;
        match section.kind {
            SectionKind::Metadata => assert_eq!(data, b"mine"),
            SectionKind::Logits => {
                let floats = data
                    .chunks(4)
                    .map(|b| u32::from_le_bytes(b.try_into().unwrap()));
                assert_eq!(floats.collect::<Vec<_>>(), bits(session.logits().unwrap()));
                assert_eq!(section.element, "f32");
            }
            SectionKind::Ssm => assert!(section.sublayer.is_some()),
            _ => {}
        }
    }
    assert_eq!(raw_bytes, info.raw_bytes);
    let error = read.section(info.n_sections).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    session.reset().unwrap();
}
