import CLinux
import Glibc
import Kernels
import LinearAlgebra
import TensorFiles

/// What the machine and its limits give: processors, lanes, memory, disks.
enum MachineFindings {
    static func all() -> [Finding] { [kernel(), processor(), lanes(), memory()] + disks() }

    private static func kernel() -> Finding {
        var system = utsname()
        uname(&system)
        let release = withUnsafePointer(to: &system.release) {
            $0.withMemoryRebound(to: CChar.self, capacity: 65) { String(cString: $0) }
        }
        return Finding("kernel", "Linux \(release)")
    }

    private static func processor() -> Finding {
        let lines = (smallFile("/proc/cpuinfo") ?? "").split(separator: "\n")
        let name = lines.first { $0.hasPrefix("model name") }?.split(separator: ":").dropFirst().first
        let (available, chosen) = (ProcessorLevel.available, ProcessorLevel.chosen)
        let level =
            "x86-64-v\(available.rawValue)"
            + (chosen == available ? "" : ", of which DMSAE_CPU allows v\(chosen.rawValue)")
        let isBest = chosen == available && available > .baseline
        return Finding(
            "processor", (name.map { $0.drop { $0 == " " } + ", " } ?? "") + level, isBest ? .well : .look,
            remedy: available == .baseline ? "without AVX2 everything is several times slower" : nil)
    }

    /// Their number, and who decides it.
    private static func lanes() -> Finding {
        let online = sysconf(Int32(_SC_NPROCESSORS_ONLN)), allowed = Int(dmsae_processor_count())
        let share = ProcessorShare.count
        var reason = "\(online) processors"
        if allowed < online { reason += ", of which this process may run on \(allowed) (taskset)" }
        if share < allowed { reason += ", of which its control group gives it the time of \(share)" }
        let wanted = getenv("DMSAE_LANES") == nil ? share : (try? Lanes.requestedCount()) ?? share
        if getenv("DMSAE_LANES") != nil { reason += "; DMSAE_LANES says so" }
        return Finding(
            "lanes", "\(wanted) lane\(wanted == 1 ? " is" : "s are") used: \(reason)", wanted > share ? .look : .well,
            remedy: wanted > share ? "lanes will wait for each other: unset DMSAE_LANES" : nil)
    }

    private static func memory() -> Finding {
        let bytes = Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))
        let limit = MemoryLimit.current
        let (isLimited, isLittle) = (MemoryLimit.ofProcess.available < .max, limit.available < 1 << 30)
        return Finding(
            "memory", "\(memoryText(bytes)); \(limit.reason)", isLimited || isLittle ? .look : .well,
            remedy: isLittle ? "the demo needs 1.3 GiB" : nil)
    }

    /// Where runs go unless --out says otherwise, and what is fetched.
    private static func disks() -> [Finding] {
        let cache = CacheFolder.path.map { disk("cache", $0) }
        return [
            disk("runs", "."),
            cache
                ?? Finding(
                    "cache", "no folder", .look, remedy: "set HOME or DMSAE_CACHE to an absolute path"),
        ]
    }

    private static func disk(_ what: String, _ path: String) -> Finding {
        var there = path
        while !exists(there), there != parentFolder(of: there) { there = parentFolder(of: there) }
        var status = statvfs()
        guard statvfs(there, &status) == 0 else {
            return Finding(what, "\(path): \(String(cString: strerror(errno)))", .look)
        }
        let free = Int(
            clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
        let isWritable = access(there, W_OK) == 0
        let place = path == "." ? "this folder" : path
        return Finding(
            what, "\(memoryText(free)) free for \(place)" + (isWritable ? "" : ", which cannot be written"),
            free >= 1 << 30 && isWritable ? .well : .look,
            remedy: isWritable
                ? free >= 1 << 30 ? nil : "the demo writes 0.6 GiB" : "choose another by --out or DMSAE_CACHE")
    }
}
