//! `runsc`: the OCI runtime around the Sentry.
//!
//! # Code map
//!
//! | module | what happens there |
//! | --- | --- |
//! | [`cli`] | one file per verb, thin, over the modules below |
//! | [`container`] | a container's state on disk, its life cycle |
//! | [`sandbox`] | the sandbox's process: namespaces, what is donated to it, boot, control socket |
//! | [`oci`] | reading and checking a bundle's config; hooks |
//! | [`cgroup`] | resource limits, v1 and v2 |
//! | [`log`] | messages for people and for the programs that call us |

#![deny(unsafe_code)]

mod cgroup;
mod cli;
mod container;
mod log;
mod oci;
mod sandbox;

/// Exit status of runsc's own failures; a guest's own status is below or comes from a signal.
const EXIT_OWN_FAILURE: i32 = 128;

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn main() {
    let status = match cli::run() {
        Ok(status) => status,
        // Whoever read our output has read enough.
        Err(error) if is_broken_pipe(&*error) => 0,
        Err(error) => {
            log::failure(&*error);
            EXIT_OWN_FAILURE
        }
    };
    std::process::exit(status);
}
