//! Builds the stub (`stub/`): a static program without the standard library, which the Sentry embeds.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=stub");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("stub");
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("stub");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command
        .args([
            "--crate-name",
            "stub",
            "--crate-type",
            "bin",
            "--edition",
            "2024",
        ])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args([
            "-Copt-level=2",
            "-Cpanic=abort",
            "-Cdebuginfo=0",
            "-Cstrip=symbols",
        ])
        .args(["-Cforce-unwind-tables=no", "-Coverflow-checks=no"])
        // Absolute addresses above 2 GiB, and no table of them.
        .args(["-Crelocation-model=static", "-Ccode-model=large"]);
    for arg in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
    ] {
        command.arg(format!("-Clink-arg={arg}"));
    }
    command
        .arg(format!(
            "-Clink-arg=-Wl,-T,{}",
            root.join("stub.ld").display()
        ))
        .arg("-o")
        .arg(&out)
        .arg(root.join("src/main.rs"));
    let status = command.status().expect("rustc starts");
    assert!(status.success(), "building the stub failed: {command:?}");
    println!("cargo::rustc-env=SENTRY_STUB={}", out.display());
}
