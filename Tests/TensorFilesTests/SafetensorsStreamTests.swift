import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

@Suite struct SafetensorsStreamTests {
    private let folder = TemporaryFolder()
    private let plans = [
        SafetensorsStream.Plan(name: "x", rows: 5, columns: 3),
        SafetensorsStream.Plan(name: "norm", rows: 2, columns: 1),
    ]

    @Test func rowsAppendedInPiecesGiveTheFileWrittenAtOnce() throws {
        let x = Matrix(rows: 5, columns: 3, (0..<15).map(Float.init))
        let norm = Matrix(rows: 2, columns: 1, [8, 9])
        let stream = try SafetensorsStream(path: folder.file("stream"), plans, metadata: ["layer": "15"])
        try stream.append(x.elements, rows: 2, to: "x")
        try stream.append(norm, to: "norm")
        try stream.append(x.row(2), rows: 3, to: "x")
        #expect(stream.rowsWritten(to: "x") == 5)
        try stream.finish()

        var writer = SafetensorsWriter(metadata: ["layer": "15"])
        writer.add("norm", norm)
        writer.add("x", x)
        try writer.write(to: folder.file("whole"))
        #expect(contents(of: folder.file("stream")) == contents(of: folder.file("whole")))
        #expect(folder.names == ["stream", "whole"])
    }

    @Test func aDroppedStreamLeavesNothing() throws {
        do {
            let stream = try SafetensorsStream(path: folder.file("stream"), plans)
            try stream.append(Matrix(rows: 2, columns: 3), to: "x")
            #expect(folder.names.count == 1 && folder.names != ["stream"])
        }
        #expect(folder.names.isEmpty)
    }

    @Test func missingAndSurplusRowsAreRefused() throws {
        let stream = try SafetensorsStream(path: folder.file("stream"), [plans[0]])
        try stream.append(Matrix(rows: 4, columns: 3), to: "x")
        let missing = #expect(throws: TensorFileError.self) { try stream.finish() }
        #expect(missing?.description.contains("x has 4 of 5 announced rows") == true)
        let surplus = #expect(throws: TensorFileError.self) { try stream.append(Matrix(rows: 2, columns: 3), to: "x") }
        #expect(surplus?.description.contains("6 rows for x, which was announced with 5") == true)
    }

    @Test func anUnwritableFolderIsNamed() {
        let path = folder.file("missing/stream")
        #expect(throws: TensorFileError.unwritable(file: path, reason: "No such file or directory")) {
            try SafetensorsStream(path: path, plans)
        }
        #expect(throws: TensorFileError.unwritable(file: path, reason: "No such file or directory")) {
            try AtomicFile.write("text", to: path)
        }
    }

    @Test func aFileReplacesAnOlderOneOnlyWhenComplete() throws {
        try AtomicFile.write("old", to: folder.file("a"))
        do {
            let file = try AtomicFile(path: folder.file("a"))
            try Array("new".utf8).withUnsafeBytes { try file.write($0) }
        }
        #expect(contents(of: folder.file("a")) == Array("old".utf8))
        try AtomicFile.write("new", to: folder.file("a"))
        #expect(contents(of: folder.file("a")) == Array("new".utf8))
        #expect(folder.names == ["a"])
    }
}
