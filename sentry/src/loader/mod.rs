//! ELF, scripts, the initial stack, the vDSO.
