// SPDX-License-Identifier: Apache-2.0
//! The EXIF orientation of a JPEG. It is undone on the small square after resizing, where it costs
//! next to nothing.

#[derive(Clone, Copy, Default)]
pub struct Orientation {
    transposed: bool,
    pub flip_x: bool, // of the stored picture
    pub flip_y: bool,
}

fn be16(data: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(*data.get(at)?) << 8 | usize::from(*data.get(at + 1)?))
}

/// The TIFF directory inside an APP1 segment.
fn tag_of(tiff: &[u8]) -> Option<usize> {
    let little = tiff.get(..2)? == b"II";
    let u16_at = |at: usize| {
        let bytes = [*tiff.get(at)?, *tiff.get(at + 1)?];
        Some(usize::from(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }))
    };
    let (first, second) = (u16_at(4)?, u16_at(6)?);
    let directory = if little { first | second << 16 } else { first << 16 | second };
    let count = u16_at(directory)?;
    (0..count).map(|index| directory + 2 + 12 * index).find(|at| u16_at(*at) == Some(0x0112)).and_then(|at| u16_at(at + 8))
}

impl Orientation {
    pub fn of(file: &[u8]) -> Orientation {
        let mut at = 2;
        while let (Some(marker), Some(size)) = (be16(file, at), be16(file, at + 2)) {
            if marker == 0xffda || marker < 0xff00 {
                break;
            }
            if marker == 0xffe1 && file.get(at + 4..at + 10) == Some(b"Exif\0\0") {
                let end = file.len().min(at + 2 + size);
                return Orientation::from_tag(file.get(at + 10..end).and_then(tag_of).unwrap_or(1));
            }
            at += 2 + size;
        }
        Orientation::default()
    }

    fn from_tag(tag: usize) -> Orientation {
        Orientation {
            transposed: matches!(tag, 5..=8),
            flip_x: matches!(tag, 2 | 3 | 7 | 8),
            flip_y: matches!(tag, 3 | 4 | 6 | 7),
        }
    }

    pub fn is_upright(&self) -> bool {
        !(self.transposed || self.flip_x || self.flip_y)
    }

    /// `from` as stored, `into` upright; both squares of RGB.
    pub fn apply(&self, from: &[u8], side: usize, into: &mut [u8]) {
        for (index, pixel) in into.chunks_exact_mut(3).enumerate() {
            let (x, y) = (index % side, index / side);
            let (x, y) = if self.transposed { (y, x) } else { (x, y) };
            let x = if self.flip_x { side - 1 - x } else { x };
            let y = if self.flip_y { side - 1 - y } else { y };
            let at = (y * side + x) * 3;
            pixel.copy_from_slice(&from[at..at + 3]);
        }
    }
}
