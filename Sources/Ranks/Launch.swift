import Glibc

/// What a launcher tells the processes that it starts: how many there are, and how many of them on this machine.
package struct Launch: Equatable, Sendable {
    package let count: Int
    package let localCount: Int

    /// This machine's name.
    package static var host: String {
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, name.count - 1)
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// A number of a name (FNV-1a), of as many bits as a Double holds: what ranks tell each other of machines and cards.
    package static func number(of name: String) -> Double {
        Double(name.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 } >> 12)
    }

    /// Takes what the launcher said out of the environment, and its connection out of the reach of programs that are started from
    /// here, which are no ranks of the job.
    package static func forget() {
        if let descriptor = getenv("PMI_FD").flatMap({ Int32(String(cString: $0)) }) {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        }
        var names: [String] = []
        var entry = environ
        while let text = entry.pointee {
            names.append(String(String(cString: text).prefix { $0 != "=" }))
            entry += 1
        }
        let prefixes = ["PMI_", "PMIX_", "HYDI_", "HYDRA_", "MPI_LOCAL", "MPIR_", "OMPI_", "PRTE_", "SLURM_"]
        for name in names where prefixes.contains(where: name.hasPrefix) { unsetenv(name) }
    }

    /// Of `mpiexec` (PMI: MPICH, Intel), Open MPI's, PRRTE's and Slurm's; nil for a process that was started alone.
    package init?(environment: @escaping (String) -> String? = { name in getenv(name).map { String(cString: $0) } }) {
        func number(_ names: [String]) -> Int? {
            // Slurm writes 4(x2) for four on each of two machines.
            names.lazy.compactMap { environment($0).flatMap { Int($0.prefix { $0.isNumber }) } }.first { $0 > 0 }
        }
        // Slurm sets the number of tasks for a batch script, too, which is one process: a step has a number.
        let slurm = environment("SLURM_PROCID") != nil && environment("SLURM_STEP_ID") != nil
        let count =
            number(["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PRTE_SIZE"])
            ?? (slurm ? number(["SLURM_STEP_NUM_TASKS"]) : nil)
        guard let count, count > 1 else { return nil }
        self.count = count
        localCount = min(
            count,
            number(["MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_STEP_TASKS_PER_NODE"])
                ?? 1)
    }
}
