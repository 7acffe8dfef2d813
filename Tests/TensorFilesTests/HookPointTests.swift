import TensorFiles
import Testing

@Suite struct HookPointTests {
    @Test func `names are TransformerLens', and come back`() {
        for (kind, end) in [
            (HookPoint.Kind.residPre, "hook_resid_pre"), (.attnOut, "hook_attn_out"), (.mlpOut, "hook_mlp_out"),
            (.residPost, "hook_resid_post"),
        ] {
            let hook = HookPoint(block: 12, kind)
            #expect(hook.name == "blocks.12.\(end)" && HookPoint(hook.name) == hook)
        }
        #expect(HookPoint(block: 12, .residPost).shown == "layer 12")
        #expect(HookPoint(block: 12, .mlpOut).shown == "blocks.12.hook_mlp_out")
    }

    @Test(arguments: [
        "blocks.3.attn.hook_z", "blocks.3.hook_resid_mid", "blocks.3.hook_mlp_in", "blocks.3.mlp.hook_post",
        "blocks.3.ln1.hook_normalized", "hook_embed", "blocks.x.hook_resid_post", "blocks.-1.hook_resid_post",
        "blocks.03.hook_resid_post", "blocks.3.hook_resid_post.x", "blocks..hook_resid_post",
        "blocks.3.HOOK_RESID_POST",
        "blocks.99999999999999999999.hook_resid_post", "model.layers.3", "3", "",
    ]) func `another name is none`(_ name: String) { #expect(HookPoint(name) == nil) }

    @Test func `transformers names whole blocks, and Gemma's norms of results`() {
        for name in ["model.layers.4", "model.layers.4.output", "transformer.h.4", "gpt_neox.layers.4.output"] {
            #expect(HookPoint(transformers: name) == .residPost(4), "\(name)")
        }
        #expect(
            HookPoint(transformers: "model.layers.4.post_feedforward_layernorm.output") == HookPoint(block: 4, .mlpOut))
        for name in [
            "model.layers.4.mlp", "model.layers.4.mlp.output", "model.layers.4.self_attn.o_proj.input",
            "model.layers.4.post_attention_layernorm.output", "model.layers.04.output", "model.layers.-4",
            "model.layers.",
        ] {
            #expect(HookPoint(transformers: name) == nil, "\(name)")
        }
    }

    @Test func `what enters a block is what the one before hands on`() {
        #expect(HookPoint(block: 3, .residPre).usual == .residPost(2))
        #expect(HookPoint(block: 0, .residPre).usual == HookPoint(block: 0, .residPre))
        #expect(HookPoint(block: 3, .attnOut).usual == HookPoint(block: 3, .attnOut))
    }

    @Test func `records without a hook mean the stream after the layer`() {
        #expect(HookPoint.residPost(4).entries == ["layer": "4"])
        for kind in HookPoint.Kind.allCases {
            let entries = HookPoint(block: 4, kind).entries
            #expect(HookPoint(entry: { entries[$0] }) == HookPoint(block: 4, kind))
        }
        for entries in [
            [:], ["layer": "x"], ["layer": "-1"], ["hook": "hook_mlp_out"], ["layer": "4", "hook": "hook_z"],
        ] {
            #expect(HookPoint(entry: { entries[$0] }) == nil, "\(entries)")
        }
    }
}
