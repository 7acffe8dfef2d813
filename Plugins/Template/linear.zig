// How much the loss rises, to first order, when latent j is removed at token t: -a · ⟨g_t, W_dec[j]⟩. Zig reads the C headers;
// (`zig translate-c -lc -I Include Include/dmsae/dmsae.h > dmsae.zig`); the tables are written out as in scorer.c.
const std = @import("std");
const c = @import("dmsae.zig");

fn score(_: ?*c.dmsae_instance, batch: [*c]const c.dmsae_scorer_batch, scores: [*c]f32, call: [*c]c.dmsae_call) callconv(.c) c.dmsae_status {
    if (call.*.flags >> 32 != 0) return c.DMSAE_ERR_UNSUPPORTED;
    const codes = batch.*.codes.*;
    const d: usize = @intCast(batch.*.decoder.*.shape[1]);
    const decoder: [*]const f32 = @ptrCast(@alignCast(batch.*.decoder.*.data));
    const gradient: [*]const f32 = @ptrCast(@alignCast(batch.*.gradient.*.data));
    for (0..@intCast(codes.rows)) |t| {
        for (@intCast(codes.row_offsets[t])..@intCast(codes.row_offsets[t + 1])) |e| {
            const j: usize = @intCast(codes.column_indices[e]);
            var dot: f64 = 0;
            for (gradient[t * d ..][0..d], decoder[j * d ..][0..d]) |g, w| dot += @as(f64, g) * w;
            scores[e] = @floatCast(-@as(f64, codes.values[e]) * dot);
        }
    }
    return c.DMSAE_OK;
}

var only: u8 = 0;
const table = c.dmsae_scorer_per_token{ .struct_size = @sizeOf(c.dmsae_scorer_per_token), .reserved = 0, .score = score };
const ids = [_][*c]const u8{c.DMSAE_SCORER_PER_TOKEN};
const about = c.dmsae_descriptor{
    .struct_size = @sizeOf(c.dmsae_descriptor),
    .kind = c.DMSAE_KIND_SCORER,
    .id = "linear-zig",
    .name = "Linear",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .description = "-a * <g, w>",
    .extensions = &ids,
    .extension_count = ids.len,
    .flags = c.DMSAE_PLUGIN_NEEDS_GRADIENT | c.DMSAE_PLUGIN_DETERMINISTIC,
};

fn descriptor(_: [*c]const c.dmsae_entry, index: u32) callconv(.c) [*c]const c.dmsae_descriptor {
    return if (index == 0) &about else null;
}
fn create(_: [*c]const c.dmsae_entry, _: u32, _: [*c]const c.dmsae_host, set: [*c]const c.dmsae_parameter, count: u32, out: [*c]?*c.dmsae_instance, call: [*c]c.dmsae_call) callconv(.c) c.dmsae_status {
    out.* = @ptrCast(&only);
    if (count == 0) return c.DMSAE_OK;
    const key = std.mem.span(set[0].key);
    const n = @min(key.len, call.*.error_capacity -| 1);
    if (call.*.error_capacity > 0) {
        @memcpy(call.*.@"error"[0..n], key[0..n]);
        call.*.@"error"[n] = 0;
    }
    return c.DMSAE_ERR_UNKNOWN_PARAMETER;
}
fn destroy(_: ?*c.dmsae_instance) callconv(.c) void {}
fn extension(_: ?*c.dmsae_instance, id: [*c]const u8) callconv(.c) ?*const anyopaque {
    return if (std.mem.eql(u8, std.mem.span(id), c.DMSAE_SCORER_PER_TOKEN)) &table else null;
}

const entry = c.dmsae_entry{
    .magic = c.DMSAE_MAGIC,
    .struct_size = @sizeOf(c.dmsae_entry),
    .abi_major = c.DMSAE_ABI_MAJOR,
    .abi_minor_min = c.DMSAE_ABI_MINOR_REQUIRED,
    .plugin_count = 1,
    .descriptor = descriptor,
    .create = create,
    .destroy = destroy,
    .get_extension = extension,
};
export fn dmsae_plugin_entry(_: [*c]const c.dmsae_host_info) [*c]const c.dmsae_entry {
    return &entry;
}
