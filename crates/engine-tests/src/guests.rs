//! Guests in assembly.
