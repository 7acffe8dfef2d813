import Glibc
import TensorFiles

/// Hands out a few files over HTTP/1.1, to this machine alone: it listens on 127.0.0.1, at a port that the system chooses.
///
/// By hand, in a page: it knows GET and HEAD of names in a list, one answer a connection, and nothing that a request says becomes a path.
struct LocalServer {
    /// What a path of the address stands for; nil for nothing.
    typealias Lookup = (_ path: String) -> (file: String, type: String)?

    /// The port that was chosen.
    let port: UInt16
    private let listener: Int32

    /// Connections that may be open without having asked for anything; browsers open some ahead.
    private static let mostWaiting = 32
    /// Bytes of a request, which is a line and some headers.
    private static let longestRequest = 16 << 10
    private static let patience: time_t = 10

    /// - Throws: `ServerError`.
    init() throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC | O_NONBLOCK, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        // 127.0.0.1, in the order of the network.
        address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isListening = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(descriptor, address, length) == 0 && listen(descriptor, 16) == 0
                    && getsockname(descriptor, address, &length) == 0
            }
        }
        guard isListening else { throw ServerError.noSocket(reason: String(cString: strerror(errno))) }
        listener = descriptor
        port = UInt16(bigEndian: address.sin_port)
    }

    /// Answers until `check` throws.
    func run(_ lookup: Lookup, check: () throws -> Void) throws {
        var waiting: [Connection] = []
        defer { for connection in waiting + [Connection(listener)] { close(connection.descriptor) } }
        while true {
            try check()
            var watched = ([listener] + waiting.map(\.descriptor)).map {
                pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
            }
            // So often is asked whether to stop.
            guard poll(&watched, nfds_t(watched.count), 200) >= 0 else { continue }
            let now = time(nil)
            waiting = zip(waiting, watched.dropFirst()).compactMap { connection, polled in
                var connection = connection
                if polled.revents != 0 {
                    guard connection.read() else { return connection.end() }
                    if connection.isWhole {
                        answer(connection, lookup)
                        return connection.end()
                    }
                }
                return now - connection.since > Self.patience ? connection.end() : connection
            }
            if watched[0].revents != 0 {
                let descriptor = accept(listener, nil, nil)
                if descriptor >= 0 { waiting.append(Connection(descriptor)) }
                if waiting.count > Self.mostWaiting { _ = waiting.removeFirst().end() }
            }
        }
    }

    /// Somebody who has not asked yet.
    private struct Connection {
        let descriptor: Int32
        let since = time(nil)
        private(set) var bytes: [UInt8] = []

        init(_ descriptor: Int32) { self.descriptor = descriptor }

        var isWhole: Bool { String(decoding: bytes, as: UTF8.self).contains("\r\n\r\n") }

        /// False where it ended, or says too much.
        mutating func read() -> Bool {
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            guard count > 0 else { return count < 0 && errno == EAGAIN }
            bytes += buffer[..<count]
            return bytes.count <= LocalServer.longestRequest
        }

        func end() -> Connection? {
            close(descriptor)
            return nil
        }
    }

    private func answer(_ connection: Connection, _ lookup: Lookup) {
        let lines = String(decoding: connection.bytes, as: UTF8.self).split(
            separator: "\r\n", omittingEmptySubsequences: false)
        let words = lines[0].split(separator: " ", omittingEmptySubsequences: false)
        var patience = timeval(tv_sec: Self.patience, tv_usec: 0)
        setsockopt(connection.descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        func refuse(_ status: String) {
            send(connection, Array("HTTP/1.1 \(status)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".utf8))
        }
        guard words.count == 3, words[2].hasPrefix("HTTP/1.") else { return refuse("400 Bad Request") }
        guard words[0] == "GET" || words[0] == "HEAD" else { return refuse("405 Method Not Allowed") }
        // A page from elsewhere whose name was made to mean this machine may not read what is here.
        let host = lines.dropFirst().first { $0.lowercased().hasPrefix("host:") }?.dropFirst(5).drop { $0 == " " }
        guard let host, ["127.0.0.1:\(port)", "localhost:\(port)"].contains(String(host)) else {
            return refuse("403 Forbidden")
        }
        let path = decoded(words[1].prefix { $0 != "?" && $0 != "#" })
        guard let found = lookup(path), let file = try? MappedFile(path: found.file) else {
            return refuse("404 Not Found")
        }
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: \(found.type)\r\nContent-Length: \(file.count)\r\nConnection: close\r\n"
            + "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src 'none'; "
            + "script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'\r\n\r\n"
        guard send(connection, Array(head.utf8)), words[0] == "GET" else { return }
        for first in stride(from: 0, to: file.count, by: 1 << 16) {
            guard send(connection, Array(file.slice(first..<min(first + 1 << 16, file.count)))) else { return }
        }
    }

    /// %41 as A; what is no such escape stays.
    private func decoded(_ path: Substring) -> String {
        var (bytes, rest) = ([UInt8](), Array(path.utf8)[...])
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            else {
                bytes.append(byte)
                continue
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    @discardableResult
    private func send(_ connection: Connection, _ bytes: [UInt8]) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(
                    connection.descriptor, $0.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }
}

/// Why pages cannot be served.
enum ServerError: Error, CustomStringConvertible {
    /// The system gives no socket.
    case noSocket(reason: String)

    var description: String {
        switch self {
        case .noSocket(let reason): "nothing can listen on 127.0.0.1: \(reason); open the page as a file instead"
        }
    }
}
