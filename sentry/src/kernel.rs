//! One sandbox: boot, tasks, exit; what `runsc` calls.
