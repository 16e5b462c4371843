//! Every function and constant of the header is here: bindgen leaves out what it can't evaluate
//! without a word.
use std::fs;

#[test]
fn every_function_and_constant_is_bound() {
    let root = env!("CARGO_MANIFEST_DIR");
    let header = fs::read_to_string(format!("{root}/../../../include/samba.h")).unwrap();
    let bound = fs::read_to_string(format!("{root}/src/bindings.rs")).unwrap()
        + &fs::read_to_string(format!("{root}/src/lib.rs")).unwrap();
    let (mut functions, mut constants) = (0, 0);
    for declaration in header.split("\nSAMBA_API ").skip(1) {
        let name = declaration
            .split('(')
            .next()
            .unwrap()
            .rsplit([' ', '*'])
            .next()
            .unwrap();
        assert!(
            bound.contains(&format!("pub fn {name}(")),
            "{name} is not bound"
        );
        functions += 1;
    }
    for line in header
        .lines()
        .filter_map(|line| line.strip_prefix("#define "))
    {
        let name = line.split([' ', '(']).next().unwrap();
        if name == "SAMBA_H" || name == "SAMBA_API" {
            continue;
        }
        assert!(
            bound.contains(&format!("pub const {name}: ")),
            "{name} is not bound"
        );
        constants += 1;
    }
    assert!(
        functions > 60 && constants > 40,
        "{functions} functions, {constants} constants seen"
    );
}

#[test]
fn the_library_is_that_of_the_header() {
    let number = unsafe { samba_lm_sys::samba_version_number() };
    let (major, minor) = (number / 1_000_000, number / 1000 % 1000);
    assert_eq!(major as i32, samba_lm_sys::SAMBA_VERSION_MAJOR);
    assert_eq!(minor as i32, samba_lm_sys::SAMBA_VERSION_MINOR);
}
