// How much the loss rises, to first order, when latent j is removed at token t: -a · ⟨g_t, W_dec[j]⟩. The tables of the headers are
// declared by hand, as far as they are used: what the host makes grows only at its end (DMSAE-GROWTH). `bindgen` makes them all.
use std::ffi::{c_char, c_void, CStr};
use std::panic::catch_unwind;
use std::ptr::{copy_nonoverlapping, null};
use std::slice::from_raw_parts;

#[repr(C)]
struct Csr { rows: i64, columns: i64, count: i64, row_offsets: *const i64, column_indices: *const i32, values: *const f32 }
#[repr(C)]
struct Tensor { data: *const f32, device: [i32; 2], ndim: i32, dtype: u32, shape: *const i64 }
#[repr(C)]
struct Batch {
    struct_size: u32, splice_mode: i32, codes: *const Csr, decoder: *const Tensor, decoder_bias: *const Tensor,
    residual: *const Tensor, reconstruction: *const Tensor, gradient: *const Tensor,
}
#[repr(C)]
struct Call { struct_size: u32, reserved: u32, flags: u64, error: *mut c_char, error_capacity: u64 }
#[repr(C)]
struct Parameter { key: *const c_char, value: *const c_char }
#[repr(C)]
struct PerToken { struct_size: u32, reserved: u32, score: extern "C" fn(*mut c_void, &Batch, *mut f32, &mut Call) -> i32 }
#[repr(C)]
struct Descriptor {
    struct_size: u32, kind: i32, id: *const c_char, name: *const c_char, version: *const c_char, license: *const c_char,
    description: *const c_char, extensions: *const *const c_char, extension_count: u32, reserved: u32, flags: u64,
    parameters: *const c_void, parameter_count: u32, reserved2: u32,
}
#[repr(C)]
pub struct Entry {
    magic: u64, struct_size: u32, abi_major: u32, abi_minor_min: u32, plugin_count: u32,
    descriptor: extern "C" fn(*const Entry, u32) -> *const Descriptor,
    create: extern "C" fn(*const Entry, u32, *const c_void, *const Parameter, u32, *mut *mut c_void, &mut Call) -> i32,
    destroy: extern "C" fn(*mut c_void),
    get_extension: extern "C" fn(*mut c_void, *const c_char) -> *const c_void,
}
// Nothing in them is ever written.
unsafe impl Sync for Descriptor {}
unsafe impl Sync for Entry {}

const OK: i32 = 0;
const FAILED: i32 = -1;
const UNKNOWN_PARAMETER: i32 = -3;
const UNSUPPORTED: i32 = -4;

fn say(call: &mut Call, text: &[u8]) {
    if call.error_capacity == 0 { return; }
    let n = text.len().min(call.error_capacity as usize - 1);
    unsafe {
        copy_nonoverlapping(text.as_ptr().cast(), call.error, n);
        *call.error.add(n) = 0;
    }
}

fn effects(batch: &Batch, scores: *mut f32) {
    unsafe {
        let (codes, d) = (&*batch.codes, *(*batch.decoder).shape.add(1) as usize);
        let n = codes.rows as usize;
        let offsets = from_raw_parts(codes.row_offsets, n + 1);
        let gradient = from_raw_parts((*batch.gradient).data, n * d);
        let decoder = from_raw_parts((*batch.decoder).data, codes.columns as usize * d);
        for (t, g) in gradient.chunks_exact(d).enumerate() {
            for e in offsets[t] as usize..offsets[t + 1] as usize {
                let j = *codes.column_indices.add(e) as usize;
                let dot: f64 = g.iter().zip(&decoder[j * d..(j + 1) * d]).map(|(&g, &w)| g as f64 * w as f64).sum();
                *scores.add(e) = (-(*codes.values.add(e) as f64) * dot) as f32;
            }
        }
    }
}

// A panic must not leave the file (DMSAE-STATUS-02).
extern "C" fn score(_: *mut c_void, batch: &Batch, scores: *mut f32, call: &mut Call) -> i32 {
    if call.flags >> 32 != 0 { return UNSUPPORTED; }
    if catch_unwind(std::panic::AssertUnwindSafe(|| effects(batch, scores))).is_ok() { return OK; }
    say(call, b"a panic, see the log");
    FAILED
}

const PER_TOKEN: &CStr = c"dmsae.scorer.per_token/1";
static TABLE: PerToken = PerToken { struct_size: size_of::<PerToken>() as u32, reserved: 0, score };
struct Ids([*const c_char; 1]);
unsafe impl Sync for Ids {}
static IDS: Ids = Ids([PER_TOKEN.as_ptr()]);
static ABOUT: Descriptor = Descriptor {
    struct_size: size_of::<Descriptor>() as u32, kind: 1, id: c"linear-rust".as_ptr(), name: c"Linear".as_ptr(),
    version: c"1.0.0".as_ptr(), license: c"Apache-2.0".as_ptr(), description: c"-a * <g, w>".as_ptr(),
    extensions: IDS.0.as_ptr(), extension_count: 1, reserved: 0,
    flags: 0x1 | 0x4, // deterministic, needs the gradient
    parameters: null(), parameter_count: 0, reserved2: 0,
};

extern "C" fn descriptor(_: *const Entry, index: u32) -> *const Descriptor { if index == 0 { &ABOUT } else { null() } }
extern "C" fn create(
    _: *const Entry, _: u32, _: *const c_void, set: *const Parameter, count: u32, out: *mut *mut c_void, call: &mut Call,
) -> i32 {
    unsafe { *out = (&raw const TABLE).cast_mut().cast() }; // any address that is not null
    if count == 0 { return OK; }
    say(call, unsafe { CStr::from_ptr((*set).key) }.to_bytes());
    UNKNOWN_PARAMETER
}
extern "C" fn destroy(_: *mut c_void) {}
extern "C" fn get_extension(_: *mut c_void, id: *const c_char) -> *const c_void {
    if unsafe { CStr::from_ptr(id) } == PER_TOKEN { (&raw const TABLE).cast() } else { null() }
}

static ENTRY: Entry = Entry {
    magic: 0x474c504541534d44, struct_size: size_of::<Entry>() as u32, abi_major: 0, abi_minor_min: 0, plugin_count: 1,
    descriptor, create, destroy, get_extension,
};
#[no_mangle]
pub extern "C" fn dmsae_plugin_entry(_: *const c_void) -> *const Entry { &ENTRY }
