//! Sound: cards, and where what they play goes.

mod ac97;
mod speaker;
mod wave;

pub use ac97::{Ac97, Ac97Parts};
pub(crate) use speaker::Speaker;
pub(crate) use wave::Frame;
pub use wave::{RATE, Wave, WaveError};
