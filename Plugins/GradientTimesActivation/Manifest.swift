// The manifest of this file, printed by `dmsae plugin inspect gxa --manifest swift`: an ELF note that a host reads without
// running anything (manifest.h). As words, because only constants have a place in a section.

@section(".note.dmsae.plugin") @used
private let manifest:
    (
        UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32,
        UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32,
        UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32,
        UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32,
        UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32,
        UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32,
        UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32,
        UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32
    ) = (
        0x6, 0x158, 0x1, 0x41534d44, 0x45, 0x6261227b, 0x7b3a2269, 0x6a616d22,
        0x3a22726f, 0x6d222c30, 0x726f6e69, 0x6e696d5f, 0x7d303a22, 0x616d222c, 0x6566696e, 0x3a227473,
        0x70222c31, 0x6967756c, 0x3a22736e, 0x64227b5b, 0x72637365, 0x69747069, 0x3a226e6f, 0xc2612d22,
        0xa89fe2b7, 0xc5202c67, 0xa99fe2b5, 0x6f68203a, 0x68742077, 0x6f6c2065, 0x63207373, 0x676e6168,
        0x202c7365, 0x66206f74, 0x74737269, 0x64726f20, 0x202c7265, 0x6e6f6c61, 0x68742067, 0x616c2065,
        0x746e6574, 0x64207327, 0x63657269, 0x6e6f6974, 0x65222c22, 0x6e657478, 0x6e6f6973, 0x5b3a2273,
        0x736d6422, 0x732e6561, 0x65726f63, 0x65702e72, 0x6f745f72, 0x2f6e656b, 0x2c5d2231, 0x616c6622,
        0x3a227367, 0x6564225b, 0x6d726574, 0x73696e69, 0x22636974, 0x6572222c, 0x72746e65, 0x22746e61,
        0x656e222c, 0x2d736465, 0x64617267, 0x746e6569, 0x222c5d22, 0x3a226469, 0x61786722, 0x6b222c22,
        0x22646e69, 0x6373223a, 0x7265726f, 0x6c222c22, 0x6e656369, 0x3a226573, 0x61704122, 0x2d656863,
        0x22302e32, 0x6170222c, 0x656d6172, 0x73726574, 0x5d5b3a22, 0x6576222c, 0x6f697372, 0x223a226e,
        0x2e302e31, 0x5d7d2230, 0x7d
    )
