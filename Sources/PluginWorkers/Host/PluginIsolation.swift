import Glibc

/// How plugins that are kept apart from the host are run.
public struct PluginIsolation: Sendable {
    /// The program that serves as a worker when started with `arguments`.
    public var executable: String
    /// What makes it one.
    public var arguments: [String]
    /// The interpreter for plugins in Python, a path or a name on PATH; nil for DMSAE_PYTHON's, or python3.
    public var python: String?
    /// Seconds without a sign of life (a reply, a request, a line for the log) after which a call is given up.
    public var timeout: Double
    /// Bytes of address space that a plugin may use; 0 for no limit.
    public var memory: UInt64
    /// Names of variables that its environment has beside the usual ones.
    public var environment: [String] = []
    /// Whether workers give up what a scorer or rule does not need; see `PluginSandbox`.
    public var sandbox = PluginSandbox.Use.whereThere
    /// How often a call is tried that takes its worker down, the second time in a fresh one.
    public var attempts = 2
    /// Folder in which what a plugin crashed on is kept; nil keeps nothing.
    public var crashFolder: String?

    /// Workers of the given program.
    public init(
        executable: String, arguments: [String] = ["plugin", "worker"], timeout: Double = 120,
        memory: UInt64 = PluginIsolation.halfOfMemory, crashFolder: String? = nil
    ) {
        self.executable = executable
        self.arguments = arguments
        self.timeout = timeout
        self.memory = memory
        self.crashFolder = crashFolder
    }

    /// Half of the machine's memory, so that a plugin that takes all it can get fails before the machine does.
    public static var halfOfMemory: UInt64 {
        UInt64(sysconf(Int32(_SC_PHYS_PAGES))) * UInt64(sysconf(Int32(_SC_PAGESIZE))) / 2
    }
}
