//! `innkeeper._core.Screen`: what a guest shows, as pixels in whatever form.

use machine::{Picture, PixelFormat, Rect, TIGHT_MAX_WIDTH, Tight};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// x, y, width, height, in pixels.
type Corners = (u32, u32, u32, u32);
/// Number, the pixel that points, width, height, pixels.
type Pointer = (u64, (u32, u32), u32, u32, Py<PyBytes>);
/// Bits of a pixel, depth, whether it is big-endian, the largest red, green and blue, and their shifts.
type Format = (u8, u8, bool, (u16, u16, u16), (u8, u8, u8));

/// `innkeeper._core.Screen`. Every call gives up the GIL: it may draw.
#[pyclass(frozen, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct Screen {
    screen: machine::Screen,
}

impl From<machine::Screen> for Screen {
    fn from(screen: machine::Screen) -> Self {
        Self { screen }
    }
}

fn rect((x, y, width, height): Corners) -> Rect {
    Rect {
        x,
        y,
        width,
        height,
    }
}

fn corners(rect: Rect) -> Corners {
    (rect.x, rect.y, rect.width, rect.height)
}

fn checked((bits, depth, big_endian, max, shift): Format) -> PyResult<PixelFormat> {
    let format = PixelFormat {
        bits,
        depth,
        big_endian,
        max: [max.0, max.1, max.2],
        shift: [shift.0, shift.1, shift.2],
    };
    let found = format.checked();
    found.ok_or_else(|| PyValueError::new_err("there is no such pixel format"))
}

impl Screen {
    fn encoded(
        &self,
        py: Python<'_>,
        encode: impl Fn(&Picture) -> Vec<u8> + Send + Sync,
    ) -> Py<PyBytes> {
        let bytes = py.detach(|| self.screen.look_again(encode));
        PyBytes::new(py, &bytes).unbind()
    }
}

#[pymethods]
impl Screen {
    /// Width, height, when anything changed, and when the size did.
    fn refresh(&self, py: Python<'_>) -> (u32, u32, u64, u64) {
        py.detach(|| {
            self.screen
                .look(|it| (it.width(), it.height(), it.now(), it.resized()))
        })
    }

    fn changed_since(&self, py: Python<'_>, seen: u64) -> Vec<Corners> {
        let changed = py.detach(|| self.screen.look_again(|it| it.changed_since(seen)));
        changed.into_iter().map(corners).collect()
    }

    fn rgb(&self, py: Python<'_>) -> (u32, Py<PyBytes>) {
        let (width, bytes) = py.detach(|| self.screen.rgb());
        (width, PyBytes::new(py, &bytes).unbind())
    }

    fn wish(&self, py: Python<'_>, width: u16, height: u16) -> bool {
        py.detach(|| self.screen.wish(width, height))
    }

    /// Its number, the pixel that points, width, height, and red, green, blue and alpha of each pixel.
    fn cursor(&self, py: Python<'_>, known: Option<u64>) -> Option<Pointer> {
        let cursor = py.detach(|| self.screen.cursor(known))?;
        let bytes = cursor.pixels.iter().flat_map(|pixel| {
            let [blue, green, red, alpha] = pixel.to_le_bytes();
            [red, green, blue, alpha]
        });
        let bytes: Vec<u8> = bytes.collect();
        let (width, height) = match bytes.len() {
            0 => (0, 0),
            _ => (cursor.width, cursor.height),
        };
        let pixels = PyBytes::new(py, &bytes).unbind();
        Some((cursor.number, cursor.hot, width, height, pixels))
    }

    fn raw(&self, py: Python<'_>, part: Corners, pixels: Format) -> PyResult<Py<PyBytes>> {
        let format = checked(pixels)?;
        Ok(self.encoded(py, |it| machine::raw(it, rect(part), format)))
    }

    fn zrle(&self, py: Python<'_>, part: Corners, pixels: Format) -> PyResult<Py<PyBytes>> {
        let format = checked(pixels)?;
        Ok(self.encoded(py, |it| machine::zrle(it, rect(part), format)))
    }

    /// How many colours its palette has, the palette, and the data to compress.
    fn tight(
        &self,
        py: Python<'_>,
        part: Corners,
        pixels: Format,
    ) -> PyResult<(u32, Py<PyBytes>, Py<PyBytes>)> {
        let format = checked(pixels)?;
        if part.2 > TIGHT_MAX_WIDTH {
            return Err(PyValueError::new_err("a rectangle of Tight is not so wide"));
        }
        let encode = |it: &Picture| machine::tight(it, rect(part), format);
        let (colours, palette, data) = match py.detach(|| self.screen.look_again(encode)) {
            Tight::Fill(colour) => (1, colour, Vec::new()),
            Tight::Palette {
                colours,
                palette,
                indices,
            } => (u32::from(colours) + 1, palette, indices),
            Tight::Full(data) => (0, Vec::new(), data),
        };
        let bytes = |it: &[u8]| PyBytes::new(py, it).unbind();
        Ok((colours, bytes(&palette), bytes(&data)))
    }
}
