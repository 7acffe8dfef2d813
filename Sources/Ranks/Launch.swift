import Glibc

/// What a launcher tells the processes that it starts: how many there are, and how many of them on this machine.
package struct Launch: Equatable, Sendable {
    package let count: Int
    package let localCount: Int

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
