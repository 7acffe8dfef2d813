import ArgumentParser
import Distillation
import Reports
import TensorFiles

/// `dmsae serve`: a page with files beside it, for a browser on this machine.
struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Show a page of latents whose details lie beside it, on this machine alone.",
        discussion: """
            Prints the address, on 127.0.0.1 and a free port, and answers until it is stopped (Ctrl-C). Only the page and its own \
            files are handed out, and nothing is written. A page of up to 1000 latents needs it not: open the file.

            Example: dmsae serve latents.html
            """)

    @Argument(help: "Page that `latents --html` wrote.")
    var page: String

    func run() throws {
        Interruption.install(advice: "stopped")
        guard page.hasSuffix(".html"), exists(page) else {
            throw TensorFileError.unreadable(
                file: page, reason: exists(page) ? "it is no .html file" : "there is no such file")
        }
        let (name, folder) = (lastComponent(page), LatentsReport.detailsFolder(of: lastComponent(page)))
        let details = parentFolder(of: page) + "/" + folder
        let server = try LocalServer()
        print("http://127.0.0.1:\(server.port)/\(name.addressed)")
        Results.flush()
        try server.run(
            { path in
                if path == "/" || path == "/" + name { return (page, "text/html; charset=utf-8") }
                let parts = path.split(separator: "/", omittingEmptySubsequences: false)
                // A number and nothing else: no other file has such a name.
                guard parts.count == 3, parts[0] == "", parts[1] == folder, parts[2].hasSuffix(".json"),
                    let number = Int(parts[2].dropLast(5)), "\(number).json" == parts[2]
                else { return nil }
                return ("\(details)/\(number).json", "application/json")
            }, check: { try Interruption.request.check() })
    }
}

extension String {
    /// As a part of an address.
    fileprivate var addressed: String {
        utf8.map { byte in
            let isPlain =
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || "-_.~".utf8.contains(byte)
            let digits = String(byte, radix: 16, uppercase: true)
            return isPlain ? String(UnicodeScalar(byte)) : "%" + (digits.count < 2 ? "0" : "") + digits
        }.joined()
    }
}
