// SPDX-License-Identifier: Apache-2.0
//! The few calls of OpenVINO's C interface that a classifier needs, and a safe face for them.
use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr;

/// `ov_shape_t`; a static `ov_partial_shape_t` is made from it by the library.
#[repr(C)]
struct Shape {
    rank: i64,
    dims: *mut i64,
}
/// `ov_rank_t` and `ov_dimension_t` have this same form.
#[repr(C)]
#[derive(Clone, Copy)]
struct Range {
    min: i64,
    max: i64,
}
#[repr(C)]
#[derive(Clone, Copy)]
struct PartialShape {
    rank: Range,
    dims: *mut Range,
}

extern "C" {
    fn ov_get_last_err_msg() -> *const c_char;
    fn ov_core_create(core: *mut *mut c_void) -> i32;
    fn ov_core_read_model(core: *mut c_void, path: *const c_char, weights: *const c_char, model: *mut *mut c_void) -> i32;
    fn ov_core_compile_model(
        core: *mut c_void, model: *mut c_void, device: *const c_char, arguments: usize, compiled: *mut *mut c_void, ...
    ) -> i32;
    fn ov_partial_shape_create_static(rank: i64, dims: *const i64, shape: *mut PartialShape) -> i32;
    fn ov_partial_shape_free(shape: *mut PartialShape);
    fn ov_model_reshape_single_input(model: *mut c_void, shape: PartialShape) -> i32;
    fn ov_model_free(model: *mut c_void);
    fn ov_compiled_model_create_infer_request(compiled: *mut c_void, request: *mut *mut c_void) -> i32;
    fn ov_infer_request_infer(request: *mut c_void) -> i32;
    fn ov_infer_request_get_output_tensor(request: *mut c_void, tensor: *mut *mut c_void) -> i32;
    fn ov_infer_request_set_input_tensor(request: *mut c_void, tensor: *const c_void) -> i32;
    fn ov_tensor_create_from_host_ptr(kind: i32, shape: Shape, host: *mut c_void, tensor: *mut *mut c_void) -> i32;
    fn ov_tensor_data(tensor: *const c_void, data: *mut *mut c_void) -> i32;
}
const ELEMENT_U8: i32 = 16;

fn check(what: &str, status: i32) -> Result<(), String> {
    if status == 0 {
        return Ok(());
    }
    let text = unsafe { ov_get_last_err_msg() };
    let text = if text.is_null() { "".into() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy() };
    Err(format!("{what}: status {status} {text}"))
}

/// One ONNX classifier compiled for each batch size from 1 to `batch_max`. Static shapes let the
/// engine plan each size; the compiled forms share nothing but the file.
pub struct Network {
    compiled: Vec<*mut c_void>,
}
unsafe impl Send for Network {}
unsafe impl Sync for Network {}

impl Network {
    pub fn load(path: &str, side: usize, batch_max: usize, streams: usize, hint: &str) -> Result<Network, String> {
        let path = CString::new(path).unwrap();
        let mut core = ptr::null_mut();
        check("core", unsafe { ov_core_create(&mut core) })?;
        let mut compiled = Vec::new();
        for batch in 1..=batch_max {
            let mut model = ptr::null_mut();
            check("read", unsafe { ov_core_read_model(core, path.as_ptr(), ptr::null(), &mut model) })?;
            let dims = [batch as i64, side as i64, side as i64, 3];
            unsafe {
                let mut shape = std::mem::zeroed();
                check("shape", ov_partial_shape_create_static(4, dims.as_ptr(), &mut shape))?;
                check("reshape", ov_model_reshape_single_input(model, shape))?;
                ov_partial_shape_free(&mut shape);
            }
            let properties = [
                ("PERFORMANCE_HINT", hint.to_string()),
                ("NUM_STREAMS", streams.to_string()),
                ("INFERENCE_NUM_THREADS", streams.to_string()),
                ("INFERENCE_PRECISION_HINT", "f32".to_string()), /* what is not int8 in the graph */
                ("ENABLE_CPU_PINNING", "NO".to_string()),
            ];
            let text: Vec<CString> = properties
                .iter()
                .flat_map(|(key, value)| [CString::new(*key).unwrap(), CString::new(value.as_str()).unwrap()])
                .collect();
            let p: Vec<*const c_char> = text.iter().map(|t| t.as_ptr()).collect();
            let mut one = ptr::null_mut();
            check("compile", unsafe {
                ov_core_compile_model(
                    core, model, c"CPU".as_ptr(), p.len(), &mut one, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7],
                    p[8], p[9],
                )
            })?;
            unsafe { ov_model_free(model) };
            compiled.push(one);
        }
        Ok(Network { compiled })
    }
}

/// One worker's requests, one for each batch size, all reading from the same pixels.
pub struct Session {
    pixels: Box<[u8]>,
    picture: usize,
    requests: Vec<(*mut c_void, *const f32)>,
}

impl Session {
    pub fn new(network: &Network, side: usize) -> Result<Session, String> {
        let picture = side * side * 3;
        let mut pixels = vec![0u8; picture * network.compiled.len()].into_boxed_slice();
        let mut requests = Vec::new();
        for (index, compiled) in network.compiled.iter().enumerate() {
            let mut dims = [index as i64 + 1, side as i64, side as i64, 3];
            let shape = Shape { rank: 4, dims: dims.as_mut_ptr() };
            unsafe {
                let (mut request, mut input, mut output) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
                check("request", ov_compiled_model_create_infer_request(*compiled, &mut request))?;
                check("tensor", ov_tensor_create_from_host_ptr(ELEMENT_U8, shape, pixels.as_mut_ptr().cast(), &mut input))?;
                check("input", ov_infer_request_set_input_tensor(request, input))?;
                check("output", ov_infer_request_get_output_tensor(request, &mut output))?;
                let mut data = ptr::null_mut();
                check("data", ov_tensor_data(output, &mut data))?;
                requests.push((request, data as *const f32));
            }
        }
        Ok(Session { pixels, picture, requests })
    }

    pub fn slot(&mut self, index: usize) -> &mut [u8] {
        &mut self.pixels[index * self.picture..(index + 1) * self.picture]
    }

    /// Run the first `count` slots; `classes` scores for each.
    pub fn run(&mut self, count: usize, classes: usize) -> Result<&[f32], String> {
        let (request, output) = self.requests[count - 1];
        check("infer", unsafe { ov_infer_request_infer(request) })?;
        Ok(unsafe { std::slice::from_raw_parts(output, count * classes) })
    }
}
