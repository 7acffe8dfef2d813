import Foundation
import Synchronization
import TensorFiles

/// A server with OpenAI's API for chats on this machine, for tests: what each request gets is the test's to say.
final class CannedServer: Sendable {
    /// What becomes of a request.
    enum Fate {
        /// A chat answer.
        case says(String)
        /// Bytes as they are, head and all.
        case sends(String)
        /// A head that promises more than comes.
        case breaksOff
        /// Nothing, for so many seconds.
        case isSilent(Double)
        /// The connection is closed.
        case closes
    }

    /// A request as it came.
    struct Request: Sendable {
        let number: Int
        let head: String
        let body: String

        /// The last message.
        var question: String {
            (try? JSONValue(parsing: body))?["messages"]?.array?.last?["content"]?.string ?? ""
        }

        /// How many excerpts a judge is asked about; nil where an explanation is asked for.
        var excerpts: [String]? {
            guard question.hasPrefix("Description: ") else { return nil }
            return question.split(separator: "\n").filter { $0.hasPrefix("Excerpt ") }.map(String.init)
        }
    }

    let port: UInt16
    private let listener: Int32
    private let seen = Mutex<[Request]>([])
    private let fate: @Sendable (Request) -> Fate

    init(_ fate: @escaping @Sendable (Request) -> Fate) throws {
        self.fate = fate
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = listener
        let isListening = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 64) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard isListening else { throw CocoaError(.featureUnsupported) }
        port = UInt16(bigEndian: address.sin_port)
        Thread { [self] in
            while case let connection = accept(listener, nil, nil), connection >= 0 {
                Thread { self.answer(connection) }.start()
            }
        }.start()
    }

    /// Ends it.
    func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

    var endpoint: String { "http://127.0.0.1:\(port)/v1" }
    var requests: [Request] { seen.withLock { $0 } }

    private func answer(_ connection: Int32) {
        defer { close(connection) }
        var (bytes, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 1 << 16))
        var request: Request?
        while request == nil {
            let count = recv(connection, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            bytes += buffer[..<count]
            let text = String(decoding: bytes, as: UTF8.self)
            guard let end = text.range(of: "\r\n\r\n") else { continue }
            let head = String(text[..<end.lowerBound]), body = String(text[end.upperBound...])
            let length = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }
            guard let length, let wanted = Int(length.dropFirst(15).filter(\.isNumber)), body.utf8.count >= wanted
            else {
                continue
            }
            request = seen.withLock {
                $0.append(Request(number: $0.count, head: head, body: body))
                return $0.last
            }
        }
        switch fate(request!) {
        case .says(let text):
            let body =
                #"{"choices": [{"message": {"role": "assistant", "content": \#(JSONValue.quoted(text))}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 11, "completion_tokens": 3}}"#
            send(connection, Self.reply("200 OK", body))
        case .sends(let text): send(connection, text)
        case .breaksOff: send(connection, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"choices\": [")
        case .isSilent(let seconds): Thread.sleep(forTimeInterval: seconds)
        case .closes: break
        }
    }

    /// A whole reply.
    static func reply(_ status: String, _ body: String, headers: [String] = []) -> String {
        ([
            "HTTP/1.1 \(status)", "Content-Type: application/json", "Content-Length: \(body.utf8.count)",
            "Connection: close",
        ] + headers)
        .joined(separator: "\r\n") + "\r\n\r\n" + body
    }

    private func send(_ connection: Int32, _ text: String) {
        let bytes = Array(text.utf8)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(connection, $0.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            done += count
        }
    }

    /// A judge that says yes where an excerpt has an even number of letters, and explains everything alike.
    static let reasonable: @Sendable (Request) -> Fate = { request in
        guard let excerpts = request.excerpts else { return .says("Explanation: words with an even number of letters") }
        return .says("[" + excerpts.map { isYes($0) ? "1" : "0" }.joined(separator: ", ") + "]")
    }

    /// What it says of an excerpt, "Excerpt 1: …" or the text after it.
    static func isYes(_ excerpt: String) -> Bool {
        let text = excerpt.hasPrefix("Excerpt ") ? excerpt[excerpt.range(of: ": ")!.upperBound...] : excerpt[...]
        return text.count % 2 == 0
    }
}
