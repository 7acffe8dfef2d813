/// What is sent: a POST of JSON.
package struct HTTPPost: Sendable {
    package let url: String
    /// "Name: value", each a line.
    package let headers: [String]
    package let body: [UInt8]
}

/// What came back.
package struct HTTPReply: Sendable, Equatable {
    package let status: Int
    package let body: [UInt8]
    /// The header Retry-After where it is a number of seconds.
    package let retryAfter: Double?

    package init(status: Int, body: [UInt8], retryAfter: Double? = nil) {
        (self.status, self.body, self.retryAfter) = (status, body, retryAfter)
    }
}

/// Why nothing came back, in the words of whoever tried.
package struct HTTPFailure: Error, Sendable, Equatable {
    package let reason: String
    /// Whether it may be otherwise another time: not where an address is no address.
    package var isPassing = true

    package init(reason: String, isPassing: Bool = true) { (self.reason, self.isPassing) = (reason, isPassing) }
}

/// Sends posts, several at a time.
package protocol HTTPTransfers: AnyObject {
    /// Sends one, known by `number` from then on.
    func start(_ post: HTTPPost, number: Int)

    /// Waits until some have ended or `seconds` are over; those that have ended.
    func ended(within seconds: Double) -> [(number: Int, outcome: Result<HTTPReply, HTTPFailure>)]
}
