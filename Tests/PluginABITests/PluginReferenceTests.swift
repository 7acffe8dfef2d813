import PluginABI
import Testing

struct PluginReferenceTests {
    @Test func `a bare word is a name and a path ends in .so or .py or holds a slash`() throws {
        #expect(try PluginReference("gxa").place == .name("gxa"))
        #expect(try PluginReference("scorer.so").place == .file(path: "scorer.so", id: nil))
        #expect(try PluginReference("./scorer").place == .file(path: "./scorer", id: nil))
        #expect(try PluginReference("/a/b.so:two").place == .file(path: "/a/b.so", id: "two"))
        #expect(try PluginReference("/a.so:x/b.so:two").place == .file(path: "/a.so:x/b.so", id: "two"))
        #expect(try PluginReference("/a:b/c.so").place == .file(path: "/a:b/c.so", id: nil))
        #expect(try PluginReference("scorer.py").place == .file(path: "scorer.py", id: nil))
        #expect(try PluginReference("a.so:b.py:Two").place == .file(path: "a.so:b.py", id: "Two"))
    }

    @Test func `parameters follow after commas and a value may hold an equals sign`() throws {
        let reference = try PluginReference("random,seed=7,note=a=b,empty=")
        #expect(reference.place == .name("random"))
        #expect(reference.parameters.map(\.key) == ["seed", "note", "empty"])
        #expect(reference.parameters.map(\.value) == ["7", "a=b", ""])
        #expect(reference.text == "random,seed=7,note=a=b,empty=")
    }

    @Test(arguments: [
        ("", "it names no plugin"), (",seed=7", "it names no plugin"), ("random,seed", "'seed' has no '='"),
        ("random,", "'' has no '='"), ("random,=7", "'=7' has no key"), ("random,a=1,a=2", "'a' is given twice"),
        ("x.so:", "no id follows the colon"), ("a\0b", "it holds a zero byte"),
    ])
    func `a reference that cannot be read says why`(text: String, reason: String) {
        #expect(throws: PluginReferenceError.badReference(text, reason: reason)) { try PluginReference(text) }
    }

    @Test func `the message shows how to write one`() {
        #expect(
            PluginReferenceError.badReference("random,seed", reason: "'seed' has no '='").description
                == "plugin reference 'random,seed': 'seed' has no '='; write NAME, PATH.so, PATH.py or PATH.so:ID, then "
                + ",KEY=VALUE for each parameter")
    }
}
