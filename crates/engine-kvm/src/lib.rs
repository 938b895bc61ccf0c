//! The engine contract over /dev/kvm.
