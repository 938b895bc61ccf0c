//! The interpreter: decode into cached blocks, run each instruction as a short function.

pub(crate) mod block;
pub(crate) mod decode;
pub(crate) mod fetch;
pub(crate) mod integer;
pub(crate) mod op;
pub(crate) mod run;
pub(crate) mod system;
pub(crate) mod vector;
