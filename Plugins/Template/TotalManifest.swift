// The manifest of this plugin, printed by `dmsae plugin inspect ./total.so --manifest swift`: an ELF note that a host reads without
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
        UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32
    ) = (
        0x6, 0x12c, 0x1, 0x41534d44, 0x45, 0x6261227b, 0x7b3a2269, 0x6a616d22,
        0x3a22726f, 0x6d222c30, 0x726f6e69, 0x6e696d5f, 0x7d313a22, 0x616d222c, 0x6566696e, 0x3a227473,
        0x70222c31, 0x6967756c, 0x3a22736e, 0x64227b5b, 0x72637365, 0x69747069, 0x3a226e6f, 0x61654d22,
        0x666f206e, 0x20612d20, 0xe220b7c2, 0x2c67a89f, 0x9fe27720, 0x766f20a9, 0x74207265, 0x73206568,
        0x65726f63, 0x6f742064, 0x736e656b, 0x65222c22, 0x6e657478, 0x6e6f6973, 0x5b3a2273, 0x736d6422,
        0x732e6561, 0x65726f63, 0x63612e72, 0x756d7563, 0x6574616c, 0x5d22312f, 0x6c66222c, 0x22736761,
        0x64225b3a, 0x72657465, 0x696e696d, 0x63697473, 0x6e222c22, 0x73646565, 0x6172672d, 0x6e656964,
        0x2c5d2274, 0x22646922, 0x6f74223a, 0x226c6174, 0x696b222c, 0x3a22646e, 0x6f637322, 0x22726572,
        0x696c222c, 0x736e6563, 0x223a2265, 0x63617041, 0x322d6568, 0x2c22302e, 0x72617022, 0x74656d61,
        0x22737265, 0x2c5d5b3a, 0x72657622, 0x6e6f6973, 0x31223a22, 0x302e302e, 0x7d5d7d22, 0x0
    )
