//! Cases without a network: the same script natively and in the sandbox.

use crate::cases::Case;
use crate::run::{self, Outcome};

/// Output and exit status have to be the same.
pub(crate) fn compare(case: &Case) -> Outcome {
    compare_with(&["--network=none"], case)
}

/// The same with these options of `runsc`.
pub(crate) fn compare_with(options: &[&str], case: &Case) -> Outcome {
    let native = run::finish(run::native(case.script))?;
    if !native.status.success() {
        return Err(format!(
            "the case is broken, it fails natively:\n{}",
            native.describe()
        ));
    }
    let ours = run::finish(run::sandboxed(options, case.script))?;
    if ours.status.code() == native.status.code() && ours.stdout == native.stdout {
        return Ok(());
    }
    Err(format!(
        "natively:\n{}in the sandbox:\n{}",
        native.describe(),
        ours.describe()
    ))
}
