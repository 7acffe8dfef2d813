import CCurl

/// Transfers by libcurl's multi interface: connections are kept, TLS and proxies are as the system has them, and one thread waits for all.
package final class CurlTransfers: HTTPTransfers {
    private let curl: dmsae_curl
    private let multi: UnsafeMutableRawPointer
    private let seconds: Double
    private var running: [UnsafeMutableRawPointer: Transfer] = [:]
    /// Those that could not even be sent.
    private var failed: [(number: Int, outcome: Result<HTTPReply, HTTPFailure>)] = []

    /// Answers beyond this are no answers of a language model.
    private static let longestReply = 64 << 20
    /// Seconds until a connection has to stand.
    private static let connecting = 15.0

    /// - Parameter seconds: how long a transfer may take from its first byte to its last.
    /// - Throws: `ChatError.noLibrary`.
    package init(seconds: Double) throws {
        curl = try Self.library.get()
        guard let multi = curl.multi_init() else { throw ChatError.noLibrary(reason: "libcurl does not start") }
        (self.multi, self.seconds) = (multi, seconds)
    }

    deinit {
        for transfer in running.values { end(transfer) }
        _ = curl.multi_cleanup(multi)
    }

    /// "libcurl/7.88.1 OpenSSL/3.0.17 …"; nil where there is none.
    package static var version: String? { (try? library.get()).flatMap { $0.version() }.map { String(cString: $0) } }

    /// Functions, which do not change.
    nonisolated(unsafe) private static let library: Result<dmsae_curl, ChatError> = {
        var curl = dmsae_curl()
        if let reason = dmsae_curl_load(&curl) { return .failure(.noLibrary(reason: String(cString: reason))) }
        guard curl.global_init(DMSAE_CURL_GLOBAL_ALL) == 0 else {
            return .failure(.noLibrary(reason: "libcurl does not start"))
        }
        return .success(curl)
    }()

    /// One on its way; what libcurl reads and writes lies here until it has ended.
    private final class Transfer {
        let number: Int
        let easy: UnsafeMutableRawPointer
        let body: UnsafeMutableRawBufferPointer
        var headers: UnsafeMutableRawPointer?
        var reply: [UInt8] = []
        var retryAfter: Double?

        init(_ number: Int, _ easy: UnsafeMutableRawPointer, _ body: [UInt8]) {
            (self.number, self.easy) = (number, easy)
            self.body = .allocate(byteCount: body.count, alignment: 1)
            self.body.copyBytes(from: body)
        }

        deinit { body.deallocate() }

        func take(header: String) {
            let parts = header.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, parts[0].lowercased() == "retry-after" else { return }
            let value = parts[1].filter { !$0.isWhitespace }
            retryAfter = Double(value).flatMap { $0.isFinite && $0 >= 0 ? $0 : nil }
        }
    }

    package func start(_ post: HTTPPost, number: Int) {
        guard let easy = curl.easy_init() else {
            failed.append((number, .failure(HTTPFailure(reason: "libcurl has no memory"))))
            return
        }
        let transfer = Transfer(number, easy, post.body)
        running[easy] = transfer
        withUnsafePointer(to: curl) { curl in
            func set(_ option: Int32, _ value: Int) { _ = dmsae_curl_set_number(curl, easy, option, value) }
            func set(_ option: Int32, _ text: String) {
                // libcurl copies every text but a body.
                _ = text.withCString { dmsae_curl_set_pointer(curl, easy, option, $0) }
            }
            let context = Unmanaged.passUnretained(transfer).toOpaque()
            set(DMSAE_CURL_URL, post.url)
            set(DMSAE_CURL_USERAGENT, "dmsae")
            set(DMSAE_CURL_NOSIGNAL, 1)
            // No redirect is followed, by default: a key goes to the address that was given and nowhere else.
            set(DMSAE_CURL_PROTOCOLS, DMSAE_CURL_PROTOCOLS_HTTP_HTTPS)
            set(DMSAE_CURL_TIMEOUT_MS, Int(1000 * seconds))
            set(DMSAE_CURL_CONNECTTIMEOUT_MS, Int(1000 * min(seconds, Self.connecting)))
            // This machine is never reached by way of another.
            if ChatEndpoint.isLocal(post.url) { set(DMSAE_CURL_NOPROXY, "*") }
            for header in post.headers {
                transfer.headers = header.withCString { curl.pointee.slist_append(transfer.headers, $0) }
            }
            _ = dmsae_curl_set_pointer(curl, easy, DMSAE_CURL_HTTPHEADER, transfer.headers)
            set(DMSAE_CURL_POSTFIELDSIZE, transfer.body.count)
            _ = dmsae_curl_set_pointer(curl, easy, DMSAE_CURL_POSTFIELDS, transfer.body.baseAddress)
            _ = dmsae_curl_set_pointer(curl, easy, DMSAE_CURL_WRITEDATA, context)
            _ = dmsae_curl_set_pointer(curl, easy, DMSAE_CURL_HEADERDATA, context)
            _ = dmsae_curl_set_pointer(curl, easy, DMSAE_CURL_PRIVATE, context)
            _ = dmsae_curl_set_sink(curl, easy, DMSAE_CURL_WRITEFUNCTION) { bytes, size, count, context in
                let transfer = Unmanaged<Transfer>.fromOpaque(context!).takeUnretainedValue()
                let total = size * count
                // Fewer than came end the transfer.
                guard transfer.reply.count + total <= CurlTransfers.longestReply else { return 0 }
                transfer.reply += UnsafeRawBufferPointer(start: bytes, count: total)
                return total
            }
            _ = dmsae_curl_set_sink(curl, easy, DMSAE_CURL_HEADERFUNCTION) { bytes, size, count, context in
                let transfer = Unmanaged<Transfer>.fromOpaque(context!).takeUnretainedValue()
                let line = UnsafeRawBufferPointer(start: bytes, count: size * count)
                transfer.take(header: String(decoding: line, as: UTF8.self))
                return size * count
            }
        }
        _ = curl.multi_add(multi, easy)
    }

    package func ended(within seconds: Double) -> [(number: Int, outcome: Result<HTTPReply, HTTPFailure>)] {
        var result = failed
        failed = []
        var left: Int32 = 0
        _ = curl.multi_perform(multi, &left)
        collect(&result)
        if result.isEmpty {
            var count: Int32 = 0
            _ = curl.multi_poll(multi, nil, 0, Int32(max(0, min(seconds, 60)) * 1000), &count)
            _ = curl.multi_perform(multi, &left)
            collect(&result)
        }
        return result
    }

    private func collect(_ result: inout [(number: Int, outcome: Result<HTTPReply, HTTPFailure>)]) {
        var left: Int32 = 0
        while let message = curl.multi_info_read(multi, &left) {
            guard message.pointee.message == DMSAE_CURL_DONE, let easy = message.pointee.handle,
                let transfer = running.removeValue(forKey: easy)
            else { continue }
            let code = message.pointee.data.result
            if code == 0 {
                let status = withUnsafePointer(to: curl) { dmsae_curl_status($0, easy) }
                result.append(
                    (
                        transfer.number,
                        .success(HTTPReply(status: status, body: transfer.reply, retryAfter: transfer.retryAfter))
                    ))
            } else {
                result.append((transfer.number, .failure(failure(code))))
            }
            end(transfer)
        }
    }

    /// libcurl's codes that are of the request and not of the moment: no address, a certificate that is not believed, none to believe by.
    private func failure(_ code: Int32) -> HTTPFailure {
        let reason =
            switch code {
            // Of a scheme that was checked: an answer without HTTP's first line.
            case 1: "the answer is not HTTP"
            case 28: "no answer within \(seconds) seconds"
            default: curl.easy_strerror(code).map { String(cString: $0) } ?? "libcurl's error \(code)"
            }
        return HTTPFailure(reason: reason, isPassing: ![3, 60, 77].contains(code))
    }

    private func end(_ transfer: Transfer) {
        _ = curl.multi_remove(multi, transfer.easy)
        curl.easy_cleanup(transfer.easy)
        if let headers = transfer.headers { curl.slist_free(headers) }
    }
}
