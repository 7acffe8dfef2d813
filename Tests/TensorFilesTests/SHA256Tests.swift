import TensorFiles
import TestSupport
import Testing

@Suite struct SHA256Tests {
    @Test(arguments: [
        // FIPS 180-2, appendix B, and the empty message.
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (
            String(repeating: "a", count: 1_000_000),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        ),
    ])
    func knownMessagesHaveTheirPublishedDigests(_ message: String, _ digest: String) {
        #expect(SHA256.hexadecimal(SHA256.digest(of: message)) == digest)
    }

    @Test func bytesInPartsHaveTheDigestOfTheWhole() {
        let message = (0..<300).map { UInt8(truncatingIfNeeded: $0 * 7) }
        var whole = SHA256()
        message.withUnsafeBytes { whole.update($0) }
        for cut in [0, 1, 55, 56, 63, 64, 65, 128, 299, 300] {
            var parts = SHA256()
            message[..<cut].withUnsafeBytes { parts.update($0) }
            message[cut...].withUnsafeBytes { parts.update($0) }
            #expect(parts.digest() == whole.digest())
        }
    }

    @Test func aFileHasTheDigestOfItsContents() throws {
        let folder = TemporaryFolder()
        try AtomicFile.write("abc", to: folder.file("a"))
        #expect(try SHA256.hexadecimal(ofFile: folder.file("a")) == SHA256.hexadecimal(SHA256.digest(of: "abc")))
    }
}
