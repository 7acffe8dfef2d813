import Foundation
import TensorFiles
import TestSupport
import Testing

/// `serve`: a page and its details to this machine, and nothing else to anybody.
@Suite struct ServeTests {
    private let folder = TemporaryFolder()
    private let process = Process()
    private let port: UInt16

    init() throws {
        for (name, text) in [
            ("a b.html", "<p>page</p>"), ("a b-latents/0.json", "{}"), ("a b-latents/secret.txt", "secret"),
            ("secret.json", "secret"), ("7.json", "secret"),
        ] {
            try createFolder(parentFolder(of: folder.file(name)))
            try AtomicFile.write(text, to: folder.file(name))
        }
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: builtProgram)
        process.arguments = ["serve", folder.file("a b.html")]
        process.environment = startingEnvironment
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
        let found = try #require(try Regex("http://127.0.0.1:([0-9]+)/a%20b.html\n").wholeMatch(in: line), "\(line)")
        port = try #require(UInt16(String(found.output[1].substring ?? "")))
    }

    /// What the server says to these bytes; nil if it closes without a word.
    private func ask(_ request: String, from address: UInt32 = 0x7F00_0001) throws -> String {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var to = sockaddr_in()
        to.sin_family = sa_family_t(AF_INET)
        to.sin_port = port.bigEndian
        to.sin_addr = in_addr(s_addr: address.bigEndian)
        let isConnected = withUnsafePointer(to: &to) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard isConnected == 0 else { return "" }
        // In two pieces, as a network may bring it.
        let bytes = Array(request.utf8)
        _ = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress!, bytes.count / 2, 0) }
        _ = bytes.withUnsafeBytes {
            send(descriptor, $0.baseAddress! + bytes.count / 2, bytes.count - bytes.count / 2, Int32(MSG_NOSIGNAL))
        }
        var (answer, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 4096))
        while case let count = recv(descriptor, &buffer, buffer.count, 0), count > 0 { answer += buffer[..<count] }
        return String(decoding: answer, as: UTF8.self)
    }

    private func get(_ path: String, method: String = "GET", host: String? = nil) throws -> String {
        try ask("\(method) \(path) HTTP/1.1\r\nHost: \(host ?? "127.0.0.1:\(port)")\r\nAccept: */*\r\n\r\n")
    }

    private func stop() {
        process.terminate()
        process.waitUntilExit()
    }

    @Test func thePageAndItsDetailsAreHandedOut() throws {
        defer { stop() }
        for path in ["/", "/a%20b.html", "/a%20b.html?x=1"] {
            let answer = try get(path)
            #expect(
                answer.hasPrefix("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 11\r\n"))
            #expect(answer.hasSuffix("\r\n\r\n<p>page</p>") && answer.contains("default-src 'none'"), "\(path)")
        }
        #expect(try get("/a%20b-latents/0.json").hasSuffix("\r\n\r\n{}"))
        let head = try get("/", method: "HEAD", host: "localhost:\(port)")
        #expect(head.hasPrefix("HTTP/1.1 200 OK") && head.hasSuffix("\r\n\r\n"))
        // Somebody who says nothing does not keep others waiting.
        #expect(try get("/").hasPrefix("HTTP/1.1 200"))
    }

    @Test func nothingElseIs() throws {
        defer { stop() }
        for path in [
            "/secret.json", "/7.json", "/a%20b-latents/secret.txt", "/a%20b-latents/../secret.json",
            "/a%20b-latents/%2e%2e/secret.json", "/a%20b-latents/1.json", "/a%20b-latents/00.json",
            "/a%20b-latents/+0.json",
            "//a%20b.html", "/../a%20b.html", "/%00", "/a%20b-latents/0.json/", "*", "",
        ] {
            let answer = try get(path)
            #expect(answer.hasPrefix("HTTP/1.1 404") || answer.hasPrefix("HTTP/1.1 400"), "\(path): \(answer)")
            #expect(!answer.contains("secret"))
        }
        #expect(try get("/", method: "POST").hasPrefix("HTTP/1.1 405"))
        #expect(
            try get("/", host: "example.invalid").hasPrefix("HTTP/1.1 403"), "a name that was made to mean this machine"
        )
        #expect(try ask("GET / HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 403"))
        #expect(try ask("nonsense\r\n\r\n").hasPrefix("HTTP/1.1 400"))
        #expect(try ask("GET /" + String(repeating: "x", count: 40_000) + " HTTP/1.1\r\n\r\n") == "")
        #expect(try get("/").hasPrefix("HTTP/1.1 200"), "and it goes on")
    }

    @Test func itEndsWhenAskedTo() throws {
        kill(process.processIdentifier, SIGINT)
        process.waitUntilExit()
        #expect(process.terminationStatus == 130)
        try fail(["serve", folder.file("none.html")], saying: "none.html", "there is no such file")
        try fail(["serve", folder.file("7.json")], saying: "it is no .html file")
    }
}
