//! Programs of our own: the same outcome in the Sentry as on the machine's own kernel.

use crate::common;

fn run(name: &str, flags: &[&str], arguments: &[&str]) {
    let program = common::compile(name, flags);
    let mut argv = vec![program.to_str().expect("a path in UTF-8")];
    argv.extend(arguments);
    common::same(&argv);
}

#[test]
fn write_and_exit() {
    run("hello.c", &["-static", "-nostdlib", "-ffreestanding"], &[]);
}

#[test]
fn a_static_libc() {
    run("libc_hello.c", &["-static"], &[]);
}

#[test]
fn calls_made_very_often() {
    run("calls.c", &["-static", "-pthread"], &[]);
    run("calls.c", &["-pthread", "-O2"], &[]);
}
