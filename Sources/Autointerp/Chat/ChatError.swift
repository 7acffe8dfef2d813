import TensorFiles

/// Why a language model cannot be asked: what failed, on what, what to do next.
package enum ChatError: Error, Sendable, Equatable, CustomStringConvertible {
    /// libcurl is not there.
    case noLibrary(reason: String)
    /// An address that is none, or says what it should not.
    case badEndpoint(text: String, what: String)
    /// A key that is not there, or no key.
    case noKey(variable: String, what: String)
    /// The server refuses, for a reason that will be the same next time.
    case refused(url: String, status: Int, said: String)
    /// The server gave no answer, however often it was asked.
    case unanswered(url: String, tries: Int, last: String)

    package var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .noLibrary(let reason):
            "nothing can be asked over HTTP: \(reason); install it with: apt-get install libcurl4"
        case .badEndpoint(let text, let what):
            "--endpoint \(text) \(what); give the address that the server's clients get, as http://127.0.0.1:8080/v1"
        case .noKey(let variable, let what):
            "the environment variable \(variable) \(what); put the server's API key into it"
        case .refused(let url, let status, let said):
            "\(url) refuses the request with \(HTTPStatus.text(status)): \(said); " + Self.advice(status)
        case .unanswered(let url, let tries, let last):
            "\(url) gave no answer in \(tries) tries, the last time: \(last); what is finished is kept: see to the server, and run the "
                + "command again (--retries, --timeout and --concurrency say how patient it is)"
        }
    }

    private static func advice(_ status: Int) -> String {
        switch status {
        case 401, 403: "name the environment variable that holds the server's API key with --api-key-variable"
        case 404:
            "check --endpoint, which mostly ends with /v1, and --explainer and --judge, which name models of the server"
        case 413: "lower --explain-contexts or --window"
        case 400, 422:
            "check --explainer and --judge; prompts that are too long get shorter with --explain-contexts and --shown"
        default: "check --endpoint"
        }
    }
}

/// HTTP's numbers.
enum HTTPStatus {
    /// "429 Too Many Requests".
    static func text(_ status: Int) -> String {
        let names = [
            400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout",
            413: "Content Too Large", 422: "Unprocessable Content", 429: "Too Many Requests",
            500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
        ]
        return names[status].map { "\(status) \($0)" } ?? "\(status)"
    }

    /// Whether it is of the moment: a server that is busy, starting or falling over.
    static func isPassing(_ status: Int) -> Bool { status == 408 || status == 409 || status == 429 || status >= 500 }
}
