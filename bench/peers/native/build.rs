// SPDX-License-Identifier: Apache-2.0
//! Links OpenVINO's C library out of its Python wheel. OPENVINO_LIBS is the wheel's `libs` folder.
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=OPENVINO_LIBS");
    let libs = env::var("OPENVINO_LIBS").expect("set OPENVINO_LIBS to the openvino wheel's libs folder");
    let library = fs::read_dir(&libs)
        .expect("OPENVINO_LIBS is not a folder")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("libopenvino_c.so"))
        .expect("no libopenvino_c.so in OPENVINO_LIBS");
    println!("cargo:rustc-link-arg={libs}/{library}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libs}");
}
