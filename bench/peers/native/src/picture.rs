// SPDX-License-Identifier: Apache-2.0
//! JPEG bytes to the pixels of the network: decode with libjpeg-turbo, then crop and resize in one
//! pass with SIMD, straight into the batch. The buffer is kept between pictures.
use crate::orientation::Orientation;
use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use turbojpeg::{Decompressor, PixelFormat};

pub struct Reader {
    decoder: Decompressor,
    resizer: Resizer,
    pixels: Vec<u8>,
    turned: Vec<u8>,
}

/// Where a crop of `side` pixels starts: the odd pixel goes to the upright picture's left and top.
fn crop_start(size: usize, side: usize, flipped: bool) -> u32 {
    ((size - side + usize::from(!flipped)) / 2) as u32
}

impl Reader {
    pub fn new() -> Reader {
        let decoder = Decompressor::new().expect("libturbojpeg");
        Reader { decoder, resizer: Resizer::new(), pixels: Vec::new(), turned: Vec::new() }
    }

    /// The centre square of 7/8 of the shorter side, bicubic with antialias, upright.
    pub fn fit(&mut self, file: &[u8], side: usize, into: &mut [u8]) -> Result<(), String> {
        let header = self.decoder.read_header(file).map_err(|e| e.to_string())?;
        let (width, height) = (header.width, header.height);
        if width * height > 50_000_000 {
            return Err("over 50 megapixels".into());
        }
        let size = width * height * 3;
        if self.pixels.len() < size {
            self.pixels.resize(size, 0);
        }
        let pixels = &mut self.pixels[..size];
        let format = PixelFormat::RGB;
        let target = turbojpeg::Image { pixels: &mut *pixels, width, pitch: width * 3, height, format };
        self.decoder.decompress(file, target).map_err(|e| e.to_string())?;

        let orientation = Orientation::of(file);
        let crop = width.min(height) * 7 / 8;
        let (left, top) = (crop_start(width, crop, orientation.flip_x), crop_start(height, crop, orientation.flip_y));
        let (crop, side32) = (crop as u32, side as u32);
        let source = ImageRef::new(width as u32, height as u32, pixels, PixelType::U8x3).map_err(|e| e.to_string())?;
        // A cropped view, not the crop option, whose filter would reach over the crop's edges.
        let source = CroppedImage::new(&source, left, top, crop, crop).map_err(|e| e.to_string())?;
        let mut fitted = Image::from_slice_u8(side32, side32, into, PixelType::U8x3).map_err(|e| e.to_string())?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
        self.resizer.resize(&source, &mut fitted, &options).map_err(|e| e.to_string())?;
        if !orientation.is_upright() {
            self.turned.clear();
            self.turned.extend_from_slice(into);
            orientation.apply(&self.turned, side, into);
        }
        Ok(())
    }
}
