import Glibc

/// The largest resident size of this process, from /proc.
enum ResidentMemory {
    /// Lets the peak begin anew, at what is resident now.
    static func resetPeak() {
        guard let file = fopen("/proc/self/clear_refs", "w") else { return }
        fputs("5", file)
        fclose(file)
    }

    /// Bytes, nil where there is no /proc.
    static var peak: Double? {
        guard let file = fopen("/proc/self/status", "r") else { return nil }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, 256, file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if text.hasPrefix("VmHWM:") {
                return text.split(whereSeparator: { !$0.isNumber }).first.flatMap { Double($0) }.map { $0 * 1024 }
            }
        }
        return nil
    }
}
