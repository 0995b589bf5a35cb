//! A program that works on files, pipes and event descriptors, in the Sentry and natively: the same
//! results and errnos.

use crate::common::{compile, same};

#[test]
fn calls_on_files_answer_as_linux_does() {
    let program = compile("files.c", &["-static"]);
    same(&[program.to_str().expect("a plain path")]);
}
