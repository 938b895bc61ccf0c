//! Contract tests that every engine must pass.
