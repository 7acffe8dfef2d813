/// Text from a file, a plugin or a path, on one line and fit for a terminal: control characters, which could clear a
/// screen or forge lines, are written out.
public func printable(_ text: String) -> String {
    text.unicodeScalars.map { scalar in
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: scalar.escaped(asASCII: true)
        default: String(scalar)
        }
    }.joined()
}
