import CLinux
import Glibc

/// Processors that this process may use at once: those it may run on, less what its control group holds back.
public enum ProcessorShare {
    /// At least 1. Half a processor is none: a lane that has to wait for its share makes all others wait.
    public static let count: Int = {
        let allowed = Int(dmsae_processor_count())
        guard let quota = ControlGroup.current.processors(), quota < Double(allowed) else { return max(1, allowed) }
        return max(1, Int(quota))
    }()
}
