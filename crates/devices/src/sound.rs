//! Sound: cards, and where what they play goes.

mod ac97;
pub mod sb16;
mod speaker;
mod wave;

pub use ac97::{Ac97, Ac97Parts};
pub use sb16::{Sb16, Sb16Parts};
pub(crate) use speaker::Speaker;
pub(crate) use wave::Frame;
pub use wave::{RATE, Wave, WaveError};
