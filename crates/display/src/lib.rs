//! Pictures: what a guest shows, what changed of it since somebody looked, and how RFB clients are told.
//!
//! Problem: any number of clients look at one screen, each at its own pace, and a guest may draw without
//! end. Choice: a picture is divided into tiles, and each tile knows when it changed last, as a number
//! that only grows. A client is one such number: the time up to which it has seen everything. Whoever
//! is slow finds, when it asks again, each tile that changed meanwhile once, as it is by then; nothing
//! is queued for anybody. A row that is drawn again as it was changes nothing.

mod format;
mod picture;
mod tight;
mod zrle;

pub use format::{PixelFormat, raw};
pub use picture::{Picture, Rect, TILE};
pub use tight::{MAX_WIDTH as TIGHT_MAX_WIDTH, Tight, tight};
pub use zrle::zrle;

/// The largest picture there is, in pixels.
pub const MAX_WIDTH: u32 = 3840;
pub const MAX_HEIGHT: u32 = 2400;
