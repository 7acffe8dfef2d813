/// What the control groups of this process allow, version 1 or 2: a container's limits, or a batch system's.
package struct ControlGroup {
    /// Where the hierarchies are mounted, "/sys/fs/cgroup".
    private let mount: String
    /// Lines of /proc/self/cgroup as (controllers, path); version 2 has no controllers.
    private let groups: [(controllers: [Substring], path: Substring)]

    package static let current = ControlGroup(
        mount: "/sys/fs/cgroup", membership: smallFile("/proc/self/cgroup") ?? "")

    package init(mount: String, membership: String) {
        self.mount = mount
        groups = membership.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            return parts.count == 3 ? (parts[1].split(separator: ","), parts[2]) : nil
        }
    }

    /// What is left of the memory of each group above this process that has a limit.
    package func memory() -> [MemoryLimit] {
        folders("memory", unified: true).compactMap {
            limit($0, most: "memory.max", used: "memory.current", file: "inactive_file")
        }
            + folders("memory", unified: false).compactMap {
                limit($0, most: "memory.limit_in_bytes", used: "memory.usage_in_bytes", file: "total_inactive_file")
            }
    }

    /// Processors' worth of time that the groups allow, nil for all there are.
    package func processors() -> Double? {
        let unified = folders("cpu", unified: true).compactMap { folder -> Double? in
            let words = (smallFile(folder + "/cpu.max") ?? "").split { $0 == " " || $0 == "\n" }.map { Double($0) }
            guard words.count == 2, let quota = words[0], let period = words[1], period > 0 else { return nil }
            return quota / period
        }
        let older = folders("cpu", unified: false).compactMap { folder -> Double? in
            guard let quota = number(folder + "/cpu.cfs_quota_us"), let period = number(folder + "/cpu.cfs_period_us"),
                quota > 0, period > 0
            else { return nil }
            return Double(quota) / Double(period)
        }
        return (unified + older).min()
    }

    private func limit(_ folder: String, most: String, used: String, file: String) -> MemoryLimit? {
        // An unlimited group says "max", or a number beyond all memory.
        guard let most = number(folder + "/" + most), most < 1 << 60, let used = number(folder + "/" + used) else {
            return nil
        }
        // Pages of files that nobody has looked at for long are given up first.
        let reclaimable =
            (smallFile(folder + "/memory.stat") ?? "").split(separator: "\n").first { $0.hasPrefix(file + " ") }
            .flatMap { Int($0.dropFirst(file.count + 1)) } ?? 0
        let left = max(0, most - max(0, used - reclaimable))
        return MemoryLimit(
            available: left,
            reason:
                "this process may take \(memoryText(left)) more of the \(memoryText(most)) that its control group has "
                + "(\(folder))")
    }

    private func number(_ path: String) -> Int? {
        smallFile(path).flatMap { text in Int(text.prefix { $0.isNumber || $0 == "-" }) }
    }

    /// The folders of a controller from the process's own group up to the mount: every group above has a say. Inside a
    /// container the path may be that of the host, and then only the mount is there.
    private func folders(_ controller: Substring, unified: Bool) -> [String] {
        guard
            let group = groups.first(where: { unified ? $0.controllers.isEmpty : $0.controllers.contains(controller) })
        else { return [] }
        let roots =
            unified
            ? [mount, mount + "/unified"]
            : [mount + "/" + group.controllers.joined(separator: ",")] + [mount + "/" + controller]
        return Set(roots).sorted().flatMap { root in
            var path = group.path
            var result = [root]
            while path.count > 1 {
                result.append(root + path)
                path = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
            }
            return result
        }
    }
}
