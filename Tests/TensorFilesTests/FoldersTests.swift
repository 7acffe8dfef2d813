import Glibc
import TensorFiles
import TestSupport
import Testing

@Suite struct FoldersTests {
    private let folder = TemporaryFolder()

    @Test func namesAreSortedAndNothingElse() throws {
        for name in ["b", ".hidden", "a"] { try AtomicFile.write("x", to: folder.file(name)) }
        try createFolder(folder.file("c/d"))
        #expect(try namesInFolder(folder.path) == [".hidden", "a", "b", "c"])
        #expect(
            message { _ = try namesInFolder(folder.file("a")) }
                == "cannot read \(folder.file("a")): Not a directory; a part of the path is a file where a folder is needed: "
                + "correct the path")
    }

    @Test(arguments: [
        ("a", ".", "a"), ("/a", "/", "a"), ("a/b", "a", "b"), ("/a/b", "/a", "b"), ("a/", "a", "a"), ("./a", ".", "a"),
    ]) func pathsHaveAFolderAndAName(_ path: String, _ parent: String, _ name: String) {
        #expect(parentFolder(of: path) == parent)
        #expect(lastComponent(path) == name)
    }
}

@Suite struct NearestWordTests {
    @Test func aSlipOfTheFingersIsExplainedAndAnotherWordIsNot() {
        let words = ["seed", "model", "context"]
        #expect(nearest("sead", among: words) == "seed")
        #expect(nearest("contxet", among: words) == "context")
        #expect(nearest("temperature", among: words) == nil)
        #expect(nearest("x", among: []) == nil)
        #expect(editDistance("kitten", "sitting") == 3 && editDistance("", "abc") == 3)
    }
}
